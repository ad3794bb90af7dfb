"""Cleans up after a Ray of ours whose driver ended without a word. A process of its own, run by its path.

Laws:
    * It waits for a lock that the driver holds, so it acts when the driver has ended, however that was.
    * It ends processes of this user that belong to this one Ray, and nothing else: no other Ray, no guard.
    * Whatever it finds of an earlier driver that ended together with its own reaper, it cleans up too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

PREFIX = "closedloop-ray-"
LOCK = "driver.lock"
END_S = 10.0  # how long a killed process may take to be gone


def new_folder() -> tuple[str, int]:
    """A private folder for one Ray, and the descriptor that holds its lock for as long as this process lives."""
    # A Unix socket's path has 107 characters at most, and Ray's session needs 66 of them.
    parent = tempfile.gettempdir() if len(tempfile.gettempdir()) <= 16 else "/tmp"
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=parent)  # mode 0700
    made = os.path.join(folder, "new.lock")
    descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.rename(made, os.path.join(folder, LOCK))  # it appears locked: no other reaper may take it for left over
    return folder, descriptor


def family(folder: str) -> list[psutil.Process]:
    """The processes of the Ray whose session lies in ``folder``, with what its workers started."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.uids().real == os.getuid() and _is_of_ray(process) and _names(process, folder):
                found[process.pid] = process
                found.update({child.pid: child for child in process.children(recursive=True)})
    return [p for p in found.values() if p.pid != os.getpid()]


def _is_of_ray(process: psutil.Process) -> bool:
    command = process.cmdline()
    return bool(command) and (command[0].startswith("ray::") or any(f"{os.sep}ray{os.sep}" in c for c in command[:4]))


def _names(process: psutil.Process, folder: str) -> bool:
    # Workers and agents overwrite their command line and their environment; their logs stay open.
    inside = folder + os.sep
    return any(inside in c for c in process.cmdline()) or any(f.path.startswith(inside) for f in process.open_files())


def clean(folder: str) -> None:
    """End what is left of a Ray and remove its folder; only for who holds its lock."""
    for _ in range(3):  # a worker may be born while its elders are ended
        left = family(folder)
        if not left:
            break
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=END_S)
    shutil.rmtree(folder, ignore_errors=True)


def _taken(folder: Path, how: int) -> Iterator[Path]:
    """The folder, once its lock is ours; nothing if it never is."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR)
    except OSError:  # already cleaned up, or somebody else's
        return
    with suppress(OSError), os.fdopen(descriptor):
        fcntl.flock(descriptor, how)
        yield folder


def main(folder: str) -> None:
    """Clean up what others left, then wait for the driver of ``folder`` to end."""
    if os.fork():  # no child of the driver: neither its shutdown nor its zombie
        os._exit(0)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    mine = Path(folder)
    for other in mine.parent.glob(PREFIX + "*"):
        if other != mine:
            for left in _taken(other, fcntl.LOCK_EX | fcntl.LOCK_NB):
                clean(str(left))
    for left in _taken(mine, fcntl.LOCK_EX):
        clean(str(left))


if __name__ == "__main__":
    main(sys.argv[1])
