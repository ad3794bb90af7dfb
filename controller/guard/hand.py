"""The guard's hand: a child process that holds the guard's own driver, for a driver may hang, crash or exit.

Laws:
    * Only here does the guard run a user's code; whatever that does, the guard goes on.
    * A call that takes too long is ended by the system, even where nobody is left to look.
    * A hand whose guard was killed makes the device safe, and is gone.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from ..perform import text_of
from ..secret import mask
from .charge import Charge
from .wire import Lines

START_S = 10.0  # how long the guard's driver may take to be made and connected
SAFE_S = 5.0  # how long ``make_safe`` may take
MONITOR_S = 2.0  # how long ``monitor`` may be silent
CLOSE_S = 2.0
GRACE_S = 1.0  # what the system waits longer than the guard
WITHIN = {"start": START_S, "make_safe": SAFE_S, "monitor": MONITOR_S, "close": CLOSE_S}


@dataclass(frozen=True)
class Answer:
    """What came of an errand; ``errand`` is empty where there was none."""

    errand: str
    fault: str = ""
    readings: Mapping[str, Any] | None = None
    is_alive: bool = True


class Hand:
    """The guard's side: one errand at a time, each with its time.

    Args:
        charge: whose driver it holds.
        close: what the child must not keep open.
    """

    def __init__(self, charge: Charge, *, close: Callable[[], object]) -> None:
        ours, theirs = socket.socketpair()
        self.errand, self.deadline_s = "", math.inf
        self.pid = os.fork()  # the guard has one thread, so what the child gets is whole
        if self.pid == 0:
            ours.close()
            close()
            _live(charge, Lines(theirs))
        theirs.close()
        self._lines = Lines(ours)
        self._expect("start")

    def fileno(self) -> int:
        """For ``select``."""
        return self._lines.fileno()

    def ask(self, errand: str) -> None:
        """Send it on an errand."""
        self._expect(errand)
        self._lines.send({"do": errand})

    def answer(self) -> Answer | None:
        """What came of the errand; None while nothing whole has come."""
        came = self._lines.receive()
        if came is None:
            return self._end_of("the process of the guard's driver ended")
        if not came:
            return None
        errand, self.errand = self.errand, ""
        return Answer(errand, came[0]["fault"], came[0]["readings"])

    def late(self) -> Answer:
        """What came of an errand that takes too long."""
        return self._end_of(f"{self.errand!r} of the guard's driver took longer than {WITHIN[self.errand]:g} s")

    def kill(self) -> None:
        """End it, with all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # it may not have made its group yet
        self._lines.close()  # only now: it would take that for our death, and act
        until = time.monotonic() + GRACE_S
        with suppress(ChildProcessError):
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0) and time.monotonic() < until:
                time.sleep(0.005)

    def _end_of(self, why: str) -> Answer:
        self.kill()
        return Answer(self.errand, why, is_alive=False)

    def _expect(self, errand: str) -> None:
        self.errand = errand
        self.deadline_s = time.monotonic() + WITHIN[errand]


def _live(charge: Charge, guard: Lines) -> NoReturn:
    """The child's whole life."""
    with suppress(BaseException):
        os.setpgid(0, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # it ends this process, even within a call that never returns
        _serve(charge, guard)
    os._exit(0)


def _serve(charge: Charge, guard: Lines) -> None:
    driver, fault = _bounded("start", charge.make)
    if driver is None:
        guard.send({"fault": fault, "readings": None})
        return
    guard.send({"fault": _bounded("start", driver.connect)[1], "readings": None})
    while select.select([guard], [], [])[0]:
        came = guard.receive()
        if came is None:  # the guard was killed, and nobody else is left
            _bounded("make_safe", lambda: _make_safe(driver, charge))
            return
        for message in came:
            errand = message["do"]
            readings, fault = _bounded(errand, partial(_carry_out, errand, driver, charge))
            guard.send({"fault": fault, "readings": readings})
            if errand == "close":
                return


def _carry_out(errand: str, driver: Any, charge: Charge) -> dict[str, Any] | None:
    if errand == "monitor":
        return _plain(driver.monitor())
    if errand == "make_safe":
        _make_safe(driver, charge)
    else:
        driver.close()
    return None


def _make_safe(driver: Any, charge: Charge) -> None:
    driver.make_safe()
    if charge.rules.safe_setting:
        driver.return_to(dict(charge.rules.safe_setting))


def _plain(readings: Mapping[str, Any]) -> dict[str, Any]:
    """What can be sent: numbers, or the text of what is none."""
    plain: dict[str, Any] = {}
    for name, value in readings.items():
        try:
            plain[str(name)] = math.nan if isinstance(value, bool | str) else float(value)
        except (TypeError, ValueError, OverflowError):
            plain[str(name)] = repr(value)[:80]
    return plain


def _bounded(errand: str, call: Callable[[], Any]) -> tuple[Any, str]:
    """What a call returns, or what it raised; it never takes longer than its errand may."""
    signal.setitimer(signal.ITIMER_REAL, WITHIN[errand] + GRACE_S)
    try:
        return call(), ""
    except BaseException as error:  # a driver may even call sys.exit
        return None, mask(text_of(error)) or type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
