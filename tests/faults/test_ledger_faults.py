"""Faults of the disk, of other processes and of people with a sqlite3 shell."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import closedloop
from closedloop.controller import ledger_reader
from closedloop.controller.errors import LeaseHeld, LedgerError
from closedloop.controller.ledger import Ledger
from closedloop.controller.records import Noted

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(closedloop.__path__[0]).parent)}

WRITER = """
import sys
from closedloop.controller.ledger import Ledger
from closedloop.controller.records import Noted
with Ledger.open(sys.argv[1], "a") as ledger:
    print("open", flush=True)
    while True:
        print(ledger.append(Noted(text="x" * 300)).seq, flush=True)
"""

FULL_DISK = """
import resource, sys
from closedloop.controller.errors import LedgerError
from closedloop.controller.ledger import Ledger
from closedloop.controller.records import Noted
with Ledger.open(sys.argv[1], "a") as ledger:
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
from closedloop.controller.ledger import Ledger
from closedloop.controller import ledger_reader
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


def test_kill_minus_nine_loses_nothing_that_was_acknowledged(tmp_path):
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
    assert ledger_reader.verify(path) == []
    assert n_acknowledged > 8


def test_a_second_writer_is_refused_and_told_who_holds_the_campaign(tmp_path):
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


def test_a_full_disk_acknowledges_nothing_false_and_skips_nothing(tmp_path):
    counts, message = python(FULL_DISK, tmp_path / "l.db")
    n_written, after, n_there = map(int, counts.split())
    assert (after, n_there) == (n_written + 1, n_written + 1)
    assert n_written > 3
    assert "l.db" in message
    assert "nothing was written" in message
    assert "full" in message
    assert ledger_reader.verify(tmp_path / "l.db") == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs the right to become another user")
def test_a_folder_that_may_not_be_written_can_still_be_read(tmp_path):
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
def test_what_is_no_ledger_is_not_written_to(tmp_path, make, said):
    path = tmp_path / "thing.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LedgerError, match=said):
        Ledger.open(path, "a")
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LedgerError, match=r"there is no folder .*nowhere"):
        Ledger.open(tmp_path / "nowhere" / "l.db", "a")


def test_a_newer_schema_is_read_and_not_written(tmp_path):
    path = tmp_path / "l.db"
    with Ledger.open(path, "a") as ledger:
        stamped = ledger.append(Noted(text="x"))
    with sqlite3.connect(path) as shell:
        shell.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match=r"schema 99.*install a newer closedloop"):
        Ledger.open(path, "a")
    assert ledger_reader.events(path) == [stamped]


def test_a_lock_that_somebody_keeps_is_waited_for_and_then_named(tmp_path):
    path = tmp_path / "l.db"
    with Ledger.open(path, "a", wait_s=0.1) as ledger:
        shell = sqlite3.connect(path, isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another program holds its write lock"):
            ledger.append(Noted(text="x"))
        shell.execute("ROLLBACK")
        assert ledger.append(Noted(text="x")).seq == 1
        shell.close()
