"""The guard: a small process beside the device that outlives whoever commands it, and makes the device safe.

Laws:
    * The device is made safe when its controller ends without a word, keeps silent too long, or an interlock trips.
    * It tries twice, the second time over a new driver; then it says what went wrong.
    * It waits for no driver: it hears its pipe whatever they do, and is gone within ``LEAVE_S`` after that closed.

Started by ``link``, with the socket to whoever holds it as its standard input.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from ..errors import ClosedLoopError
from .charge import Charge, charge_from
from .check import Latch
from .fence import place_of, runtime_folder
from .hand import SAFE_S, START_S, Answer, Hand
from .wire import Lines, Message

N_TRIES = 2
MAKE_SAFE_S = N_TRIES * (START_S + SAFE_S) + 3.0  # both tries, each wait at its longest
LEAVE_S = 2 * MAKE_SAFE_S
IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE)
LOG = "guard.log"  # what no controller was there to hear


class Watch:
    """What the guard knows, and what it does about it.

    Args:
        charge: what is guarded.
        link: to whoever holds the guard.
        pulse: where beats come in; anybody of this user may send them.
    """

    def __init__(self, charge: Charge, link: Lines, pulse: int) -> None:
        self._charge, self._pulse = charge, pulse
        self._link: Lines | None = link
        self._latch = Latch(charge.rules)
        self._beat_s = time.monotonic()
        self._is_silenced = False  # the deadman fired, and nobody armed the guard again
        self._is_begun = self._is_over = False
        self._last: dict[str, Any] | None = None  # commanded
        self._bye: int | None = None  # who said goodbye
        self._why = ""  # the device is to be made safe; empty: it is not
        self._is_wanted_again = False
        self._faults: list[str] = []  # of the tries so far
        self._fault = ""  # what was wrong in the end, the last time
        self._n_safe, self._why_safe = 0, ""  # how often the device was to be made safe, and why the last time
        self._asked: list[int] = []  # who waits for it to be safe
        every = [interlock.every_s for interlock in charge.rules.interlocks]
        self._every_s = min(every) if every else math.inf
        self._look_s = self._beat_s if every else math.inf
        self._greeting: Message = {}  # to whoever started us, once all is ready
        self._hand: Hand | None = self._new_hand()

    def run(self) -> None:
        """Until the controller says goodbye, or has ended and the device was made safe."""
        while not self._is_over:
            files = [f for f in (self._pulse, self._link, self._hand) if f is not None]
            ready, _, _ = select.select(files, [], [], max(0.0, self._next_s() - time.monotonic()))
            if self._pulse in ready:
                os.read(self._pulse, 65536)
                self._beat_s = time.monotonic()
            if self._link in ready:
                self._hear()
            if self._hand is not None and self._hand in ready:
                answer = self._hand.answer()
                if answer is not None:
                    self._take(answer)
            self._tick(time.monotonic())
        if self._hand is not None:
            self._hand.kill()

    def _next_s(self) -> float:
        """When something is due."""
        due = [self._silent_s(), time.monotonic() + 60.0]
        if self._hand is not None and self._hand.errand:
            due.append(self._hand.deadline_s)
        elif self._is_begun:
            due.append(self._look_s)
        return min(due)

    def _silent_s(self) -> float:
        """When the controller will have been silent too long."""
        is_off = self._is_silenced or self._link is None or not self._is_begun
        return math.inf if is_off else self._beat_s + self._charge.deadman_s

    def _tick(self, now_s: float) -> None:
        """Whatever is due now."""
        hand = self._hand
        if hand is not None and hand.errand and now_s >= hand.deadline_s:
            self._take(hand.late())
        if now_s >= self._silent_s():
            self._is_silenced = True
            self._want_safe(f"no beat of the controller for {self._charge.deadman_s:g} s")
        if not self._is_begun or self._is_over or (self._hand is not None and self._hand.errand):
            return
        if self._why:
            self._send("make_safe")
        elif self._bye is not None:
            self._send("close") if self._hand is not None else self._leave()
        elif now_s >= self._look_s:
            self._look_s = now_s + self._every_s
            self._send("monitor")

    def _send(self, errand: str) -> None:
        if self._hand is None:
            self._hand = self._new_hand()  # once that is there, what is due is sent
        else:
            self._hand.ask(errand)

    def _new_hand(self) -> Hand:
        return Hand(self._charge, close=self._close_in_child)

    def _close_in_child(self) -> None:
        # Else the child would keep the pipe open, and neither side would hear of the other's end.
        if self._link is not None:
            self._link.close()
        os.close(self._pulse)

    def _take(self, answer: Answer) -> None:
        """What came of the hand's errand."""
        if not answer.is_alive:
            self._hand = None
        if answer.errand == "start":
            self._started(answer)
        elif answer.errand == "make_safe":
            self._tried(answer.fault)
        elif answer.errand == "close":
            self._leave()
        else:
            self._look(answer)

    def _started(self, answer: Answer) -> None:
        if not self._is_begun:
            self._is_begun, self._is_over, self._beat_s = True, bool(answer.fault), time.monotonic()
            self._greeting = {"id": 0, "fault": answer.fault, "pid": os.getpid()}
            if answer.fault or math.isinf(self._look_s):
                self._greet()  # else after the first look, so that no command comes before it
        elif not answer.is_alive:
            self._tried(answer.fault) if self._why else self._look(answer)

    def _greet(self) -> None:
        if self._greeting:
            self._say(self._greeting)
            self._greeting = {}

    def _tried(self, fault: str) -> None:
        """One try to make the device safe has ended."""
        if fault:
            self._faults.append(fault)
            if self._hand is not None:
                self._hand.kill()
                self._hand = None
            if len(self._faults) < N_TRIES:
                return
        self._fault = "; over a new connection: ".join(self._faults) if fault else ""
        if not fault:
            self._keep_place()
        if not self._asked:
            note(f"{self._charge.name}: {self._why}: {self._fault or 'made safe'}; last commanded: {self._last}")
        for number in self._asked:
            self._say({"id": number, "fault": self._fault})
        self._asked, self._why = [], ""
        if self._is_wanted_again:
            self._is_wanted_again = False
            self._want_safe("the controller ended without a word")
        elif self._link is None:
            self._bye = 0

    def _keep_place(self) -> None:
        """The next controller, whichever it is, counts its steps from where the device was sent now."""
        safe, last = self._charge.rules.safe_setting, self._last
        if safe and last is not None and self._charge.device:
            with suppress(ClosedLoopError):  # whoever comes then counts from where it was commanded last
                place_of(self._charge.device).returned(since=last, setting={**last, **safe})

    def _look(self, answer: Answer) -> None:
        if self._latch.look(answer.readings, time.monotonic(), why=answer.fault):
            self._want_safe(self._latch.text)
        self._greet()

    def _want_safe(self, why: str) -> None:
        self._n_safe, self._why_safe = self._n_safe + 1, why
        if not self._why:
            self._why, self._faults = why, []

    def _hear(self) -> None:
        """What the holder of the guard says, or that it has ended."""
        messages = self._link.receive() if self._link is not None else []
        if messages is None:
            self._link = None
            if self._bye is None:
                signal.alarm(math.ceil(LEAVE_S))  # the system ends us then, whatever we wait for
                # What is under way may have begun before the last command: once more after it.
                self._is_wanted_again = bool(self._why)
                self._want_safe("the controller ended without a word")
        for message in messages or ():
            self._told(message)

    def _told(self, message: Message) -> None:
        number = message["id"]
        match message["do"]:
            case "status":
                self._say({"id": number, **self._status(time.monotonic())})
            case "arm":
                self._say({"id": number, "fault": self._arm()})
            case "acting":
                fault = self._why_not()
                self._last = self._last if fault else message["setting"]
                self._say({"id": number, "fault": fault, "n_safe": self._n_safe})
            case "answered":
                why = "" if self._n_safe == message["n_safe"] else f"the device was made safe ({self._why_safe})"
                self._say({"id": number, "fault": why})
            case "make_safe":
                self._asked.append(number)
                self._want_safe("asked for")
            case "bye":
                self._bye = number

    def _status(self, now_s: float) -> Message:
        return {
            "tripped": self._latch.text,
            "clear_for_s": self._latch.clear_for_s(now_s),
            "may_resume": self._latch.may_resume(now_s) and not (self._why or self._fault),
            "deadman_fired": self._is_silenced,
            "fault": self._fault,
        }

    def _arm(self) -> str:
        fault = self._being_made_safe() or self._latch.arm()
        if not fault:
            self._is_silenced, self._beat_s = False, time.monotonic()
        return fault

    def _why_not(self) -> str:
        """Why nothing may be commanded now."""
        if self._is_silenced:
            return f"no beat of the controller came for {self._charge.deadman_s:g} s, and it was not armed again"
        return self._latch.text or self._being_made_safe()

    def _being_made_safe(self) -> str:
        return f"the device is being made safe ({self._why})" if self._why else ""

    def _say(self, message: Message) -> None:
        if self._link is not None:
            self._link.send(message)

    def _leave(self) -> None:
        self._say({"id": self._bye, "fault": ""})
        self._is_over = True


def note(text: str) -> None:
    """Write down what no controller may be there to hear."""
    with suppress(OSError, ClosedLoopError):
        descriptor = os.open(runtime_folder() / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} guard {os.getpid()}: {text}\n")


def make_pulse() -> tuple[Path, int]:
    """Where beats come in: a named pipe, so that any process of this user can send them."""
    folder = runtime_folder()
    for left in folder.glob("guard-*.beat"):
        number = left.stem.removeprefix("guard-")
        if not (number.isdigit() and psutil.pid_exists(int(number))) or int(number) == os.getpid():
            left.unlink(missing_ok=True)
    path = folder / f"guard-{os.getpid()}.beat"
    os.mkfifo(path, 0o600)
    return path, os.open(path, os.O_RDWR | os.O_NONBLOCK)  # a writer of our own: it never ends


def _first(link: Lines) -> Message:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        messages = link.receive()
        if messages is None:
            break
        if messages:
            return messages[0]
    raise SystemExit(1)


def _guard(link: Lines) -> None:
    charge = charge_from(_first(link))
    try:
        path, pulse = make_pulse()
    except (ClosedLoopError, OSError) as error:
        link.send({"id": 0, "fault": str(error)})
        return
    link.send({"id": -1, "pulse": str(path)})
    try:
        Watch(charge, link, pulse).run()
    finally:
        path.unlink(missing_ok=True)


def main() -> None:
    """Become a process of our own, with no terminal and no parent, and guard."""
    try:
        end = socket.socket(fileno=os.dup(0))
    except OSError:
        sys.exit("this is started by closedloop, for each instrument that it has to keep safe")
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    try:
        _guard(Lines(end))
    except BaseException:  # our hand makes the device safe once we are gone
        note(traceback.format_exc())
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
