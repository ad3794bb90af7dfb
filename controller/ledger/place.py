"""Where a ledger lies, what its file system can be trusted with, and who holds its lock.

A write-ahead log needs memory that all its readers and writers share, so it works on a disk of this host only. On a
file system that others may mount too, the ledger keeps a rollback journal, which needs nothing but file locks, and a
warning is logged: a little slower, and a reader may wait for a commit. Where locks are known not to reach the other
hosts, or to be missing, two controllers could write at once; there a ledger is refused.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..errors import LedgerError

_LOG = logging.getLogger(__name__)
_MOUNTS = Path("/proc/self/mountinfo")
_LOCKS = Path("/proc/locks")
SHARED = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "fuse", "fuseblk", "lustre", "gpfs", "beegfs", "ceph"}
    | {"gfs2", "ocfs2", "afs", "glusterfs", "pvfs2", "orangefs", "panfs", "wekafs", "prl_fs", "webdav", "afpfs"}
)  # fuse.* besides
LOCKLESS = frozenset(
    {"fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.goofys", "fuse.mount-s3", "fuse.blobfuse2", "fuse.sshfs"}
    | {"fuse.dbxfs", "fuse.davfs2", "davfs", "vboxsf", "fuse.vmhgfs-fuse", "vmhgfs"}
)
_HALF_LOCKED = {  # a mount option -> the file systems on which it keeps locks on this host
    "nolock": {"nfs", "nfs4", "cifs", "smb3"},
    "local_lock=all": {"nfs", "nfs4"},
    "local_lock=posix": {"nfs", "nfs4"},
    "localflock": {"lustre"},
    "noflock": {"lustre"},
}
_WRITE_LOCKS = {"-shm": 120, "": 0x40000001}  # SQLite's write lock: of a write-ahead log, of a rollback journal


@dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    point: Path
    kind: str
    options: frozenset[str] = frozenset()


def journal_for(path: Path) -> str:
    """The journal to keep at this place: ``wal``, or ``truncate`` with a warning in the log.

    Raises:
        LedgerError: if locks cannot be trusted there.
    """
    mount = mount_of(path)
    if mount is None:
        return "wal"
    broken = [o for o, kinds in _HALF_LOCKED.items() if mount.kind in kinds and o in mount.options]
    if mount.kind in LOCKLESS or broken:
        why = f"mounted with {broken[0]}, so its locks end at this host" if broken else "which has no locks of files"
        raise LedgerError(
            f"ledger {path}: {mount.point} is {mount.kind}, {why}, and two controllers could write at once; keep the "
            "ledger on a local disk, and copy it with 'closedloop backup TO'"
        )
    if mount.kind not in SHARED and not mount.kind.startswith("fuse."):
        return "wal"
    _LOG.warning(
        "ledger %s: %s is %s, which other hosts may write too; it keeps a rollback journal, and is as safe as the "
        "locks of that file system are: prefer a local disk",
        path,
        mount.point,
        mount.kind,
    )
    return "truncate"


def mount_of(path: Path) -> Mount | None:
    """The file system that a path lies on; None where the system does not tell."""
    candidates = [m for m in mounts() if path.is_relative_to(m.point)]
    return max(candidates, key=lambda m: len(m.point.parts), default=None)


def mounts() -> list[Mount]:
    """All that is mounted; of two at one point the later hides the earlier."""
    if _MOUNTS.exists():
        found = [_mount(line) for line in _MOUNTS.read_text().splitlines()]
    else:
        found = [
            Mount(Path(p.mountpoint), p.fstype, frozenset(p.opts.split(","))) for p in psutil.disk_partitions(all=True)
        ]
    return list({m.point: m for m in found}.values())


def _mount(line: str) -> Mount:
    """See proc(5): ``36 35 98:0 /root /point rw - kind source options``, spaces as octal."""
    left, _, right = line.partition(" - ")
    point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), left.split()[4])
    kind, _, options = right.split(" ", 2)
    return Mount(Path(point), kind, frozenset((left.split()[5] + "," + options).split(",")))


def lock_holder(path: str | Path) -> str:
    """Who holds the write lock of a ledger, for a message; empty where the system does not tell."""
    for ending, byte in _WRITE_LOCKS.items():
        file = Path(f"{path}{ending}")
        pid = _locker(file, byte) if file.exists() else None
        if pid is not None:
            return f"process {pid} ({_name(pid)})" if pid != os.getpid() else "this process itself"
    return ""


def _locker(file: Path, byte: int) -> int | None:
    """From proc(5): ``1: POSIX ADVISORY WRITE 708 08:01:13548 120 120``."""
    try:
        lines = _LOCKS.read_text().splitlines()
        inode = file.stat().st_ino
    except OSError:
        return None
    for line in lines:
        cells = [c for c in line.split() if c != "->"]  # an arrow marks one that waits
        is_held = "->" not in line and len(cells) >= 8 and cells[3] == "WRITE"
        if is_held and cells[5].rsplit(":", 1)[-1] == str(inode) and _holds(cells[6], cells[7], byte):
            return int(cells[4]) if int(cells[4]) > 0 else None
    return None


def _holds(first: str, last: str, byte: int) -> bool:
    return int(first) <= byte and (last == "EOF" or byte <= int(last))


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "unnamed"


def file_of(driver: sqlite3.Connection) -> str:
    """The file that a connection has open."""
    name: str = driver.execute("PRAGMA database_list").fetchone()[2]
    return name
