"""What Ctrl-C and a polite kill mean to a run: first finish what runs and pause, then abort.

Laws:
    * Asked once, nothing new begins, what runs ends, and the campaign is paused; asked again, it aborts.
    * SIGTERM aborts by itself after ``GRACE_S``; several of them do not hasten it, for schedulers send several.
    * While the instruments are made safe and closed, nothing interrupts that: it is bounded in time.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..leaving import Leaving

GRACE_S = 20.0  # schedulers kill 30 s after a SIGTERM: the rest is for making safe
FINISHING = "finishing what runs; press Ctrl-C again to abort"
GRACE = f"finishing what runs, for {GRACE_S:g} s at most"
CLOSING = "the instruments are made safe and closed; one moment"


class Departure:
    """Answers the signals of one run.

    Args:
        leaving: asked at the first signal.
        tell: shows one line to whoever looks on.
        is_closing: whether the loop has ended, so that only the making safe and the closing are left.
        is_idle: whether only people's answers are waited for, so that there is nothing to finish.
    """

    def __init__(
        self,
        leaving: Leaving,
        *,
        tell: Callable[[str], None],
        is_closing: Callable[[], bool],
        is_idle: Callable[[], bool],
    ) -> None:
        self._leaving, self._tell, self._is_closing, self._is_idle = leaving, tell, is_closing, is_idle
        self._has_begun = False
        self._is_aborting = False
        self._timer: threading.Timer | None = None
        self._is_overdue = False

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, the signals are answered here; whoever runs us in another thread keeps them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def begin(self) -> None:
        """From now on there may be something to finish."""
        self._has_begun = True

    def _hear(self, number: int, frame: Any) -> None:
        is_kill = number == signal.SIGTERM
        if not self._has_begun:
            self._abort()
        if self._is_aborting or self._is_closing():
            self._tell(CLOSING)
            return
        if self._is_idle() or (self._leaving.is_asked and (self._is_overdue or not is_kill)):
            self._abort()
        if is_kill and self._timer is None:
            self._timer = threading.Timer(GRACE_S, self._overdue)
            self._timer.daemon = True
            self._timer.start()
        if not self._leaving.is_asked:
            self._tell(GRACE if is_kill else FINISHING)
            self._leaving.ask("SIGTERM: it was asked to leave" if is_kill else "Ctrl-C: it was asked to leave")

    def _abort(self) -> None:
        self._is_aborting = True
        raise KeyboardInterrupt

    def _overdue(self) -> None:
        self._is_overdue = True
        os.kill(os.getpid(), signal.SIGTERM)  # the main thread's handler raises; a thread cannot


def tell_on_stderr(text: str) -> None:
    """One line past all buffers: a signal may come in the middle of a print."""
    os.write(2, f"{text}\n".encode())
