"""The actor's side of a guard: it starts it, asks it before each command, and holds the pipe whose end it hears.

Laws:
    * Nothing is commanded without the guard's word: a guard that is dead or silent lets nothing through.
    * Every call is bounded, and any thread may make it.
    * Whoever holds the link and dies has the device made safe; only ``close`` says goodbye.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from ..errors import CampaignError, SourceError
from ..perform import text_of
from ..records import Setting
from ..source import Binding
from .charge import charge_for
from .hand import CLOSE_S, MONITOR_S, START_S
from .process import MAKE_SAFE_S
from .wire import Lines, Message

MODULE = "closedloop.controller.guard.process"
STATUS_S = 1.0  # a guard that says nothing for that long is dead
ACTING_S = 2.0
ANSWERED_S = 10.0  # a computer may be busy, and a reading is worth waiting for
BASE = "closedloop.instruments.instrument"  # where an instrument does nothing to be safe
_LINKS: weakref.WeakSet[GuardLink] = weakref.WeakSet()


@dataclass(frozen=True)
class GuardStatus:
    """How a guard is, and its device."""

    is_alive: bool
    tripped: str = ""  # which interlocks tripped and at what, until armed
    clear_for_s: float = 0.0  # how long none trips
    deadman_fired: bool = False  # and not armed since
    pid: int = 0
    may_resume: bool = False  # what tripped is clear for as long as its ``resume_after_s``
    fault: str = ""  # what went wrong when the device was last made safe


def needs_guard(binding: Binding) -> bool:
    """Whether a process of its own looks after the device."""
    is_real = binding.kind == "instrument" and _is_real(binding)
    return is_real and (binding.needs_make_safe or bool(binding.guard.interlocks))


def refuse_unsafe(binding: Binding) -> None:
    """Refuse a real instrument whose driver cannot do what its guard would ask of it.

    Raises:
        CampaignError: naming the source, its class, what is missing and the remedy.
    """
    if binding.kind != "instrument" or not _is_real(binding):
        return
    what = f"source {binding.name!r}: {binding.cls.__name__}"
    if binding.needs_make_safe and not _overrides(binding, "make_safe"):
        raise CampaignError(
            f"{what} has no make_safe, so nothing could be switched off after a fault; write one, or say "
            "needs_make_safe: false"
        )
    if binding.guard.safe_setting and not _overrides(binding, "return_to"):
        raise CampaignError(
            f"{what} has no return_to, so it cannot be sent to guard.safe_setting "
            f"{binding.guard.safe_setting}; write one, or leave safe_setting out"
        )
    if binding.guard.interlocks and not _overrides(binding, "monitor"):
        raise CampaignError(
            f"{what} has no monitor, so guard.interlocks {binding.guard.interlocks[0].trip!r} would never be clear; "
            "write one, or leave the interlocks out"
        )


def _is_real(binding: Binding) -> bool:
    return not binding.cls.is_manual and bool(getattr(binding.cls, "is_real", True))


def _overrides(binding: Binding, name: str) -> bool:
    owner = next((c for c in binding.cls.__mro__ if name in vars(c)), None)
    return owner is not None and owner.__module__ != BASE


def beat_at(pulse: str) -> None:
    """Tell the guard behind ``GuardLink.pulse`` that the controller lives; from any process of this user and host."""
    with suppress(OSError):
        descriptor = os.open(pulse, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, b".")
        finally:
            os.close(descriptor)


class GuardLink:
    """A guard that runs, and our hold on it. Made by ``start``."""

    def __init__(self, name: str, lines: Lines) -> None:
        self.pulse = ""  # where ``beat_at`` reaches the guard
        self.pid = 0
        self._name, self._lines = name, lines
        self._holder = os.getpid()
        self._sending = threading.Lock()
        self._waiting: dict[int, Future[Message]] = {0: Future()}
        self._n_asked = 0
        self._is_over = threading.Event()
        _LINKS.add(self)
        self._ear = threading.Thread(target=self._listen, name=f"guard-{name}", daemon=True)
        self._ear.start()

    @classmethod
    def start(cls, binding: Binding, *, device: str = "") -> Self:
        """Start a guard for this source; once it is here, its driver is connected, and the interlocks looked at.

        Args:
            binding: the source.
            device: its name for the fence, where it has one.

        Raises:
            SourceError: if it cannot be started, or cannot connect its driver.
        """
        charge = charge_for(binding, device=device)
        ours, theirs = socket.socketpair()
        link = cls(binding.name, Lines(ours))
        try:
            with theirs:  # kept no longer: its last end says that the guard has ended
                _start(theirs)
            link._begin(charge)
        except BaseException as error:
            link._end()
            if isinstance(error, OSError | subprocess.SubprocessError):
                raise SourceError(link._not_started(text_of(error))) from error
            raise
        return link

    def beat(self) -> None:
        """The controller lives."""
        beat_at(self.pulse)

    def arm(self) -> None:
        """Let commands through again after an interlock or the deadman.

        Raises:
            SourceError: if an interlock trips still, or the guard is dead.
        """
        self._insist("arm", "it was not armed", ACTING_S)

    def acting(self, setting: Setting) -> int:
        """To be asked immediately before this setting is commanded; the guard keeps it for its log.

        Returns:
            How often it has made the device safe, for ``answered``.

        Raises:
            SourceError: if nothing may be commanded: an interlock tripped, the deadman fired, or the guard is dead.
        """
        return int(self._insist("acting", "nothing is commanded", ACTING_S, setting=setting)["n_safe"])

    def answered(self, n_safe: int) -> str:
        """Why what was commanded at that count may have been cut off by the guard; empty: it was left alone."""
        said = self._ask("answered", ANSWERED_S, n_safe=n_safe)
        return f"{self._dead()}, and its end makes the device safe" if said is None else str(said["fault"])

    def status(self) -> GuardStatus:
        """How the guard is; one that does not answer is dead."""
        said = self._ask("status", STATUS_S)
        if said is None:
            return GuardStatus(is_alive=False, pid=self.pid)
        said.pop("id")
        return GuardStatus(is_alive=True, pid=self.pid, **said)

    def make_safe(self) -> str:
        """Have the device made safe, over the guard's own connection; what went wrong, or nothing."""
        said = self._ask("make_safe", MAKE_SAFE_S)
        return self._dead() if said is None else str(said["fault"])

    def close(self) -> None:
        """Say goodbye: the guard closes its driver and ends, and the device stays as it is."""
        if os.getpid() == self._holder:  # a fork of the holder must not speak for it
            self._ask("bye", CLOSE_S + MONITOR_S + STATUS_S)
            self._is_over.wait(STATUS_S)  # the end of its process
        self._end()

    def let_go(self) -> None:
        """Close our end without a word."""
        self._lines.close()

    def _begin(self, charge: Message) -> None:
        if not self._lines.send(charge):
            raise SourceError(self._not_started("it ended at once"))
        said = self._answer_of(0, 2 * START_S)
        if said is None:
            raise SourceError(self._not_started("it did not answer"))
        if said["fault"]:
            raise SourceError(
                f"source {self._name!r}: its guard, which needs a connection of its own to the device, cannot connect: "
                f"{said['fault']}; let the device take a second connection, or say needs_make_safe: false"
            )
        self.pid = said["pid"]

    def _not_started(self, why: str) -> str:
        return (
            f"source {self._name!r}: its guard cannot be started ({why}); run '{sys.executable} -m {MODULE}' to see why"
        )

    def _insist(self, do: str, so: str, within_s: float, **more: Any) -> Message:
        said = self._ask(do, within_s, **more)
        if said is None:
            raise SourceError(f"source {self._name!r}: {self._dead()}, so {so}; start the campaign again")
        if said["fault"]:
            raise SourceError(
                f"source {self._name!r}: {said['fault']}, so {so}; see to the device, then resume the campaign"
            )
        return said

    def _dead(self) -> str:
        return f"its guard (process {self.pid}) {'has ended' if self._is_over.is_set() else 'does not answer'}"

    def _ask(self, do: str, within_s: float, **more: Any) -> Message | None:
        """What the guard answers; None if it is dead or says nothing in time."""
        with self._sending:
            self._n_asked += 1
            number = self._n_asked
            self._waiting[number] = Future()
            if self._is_over.is_set() or not self._lines.send({"do": do, "id": number, **more}):
                self._waiting.pop(number)
                return None
        return self._answer_of(number, within_s)

    def _answer_of(self, number: int, within_s: float) -> Message | None:
        future, until = self._waiting[number], time.monotonic() + within_s
        try:
            while not self._is_over.is_set() and time.monotonic() < until:
                with suppress(TimeoutError):
                    return future.result(timeout=0.1)
            return future.result() if future.done() else None
        finally:
            del self._waiting[number]

    def _listen(self) -> None:
        """The thread's whole life: hand answers to who waits, until the guard has ended."""
        try:
            while (came := self._lines.receive()) is not None:
                for message in came:
                    self.pulse = message.get("pulse", self.pulse)
                    future = self._waiting.get(message["id"])
                    if future is not None:
                        future.set_result(message)
        finally:
            self._is_over.set()

    def _end(self) -> None:
        self._lines.shut()  # the ear hears it
        self._ear.join(STATUS_S)
        self._lines.close()


def _let_go() -> None:
    for link in _LINKS:  # a fork of the holder must not keep the pipe open when the holder dies
        link.let_go()


os.register_at_fork(after_in_child=_let_go)


def _start(theirs: socket.socket) -> None:
    """Run the guard's module; it leaves us at once and is nobody's child."""
    first = subprocess.Popen(
        [sys.executable, "-P", "-m", MODULE],
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    first.wait(START_S)
