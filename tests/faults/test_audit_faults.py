"""Faults of what comes from strangers: capsules, ledgers and anchors that are made to harm whoever verifies them."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import stat
import struct
import tempfile
import zipfile

import pytest

from closedloop.controller.capsule import verify_capsule
from closedloop.controller.errors import LedgerError
from closedloop.controller.ledger import crate
from closedloop.controller.ledger.anchor import Anchor, read_anchor
from closedloop.controller.ledger.audit import audit
from closedloop.controller.ledger.crate import METADATA, is_zip, opened_crate
from closedloop.controller.ledger.schema import APPLICATION_ID
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Noted, Started

CRATE = json.dumps({"@context": "x", "@graph": [{"@id": METADATA}]}).encode()


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def packed(path, *entries):
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr(METADATA, CRATE)
        for info, raw in entries:
            pack.writestr(info, raw)
    return path


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A folder for temporary files of its own, in which nothing may be left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


HOSTILE = {
    "up": ([(entry("../x"), b"")], "leads out"),
    "up inside": ([(entry("a/../../x"), b"")], "leads out"),
    "absolute": ([(entry("/etc/x"), b"")], "leads out"),
    "drive": ([(entry("C:x"), b"")], "leads out"),
    "backslash": ([(entry("..\\x"), b"")], "leads out"),
    "control": ([(entry("a\x1b[2Jb"), b"")], "has an unreadable name"),
    "folder": ([(entry("folder/"), b"")], "is no plain file"),
    "symlink": ([(entry("ledger.db", stat.S_IFLNK | 0o777), b"/etc/passwd")], "is no plain file"),
    "device": ([(entry("ledger.db", stat.S_IFCHR | 0o666), b"")], "is no plain file"),
    "pipe": ([(entry("ledger.db", stat.S_IFIFO | 0o666), b"")], "is no plain file"),
    "twice": ([(entry("ledger.db"), b"a"), (entry("LEDGER.DB"), b"b")], "stands there twice"),
    "bomb": ([(entry("ledger.db"), bytes(4 * 2**20))], "times as large as packed"),
    "many": ([(entry(f"f{k}"), b"") for k in range(crate.MOST_FILES)], "holds 101 files"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_zip_is_refused_and_nothing_of_it_is_unpacked(tmp_path, nowhere, name):
    entries, said = HOSTILE[name]
    path = packed(tmp_path / "a.zip", *entries)
    with pytest.raises(LedgerError, match=f"{said}.*nothing of it was unpacked"):
        verify_capsule(path)
    assert list(nowhere.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "temporary"]


def test_an_encrypted_or_oddly_packed_entry_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr(METADATA, CRATE)
        pack.writestr("x", b"x" * 100, zipfile.ZIP_LZMA)
    with pytest.raises(LedgerError, match="unusual way"):
        verify_capsule(path)
    raw = bytearray(packed(path, (entry("x"), b"x")).read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = raw.rindex(mark)
        raw[at + offset] |= 1
    path.write_bytes(raw)
    with pytest.raises(LedgerError, match="is encrypted"):
        verify_capsule(path)


def test_a_total_that_is_too_large_is_refused_before_a_byte_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(crate, "LARGEST", 2**30)
    path = packed(tmp_path / "a.zip", (entry("x"), b"x"), (entry("y"), b"y"))
    raw = bytearray(path.read_bytes())
    for at in (raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 1), raw.rindex(b"PK\x01\x02")):
        raw[at + 20 : at + 28] = struct.pack("<II", 2**30 - 9, 2**30 - 9)  # as if it were stored
    path.write_bytes(raw)
    with pytest.raises(LedgerError, match="its files are larger than 1 GiB"):
        verify_capsule(path)


def test_an_entry_that_lies_about_its_size_is_read_no_further(tmp_path):
    """It says one byte and holds a megabyte."""
    raw = bytearray(packed(tmp_path / "a.zip", (entry("x"), os.urandom(2**20))).read_bytes())
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", 1)
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(LedgerError), opened_crate(tmp_path / "a.zip") as pack:
        pack.unpack("x", tmp_path / "out")
    assert not (tmp_path / "out").exists() or (tmp_path / "out").stat().st_size <= 1


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"{",
        b"[]",
        b'{"@graph": 3}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"@graph": [1, null, {"@id": []}, {"@type": "File"}]}',
    ],
)
def test_metadata_that_are_none_end_in_one_message(tmp_path, metadata):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr(METADATA, metadata)
    with pytest.raises(LedgerError, match="no capsule"):
        verify_capsule(path)


@pytest.mark.parametrize("n", [4, 30, 200, -30, -1])
def test_a_capsule_that_was_cut_short_ends_in_one_message(tmp_path, n):
    path = packed(tmp_path / "a.zip", (entry("x"), os.urandom(500)))
    path.write_bytes(path.read_bytes()[:n])
    with pytest.raises(LedgerError):
        verify_capsule(path)


def ledger(path, name="a"):
    with Ledger.open(path, name) as book:
        book.append(Started(campaign={"name": name}))
        book.append(Noted(text="x"))
    return path


def test_a_ledger_that_ends_as_a_zip_is_a_ledger(tmp_path):
    path = ledger(tmp_path / "l.db")
    polyglot = io.BytesIO()
    with zipfile.ZipFile(polyglot, "w") as pack:
        pack.writestr(METADATA, CRATE)
    with path.open("ab") as file:
        file.write(polyglot.getvalue())
    assert zipfile.is_zipfile(path)
    assert not is_zip(path)


def test_a_ledger_whose_table_is_a_view_without_end_is_not_read(tmp_path):
    """A stranger's file is asked for nothing before its schema was looked at."""
    path = tmp_path / "l.db"
    with sqlite3.connect(path) as shell:
        shell.execute(
            """CREATE VIEW event AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)
            SELECT 'a' AS campaign, x AS seq, '' AS time, '' AS kind, NULL AS trial, '' AS payload, '' AS hash FROM c"""
        )
        shell.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        shell.execute("PRAGMA user_version = 1")
    shell.close()
    with pytest.raises(LedgerError, match="its table 'event' is not a ledger's"):
        audit(path)


def test_a_ledger_of_a_newer_version_is_not_called_whole(tmp_path):
    path = ledger(tmp_path / "l.db")
    with sqlite3.connect(path) as shell:
        shell.execute("PRAGMA user_version = 1000")
    shell.close()
    (one,) = audit(path)
    assert [p.text for p in one.problems] == [
        "schema 1000 is newer than this closedloop knows; verify with a newer one"
    ]


GOOD = {
    "kind": "closedloop anchor",
    "v": 1,
    "application_id": APPLICATION_ID,
    "made": "2026-01-01T00:00:00Z",
    "campaigns": {"a": {"seq": 1, "hash": "0" * 64, "time": "2026-01-01T00:00:00Z"}},
}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        (b"[" * 100_000, "Invalid JSON"),
        (b"SQLite format 3\0", "Invalid JSON"),
        (json.dumps([GOOD]).encode(), "object"),
        (json.dumps({**GOOD, "campaigns": {}}).encode(), "campaigns"),
        (json.dumps({**GOOD, "application_id": 1}).encode(), "application_id"),
        (json.dumps({**GOOD, "v": 2}).encode(), "v: "),
        (json.dumps({**GOOD, "kind": "another"}).encode(), "kind"),
        (json.dumps({**GOOD, "more": 1}).encode(), "more"),
        (
            json.dumps({**GOOD, "campaigns": {"a": {**GOOD["campaigns"]["a"], "hash": "abc"}}}).encode(),
            "campaigns.a.hash",
        ),
        (json.dumps({**GOOD, "campaigns": {"a": {**GOOD["campaigns"]["a"], "seq": 0}}}).encode(), "campaigns.a.seq"),
    ],
)
def test_a_file_that_is_no_anchor_is_named(tmp_path, raw, said):
    path = tmp_path / "anchor.json"
    path.write_bytes(raw)
    with pytest.raises(LedgerError, match="is no anchor of a ledger") as caught:
        read_anchor(path)
    assert said in str(caught.value)
    assert path.read_bytes() == raw


def test_an_anchor_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(LedgerError, match="cannot be read .*name another file"):
            read_anchor(path)
    assert Anchor.model_validate(GOOD).campaigns["a"].seq == 1


def test_verify_reads_one_moment_while_a_controller_writes(tmp_path):
    path = ledger(tmp_path / "l.db")
    with Ledger.open(path, "a") as book:
        for k in range(40):
            book.append(Noted(text=str(k)))
            (one,) = audit(path)
            assert (one.n_events, one.problems) == (k + 3, ())
