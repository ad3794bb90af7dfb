"""A polite end of a run: finish what runs, begin nothing new, and go."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .records import Paused

LEFT_BY = "the controller"  # how it signs


@dataclass
class Leaving:
    """Asked by a signal handler or another thread; the loop hears of it as a pause."""

    reason: str = ""
    _is_told: bool = False

    @property
    def is_asked(self) -> bool:
        """Whether somebody asked."""
        return bool(self.reason)

    def ask(self, reason: str) -> None:
        """Ask the loop to leave once what runs has ended."""
        self.reason = reason

    def words(self) -> list[Paused]:
        """The pause, once."""
        if not self.reason or self._is_told:
            return []
        self._is_told = True
        return [Paused(by=LEFT_BY, reason=self.reason)]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, no Ctrl-C breaks off what makes instruments safe; all that runs here is bounded in time."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # whoever answers it by something else knows that we are closing
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
