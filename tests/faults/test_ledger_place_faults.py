"""Faults of the place where a ledger lies: disks that other hosts share, and locks that cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from closedloop.controller.errors import LedgerError
from closedloop.controller.ledger import place as ledger_place
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.ledger.place import Mount
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Noted


def on(monkeypatch, kind: str, options: str = "rw") -> None:
    """As if all files lay on such a file system."""
    mounts = [Mount(Path("/"), kind, frozenset(options.split(",")))]
    monkeypatch.setattr(ledger_place, "mounts", lambda: mounts)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "apfs"])
def test_fault_05_a_local_disk_keeps_a_write_ahead_log(tmp_path, monkeypatch, caplog, kind):
    on(monkeypatch, kind)
    with Ledger.open(tmp_path / "l.db", "a") as ledger:
        ledger.append(Noted(text="x"))
        assert (tmp_path / "l.db-wal").exists()
    assert caplog.records == []


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "virtiofs", "9p", "cifs", "smb3", "fuse.ceph-fuse", "fuseblk"])
def test_fault_05_a_shared_disk_keeps_a_rollback_journal_and_a_warning_is_said(tmp_path, monkeypatch, caplog, kind):
    path = tmp_path / "l.db"
    with Ledger.open(path, "a") as ledger:
        ledger.append(Noted(text="on a local disk"))
    on(monkeypatch, kind)
    with Ledger.open(path, "a") as ledger:  # the file was moved there
        stamped = ledger.append(Noted(text="x"))
        assert ledger_reader.events(path)[-1] == stamped
        assert not (tmp_path / "l.db-wal").exists()
        backup = tmp_path / "copy.db"
        ledger_reader.backup(path, backup)
    assert len(ledger_reader.events(backup)) == 2
    assert [f"is {kind}, which other hosts may write" in r.message for r in caplog.records] == [True]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("nfs", "rw,nolock"), ("nfs4", "local_lock=all"), ("lustre", "localflock"), ("fuse.s3fs", ""), ("vboxsf", "rw")],
)
def test_fault_05_a_disk_whose_locks_cannot_be_trusted_is_refused(tmp_path, monkeypatch, kind, options):
    on(monkeypatch, kind, options)
    with pytest.raises(LedgerError, match=rf"is {kind}, .*two controllers could write at once.*local disk"):
        Ledger.open(tmp_path / "l.db", "a")
    assert list(tmp_path.iterdir()) == []


def test_fault_05_the_nearest_mount_counts(monkeypatch):
    text = (
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "40 22 0:35 / /home/lab\\040one rw,nosuid shared:2 - nfs4 server:/lab rw,vers=4.2,local_lock=none\n"
        "41 22 0:36 / /home rw - tmpfs tmpfs rw\n"
        "42 22 0:37 / /home rw - xfs /dev/sdb rw\n"
    )
    monkeypatch.setattr(ledger_place, "_MOUNTS", _Text(text))
    found = [ledger_place.mount_of(Path(p)) for p in ("/home/lab one/l.db", "/home/x/l.db", "/homes/l.db")]
    assert [m.kind for m in found] == ["nfs4", "xfs", "ext4"]
    assert "local_lock=none" in found[0].options


class _Text:
    def __init__(self, text: str) -> None:
        self._text = text

    def exists(self) -> bool:
        return True

    def read_text(self) -> str:
        return self._text
