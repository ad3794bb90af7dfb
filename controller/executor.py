"""The contract of all executors.

Laws:
    * Each submitted trial is answered exactly once: by ``Observed``, ``Failed`` or a guard's ``Refused``.
    * An instrument is commanded by one trial at a time and is never retried.
    * ``wait`` returns an event; it is the caller who writes it down.
    * Whatever a driver does, be it to raise, to hang or to die, never leaves ``wait`` as an exception.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from .lifecycle import HANDS
from .perform import unsafe
from .records import AnyEvent, Failed, Observed, Paused, Trial
from .source import Binding

Inbox = Callable[[], Sequence[AnyEvent]]  # what people and other programs posted since the last call

POLL_S = 0.2  # how often the inbox is looked into
RECOVER_S = 60.0  # how long a device may take to say what became of a trial
CONNECT_S = 30.0  # how long a source may take to connect again after a fault


class Executor(ABC):
    """Whoever carries out trials; ``bindings`` are the sources it has, by name."""

    bindings: Mapping[str, Binding]
    _mail: Mailbox

    @abstractmethod
    def submit(self, trial: Trial) -> None:
        """Begin a trial; return at once."""

    @abstractmethod
    def recover(self, trial: Trial) -> None:
        """Ask the device what became of a trial in doubt; ``wait`` gives its reading, or ``Settled``."""

    @property
    @abstractmethod
    def is_busy(self) -> bool:
        """Whether an answer is under way; what people are to answer does not count."""

    def listen(self, patience_s: float | None) -> AnyEvent | None:
        """The next word of people and other programs; None once patience has ended, which is None for ever."""
        end = None if patience_s is None else time.monotonic() + patience_s
        while True:
            said = self.heard()
            if said is not None or (end is not None and time.monotonic() >= end):
                return said
            time.sleep(POLL_S)

    def expect(self, number: int) -> None:
        """Somebody else carries this trial out; their answer comes by mail."""
        self._mail.expect(number)

    @abstractmethod
    def hold(self) -> None:
        """Answer every trial that is queued and not begun with ``Failed(cause="cancelled")``, at no cost."""

    def heard(self) -> AnyEvent | None:
        """What people, programs and guards said without having been asked; returns at once."""
        return self._mail.next()

    @abstractmethod
    def wait(self) -> AnyEvent:
        """Block until the world answers; the next answer.

        Raises:
            RuntimeError: if nothing is in flight, so that nothing could ever answer.
        """

    @abstractmethod
    def cancel(self, number: int) -> None:
        """Give up a trial that has not begun, or a simulation that runs; it is answered by ``Failed``."""

    @abstractmethod
    def why_held(self) -> str:
        """Why nothing can begin though somebody resumes it: what its guards say of a device; empty: nothing."""

    @abstractmethod
    def make_safe(self) -> dict[str, str]:
        """Bring every instrument to its safe state, bounded in time; raises nothing.

        Returns:
            By name, the instruments that may not be safe, and why.
        """

    @abstractmethod
    def close(self) -> None:
        """Close every source and let go of all processes."""


class Mailbox:
    """The words of people and other programs, and the trials that wait for them."""

    def __init__(self, inbox: Inbox | None) -> None:
        self._inbox = inbox
        self._expected: set[int] = set()
        self._come: deque[AnyEvent] = deque()
        self._next_look = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether a trial waits for its answer."""
        return bool(self._expected)

    def expect(self, number: int) -> None:
        """From now on the answer to this trial is given out."""
        self._expected.add(number)
        self._next_look = 0.0

    def forget(self, number: int) -> bool:
        """Expect a trial no more; whether it was expected."""
        was_expected = number in self._expected
        self._expected.discard(number)
        return was_expected

    def next(self) -> AnyEvent | None:
        """One word, oldest first; looks into the inbox every ``POLL_S``."""
        if not self._come and self._inbox is not None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + POLL_S
            self._come.extend(self._inbox())
        if not self._come:
            return None
        said = self._come.popleft()
        if isinstance(said, Observed | Failed):
            self._expected.discard(said.trial)
        return said


def alarm(name: str, fault: str) -> list[AnyEvent]:
    """What is said where an instrument could not be made safe: nothing begins until a person has seen to it."""
    noted = unsafe(name, fault)
    return [noted, Paused(by=f"{HANDS}{name!r}", reason=f"{noted.text}, then resume")]
