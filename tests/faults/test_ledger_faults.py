"""Faults of the disk, of other processes and of people with a sqlite3 shell."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from closedloop.controller.errors import LeaseHeld, LedgerError
from closedloop.controller.ledger import audit as ledger_audit
from closedloop.controller.ledger import file as ledger_file
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Noted, Paused, Started

ENVIRONMENT = dict(os.environ)

WRITER = """
import sys
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Noted, Started
with Ledger.open(sys.argv[1], "a") as ledger:
    print("open", flush=True)
    if not ledger.events():
        print(ledger.append(Started(campaign={"name": "a"})).seq, flush=True)
    while True:
        print(ledger.append(Noted(text="x" * 300)).seq, flush=True)
"""

LOCKER = """
import sqlite3, sys, time
shell = sqlite3.connect(sys.argv[1], isolation_level=None)
shell.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
shell.execute("ROLLBACK")
"""

CLAIMER = """
import sys, time
from closedloop.controller.errors import LeaseHeld
from closedloop.controller.ledger.writer import Ledger
while True:
    try:
        ledger = Ledger.open(sys.argv[1], "queue")
    except LeaseHeld:
        time.sleep(0.003)
        continue
    with ledger:
        letters = ledger.inbox()
        for letter in letters[:2]:
            print(letter.letter, ledger.append(letter).seq)
    if not letters:
        break
"""

CROWD = """
import sys
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.errors import LeaseHeld
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Paused, Started
path, name = sys.argv[1], f"c{sys.argv[2]}"
with Ledger.open(path, name) as ledger:
    ledger.append(Started(campaign={"name": name}))
    for k in range(50):
        ledger_reader.post(path, name, Paused(by="ann", reason=str(k)))
        for word in ledger.inbox():
            ledger.append(word)
        print(name, ledger.fence([name])[name])
        try:
            ledger.fence(["everybody's"])
        except LeaseHeld:
            pass
"""

FULL_DISK = """
import resource, sys
from closedloop.controller.errors import LedgerError
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Noted, Started
with Ledger.open(sys.argv[1], "a") as ledger:
    ledger.append(Started(campaign={"name": "a"}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    n_written, refused = 0, None
    while refused is None:
        try:
            n_written = ledger.append(Noted(text="x" * 5000)).seq
        except LedgerError as error:
            refused = error
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    after = ledger.append(Noted(text="there is room again")).seq
    print(n_written, after, len(ledger.events()))
    print(refused)
"""

OPEN_AS_NOBODY = """
import os, sys
from closedloop.controller.errors import LedgerError
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.ledger import reader as ledger_reader
os.setuid(65534)
try:
    Ledger.open(sys.argv[1], "a")
except LedgerError as error:
    print(error)
print([e.text for e in ledger_reader.events(sys.argv[2])])
"""


def python(code: str, *args: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
    )
    return done.stdout.splitlines()


def writer(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout.readline() == "open\n"
    return process


def test_fault_01_kill_minus_nine_loses_nothing_that_was_acknowledged(tmp_path):
    path, rng, n_acknowledged = tmp_path / "l.db", random.Random(1), 0
    for _ in range(8):
        process = writer(path)  # the lease of the one that was killed is taken over at once
        time.sleep(rng.uniform(0.02, 0.15))
        process.send_signal(signal.SIGKILL)
        said = [int(line) for line in process.stdout.read().split("\n")[:-1]]
        process.wait()
        n_acknowledged = said[-1] if said else n_acknowledged
        seqs = [e.seq for e in ledger_reader.events(path)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert n_acknowledged <= len(seqs) <= n_acknowledged + 1
    assert ledger_audit.verify(path) == []
    assert n_acknowledged > 8


def test_fault_14_a_second_writer_is_refused_and_told_who_holds_the_campaign(tmp_path):
    path = tmp_path / "l.db"
    process = writer(path)
    try:
        with pytest.raises(LeaseHeld, match=rf"process {process.pid} on .* since 20.*stop that process"):
            Ledger.open(path, "a")
        Ledger.open(path, "another campaign in the same file").close()
    finally:
        process.kill()
        process.communicate()
    Ledger.open(path, "a").close()


def test_fault_02_a_file_that_may_grow_no_more_acknowledges_nothing_false_and_skips_nothing(tmp_path):
    counts, message = python(FULL_DISK, tmp_path / "l.db")
    n_written, after, n_there = map(int, counts.split())
    assert (after, n_there) == (n_written + 1, n_written + 1)
    assert n_written > 3
    assert "l.db" in message
    assert "nothing was written" in message
    assert "full" in message
    assert ledger_audit.verify(tmp_path / "l.db") == []


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A real file system of 2 MB."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_fault_02_a_full_disk_acknowledges_nothing_false_and_once_freed_goes_on(tmp_path):
    with small_disk(tmp_path / "small") as disk:
        path, ballast = disk / "l.db", disk / "ballast"
        ballast.write_bytes(bytes(600_000))
        ledger = Ledger.open(path, "a")
        ledger.append(Started(campaign={"name": "a"}))
        n_written = 1
        with pytest.raises(LedgerError, match="nothing was written.*free some space") as refused:
            while True:
                n_written = ledger.append(Noted(text="x" * 5000)).seq
        assert str(path) in str(refused.value)
        assert len(ledger_reader.events(path)) == n_written
        with pytest.raises(LedgerError, match="full"):
            ledger.append(Noted(text="x" * 50_000))
        ledger.close()  # though the lease cannot be given back
        ballast.unlink()
        with Ledger.open(path, "a") as ledger:
            assert ledger.append(Noted(text="x" * 5000)).seq == n_written + 1
        assert ledger_audit.verify(path) == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs the right to become another user")
def test_fault_07_a_folder_that_may_not_be_written_can_still_be_read(tmp_path):
    folder = tmp_path / "shelf"
    folder.mkdir()
    with Ledger.open(folder / "l.db", "a") as ledger:
        ledger.append(Noted(text="x"))
    for part in (tmp_path, *tmp_path.parents):
        if part.owner() == "root" and not part.stat().st_mode & 0o001:
            part.chmod(part.stat().st_mode | 0o011)
    folder.chmod(0o555)
    for name in ("l.db", "new.db"):
        said, texts = python(OPEN_AS_NOBODY, folder / name, folder / "l.db")
        assert name in said
        assert "may" in said or "cannot be opened" in said
        assert texts == "['x']"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.write_text("these are not the bytes you are looking for " * 40), "not a ledger"),
        (lambda p: p.mkdir(), "is a folder"),
        (lambda p: sqlite3.connect(p).execute("CREATE TABLE t (x)"), "another program"),
    ],
)
def test_fault_07_what_is_no_ledger_is_not_written_to(tmp_path, make, said):
    path = tmp_path / "thing.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LedgerError, match=said):
        Ledger.open(path, "a")
    assert (path.read_bytes() if path.is_file() else None) == before


def test_fault_07_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LedgerError, match=r"there is no folder .*nowhere"):
        Ledger.open(tmp_path / "nowhere" / "l.db", "a")


def test_fault_06_a_newer_schema_is_read_and_not_written(tmp_path):
    path = tmp_path / "l.db"
    with Ledger.open(path, "a") as ledger:
        stamped = ledger.append(Noted(text="x"))
    with sqlite3.connect(path) as shell:
        shell.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match=r"schema 99.*install a newer closedloop"):
        Ledger.open(path, "a")
    assert ledger_reader.events(path) == [stamped]


@contextmanager
def locked(path: Path, *, for_s: float = 60.0) -> Iterator[int]:
    """Another process has the write lock, for so long or until the block ends."""
    process = subprocess.Popen([sys.executable, "-c", LOCKER, str(path), str(for_s)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("mode", ["wal", "truncate"])
def test_fault_03_a_lock_that_is_kept_too_long_is_named_and_nothing_is_lost(tmp_path, monkeypatch, mode):
    path = tmp_path / "l.db"
    monkeypatch.setattr(ledger_file, "journal_for", lambda path: mode)
    with Ledger.open(path, "a", wait_s=0.3) as ledger:
        ledger.append(Noted(text="before"))
        with locked(path) as pid:
            began = time.monotonic()
            with pytest.raises(LedgerError, match=rf"nothing was written: process {pid} \(.+\) holds its write lock"):
                ledger.append(Noted(text="not written"))
            assert time.monotonic() - began < 10
            assert [e.text for e in ledger_reader.events(path)] == ["before"]
        assert ledger.append(Noted(text="after")).seq == 2


def test_fault_03_a_lock_that_is_given_back_in_time_is_waited_for_and_said(tmp_path, monkeypatch, caplog):
    path = tmp_path / "l.db"
    monkeypatch.setattr(ledger_file, "_WARN_S", 0.5)
    with Ledger.open(path, "a") as ledger, locked(path, for_s=2.0) as pid:
        ledger.append(Noted(text="late"))
        assert [e.text for e in ledger_reader.events(path)] == ["late"]
    assert [f"held by process {pid} (" in r.message for r in caplog.records] == [True]


def test_fault_03_whoever_waits_for_a_lock_can_be_interrupted(tmp_path):
    path = tmp_path / "l.db"
    process = writer(path)
    with locked(path) as _:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) != 0
    process.communicate()
    assert ledger_audit.verify(path) == []


def workers(code: str, path: Path, n: int = 8) -> list[str]:
    """All that n processes say; each must end well."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(k)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        for k in range(n)
    ]
    said = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * n
    return [line for text in said for line in text.splitlines()]


def test_fault_04_eight_workers_claim_each_letter_once(tmp_path):
    path, n = tmp_path / "l.db", 80
    with Ledger.open(path, "queue") as ledger:
        ledger.append(Started(campaign={"name": "queue"}))
    for k in range(n):
        ledger_reader.post(path, "queue", Paused(by="ann", reason=str(k)))
    claimed = [tuple(map(int, line.split())) for line in workers(CLAIMER, path)]
    assert sorted(letter for letter, _ in claimed) == list(range(1, n + 1))
    assert [e.letter for e in ledger_reader.events(path)[1:]] == [k for k, _ in sorted(claimed, key=lambda c: c[1])]
    assert ledger_audit.verify(path) == []


def test_fault_04_eight_campaigns_of_one_file_write_at_once(tmp_path):
    path, n = tmp_path / "l.db", 50
    lines = workers(CROWD, path)
    assert sorted(lines) == sorted(f"c{k} {token}" for k in range(8) for token in range(1, n + 1))
    for k in range(8):
        assert [e.seq for e in ledger_reader.events(path, f"c{k}")] == list(range(1, n + 2))
        assert ledger_audit.verify(path, f"c{k}") == []


def test_fault_08_a_backup_while_writing_is_whole(tmp_path):
    path = tmp_path / "l.db"
    process = writer(path)
    process.stdout.readline()
    try:
        lengths = []
        for k in range(6):
            ledger_reader.backup(path, tmp_path / f"{k}.db")
            lengths.append(len(ledger_reader.events(tmp_path / f"{k}.db")))
            assert ledger_audit.verify(tmp_path / f"{k}.db") == []
            time.sleep(0.1)
    finally:
        process.kill()
        process.communicate()
    assert lengths == sorted(set(lengths)), "the writer stood still"
    whole = ledger_reader.events(path)
    assert ledger_reader.events(tmp_path / "3.db") == whole[: lengths[3]]


def test_fault_08_a_backup_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "l.db"
    with Ledger.open(path, "a") as ledger:
        for _ in range(300):
            ledger.append(Noted(text="x" * 400))
    data = bytearray(path.read_bytes())
    data[40960:49152] = bytes(8192)
    path.write_bytes(data)
    with pytest.raises(LedgerError, match="damaged|cannot be read"):
        ledger_reader.backup(path, tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy.db*"))
