"""Fencing on the instrument's host: one controller commands a device, and one that was replaced cannot.

Laws:
    * ``take`` refuses while another holder lives, unless that one holds a lower token of the same ledger; ``check``
      fails for good once somebody else has taken the device.
    * A file is replaced whole, under a lock: a process that is killed at any point leaves the old one or the new one.
    * The last commanded setting outlives whoever commanded it.

It holds among the processes of one user on one host that give the device one name; see ``device_key``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from ..errors import SourceError
from ..records import Finite, Record, Setting
from ..source import Binding

LOCK_S = 5.0  # how long the file's lock is waited for
TAKE_S = 3.0  # how long a holder that is about to end is waited for
SHIFT_S = 10.0  # a clock that is set moves the birth times of processes
RUNTIME = "CLOSEDLOOP_RUNTIME_DIR"  # names another folder; the same for every controller of the host


class Fenced(SourceError):
    """Another controller has taken the device: this one may not command it any more."""


@dataclass(frozen=True)
class Owner:
    """Who commands: a campaign of a ledger, in a process of this host."""

    campaign: str
    ledger: str  # as ``ledger_key`` says
    pid: int
    born: float  # when that process began: the system gives a pid out again

    @classmethod
    def here(cls, campaign: str, ledger: str) -> Owner:
        """This process."""
        return cls(campaign, ledger, os.getpid(), psutil.Process().create_time())

    @property
    def is_alive(self) -> bool:
        """Whether its process runs on this host."""
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.born) < SHIFT_S and process.status() != psutil.STATUS_ZOMBIE
        return False


@dataclass(frozen=True)
class Commanded:
    """A setting that was commanded, and when by the monotonic clock."""

    setting: Setting
    at_s: float
    doubted: tuple[Setting, ...] = ()  # commanded before it, and the device may still be there


class _Kept(Record):
    """What the file holds."""

    campaign: str = ""
    ledger: str = ""
    token: int = 0
    pid: int = 0  # 0: given back
    born: Finite = 0.0
    setting: Setting | None = None
    at_s: Finite = 0.0
    doubted: tuple[Setting, ...] = ()  # where it may be instead: nothing confirmed since that it is not
    boot: str = ""  # of the computer: its monotonic clock begins again with each

    @property
    def owner(self) -> Owner:
        return Owner(self.campaign, self.ledger, self.pid, self.born)


def runtime_folder() -> Path:
    """This user's private folder for what ends with the computer, made if it is missing.

    Neither the login session's folder nor ``TMPDIR`` will do: two controllers of one user must find the same.

    Raises:
        SourceError: if somebody else may write there.
    """
    parent = "/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir()
    folder = Path(os.environ.get(RUNTIME) or f"{parent}/closedloop-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise SourceError(
            f"folder {folder} cannot be made ({error}); make it, or name another with {RUNTIME}"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SourceError(
            f"folder {folder} (mode {found.st_mode & 0o777:o}, user {found.st_uid}) must be a folder of yours that "
            f"nobody else may open; remove it or 'chmod 700' it, or name another with {RUNTIME}"
        )
    return folder


def device_key(binding: Binding) -> str:
    """A name for the device behind a binding, hashed so that no setting can be read.

    It is the campaign's ``device`` where that is given, so that two drivers of one device have one name; else the
    class and those of its settings that say which device it is, all of them where the class does not tell.
    """
    if binding.device:
        return f"device-{hashlib.sha256(binding.device.encode()).hexdigest()[:32]}"
    cls, names = binding.cls, getattr(binding.cls, "device_settings", None)
    telling = {k: v for k, v in binding.settings.items() if names is None or k in names}
    settings = json.dumps(telling, sort_keys=True, default=_as_text)
    text = f"{cls.__module__}:{cls.__qualname__} {settings}"
    return f"{cls.__name__}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def ledger_key(path: str | os.PathLike[str]) -> str:
    """A name for a ledger that is the same in each of its controllers; to be asked on the controller's host."""
    return hashlib.sha256(f"{socket.gethostname()}:{Path(path).resolve()}".encode()).hexdigest()[:32]


def _as_text(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    shown = str(value)
    # An address in memory would give the same device another name in each process.
    return f"{named.__module__}:{named.__qualname__} {'' if ' at 0x' in shown else shown}"


@cache
def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


class Fence:
    """One controller's right to command one device.

    Args:
        key: of the device; see ``device_key``.
        token: higher for each controller that writes the same ledger.
        owner: who commands.
        name: of the source, for messages.
    """

    def __init__(self, key: str, token: int, owner: Owner, *, name: str = "") -> None:
        self.path = runtime_folder() / f"{key}.json"
        self._mine = _Kept(token=token, **asdict(owner))
        self._what = f"source {name!r}" if name else f"device {key[:-24]}"
        self._last: Commanded | None = None

    def take(self, *, wait_s: float = TAKE_S) -> None:
        """Take the device; a holder that is about to end is waited for.

        Raises:
            SourceError: if another controller has it.
        """
        until = time.monotonic() + wait_s
        while True:
            with self._locked():
                held = self._read() or _Kept()
                refusal = self._refusal(held)
                if not refusal:
                    self._last = _last_of(held)
                    self._write(self._mine.model_copy(update=_memory(held)))
                    return
            if time.monotonic() >= until:
                raise SourceError(refusal)
            time.sleep(0.05)

    def check(self) -> None:
        """To be asked before each command.

        Raises:
            Fenced: if the device is not ours any more.
            SourceError: if that cannot be told.
        """
        with self._locked():
            self._check()

    def remember(self, setting: Setting, now_s: float, *, doubted: tuple[Setting, ...] | None = None) -> None:
        """Write down what is commanded next, and where the device may be instead; raises as ``check``."""
        with self._locked():
            held = self._check()
            before = held.doubted if held.setting is None else (held.setting, *held.doubted)
            self._keep(held, Commanded(dict(setting), now_s, before if doubted is None else doubted))

    def reached(self) -> None:
        """What was commanded last is where the device is; raises as ``check``."""
        with self._locked():
            held = self._check()
            if held.setting is not None and held.doubted:
                self._keep(held, Commanded(held.setting, held.at_s))

    def last(self) -> Commanded | None:
        """What was commanded last, by whomever."""
        with self._locked():
            held = self._read()
        return _last_of(held) if held else self._last

    def returned(self, *, since: Setting, setting: Setting) -> None:
        """A guard sent the device to a setting, and is sure of it; nothing, where it was commanded meanwhile."""
        with self._locked():
            held = self._read()
            if held is not None and held.setting == since:
                self._keep(held, Commanded(dict(setting), time.monotonic()))

    def release(self) -> None:
        """Give the device back, where it is still ours; its last setting stays known."""
        with self._locked():
            held = self._read()
            if held and self._is_mine(held):
                self._write(held.model_copy(update={"pid": 0}))

    def _keep(self, held: _Kept, last: Commanded) -> None:
        self._last = last
        self._write(held.model_copy(update={**asdict(last), "boot": _boot()}))

    def _refusal(self, held: _Kept) -> str:
        is_same_ledger = held.ledger == self._mine.ledger
        if not held.pid or not held.owner.is_alive:  # given back, or its holder is dead
            return ""
        if is_same_ledger and held.token > self._mine.token:
            return (
                f"{self._what} was taken by a later controller of this ledger (campaign {held.campaign!r}, process "
                f"{held.pid}, token {held.token} above our {self._mine.token}); this one was replaced: end it"
            )
        is_passed_on = self._is_mine(held) or (is_same_ledger and held.token < self._mine.token)
        if is_passed_on or not held.pid or not held.owner.is_alive:
            return ""
        whose = "this ledger" if is_same_ledger else "another ledger"
        return (
            f"{self._what} is commanded by campaign {held.campaign!r} of {whose}, process {held.pid} on this host, and "
            "a device has one controller; end that process, or wait for it"
        )

    def _check(self) -> _Kept:
        held = self._read()
        if held is None:  # a cleaner of old files came by: nobody else has taken it
            memory = {} if self._last is None else asdict(self._last)
            held = self._mine.model_copy(update={**memory, "boot": _boot()})
            self._write(held)
        if not self._is_mine(held):
            raise Fenced(
                f"{self._what} was taken from this controller (token {self._mine.token}) by campaign "
                f"{held.campaign!r}, process {held.pid}, token {held.token}; it is not commanded from here any more: "
                "end this controller"
            )
        return held

    def _is_mine(self, held: _Kept) -> bool:
        places = ((k.campaign, k.ledger, k.token, k.pid) for k in (held, self._mine))
        return len(set(places)) == 1 and abs(held.born - self._mine.born) < SHIFT_S

    def _read(self) -> _Kept | None:
        try:
            return _Kept.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError, ValueError) as error:
            raise SourceError(
                f"{self._what}: {self.path} cannot be read ({type(error).__name__}), so it is not known who commands "
                "the device; see that no controller of it runs, then delete that file"
            ) from error

    def _write(self, kept: _Kept) -> None:
        new = self.path.with_suffix(".new")
        with self._explained():
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(kept.model_dump_json())
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        runtime_folder()  # a cleaner of old files may have been here
        path = self.path.with_suffix(".lock")
        until = time.monotonic() + LOCK_S
        while True:
            with self._explained():
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(descriptor):
                if _locks(descriptor, path):
                    yield
                    return
            if time.monotonic() >= until:
                raise SourceError(
                    f"{self._what}: {path} is locked for more than {LOCK_S:g} s; look with 'fuser {path}' which "
                    "process stands still, and end it"
                )
            time.sleep(0.01)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SourceError(
                f"{self._what}: {self.path} cannot be written ({error}), and what is not written down is not "
                f"commanded; free some space or name another folder with {RUNTIME}"
            ) from error


def place_of(key: str) -> Fence:
    """The memory of where a device is, for a guard, which takes it from nobody."""
    return Fence(key, 0, Owner("", "", 0, 0.0))


def _locks(descriptor: int, path: Path) -> bool:
    """Whether this is now the lock of the file that stands there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _memory(held: _Kept) -> dict[str, Any]:
    return {"setting": held.setting, "at_s": held.at_s, "doubted": held.doubted, "boot": held.boot}


def _last_of(held: _Kept) -> Commanded | None:
    if held.setting is None:
        return None
    # What was commanded before this boot is at least as old as its clock.
    return Commanded(dict(held.setting), held.at_s if held.boot == _boot() else 0.0, held.doubted)
