"""The contract of all executors, and the one that runs in this process.

Laws:
    * Each submitted trial is answered exactly once: by ``Observed`` or by ``Failed``.
    * An instrument is commanded by one trial at a time and is never retried.
    * ``wait`` returns an event; it is the caller who writes it down.
    * Whatever a driver does, be it to raise, to hang or to die, never leaves ``wait`` as an exception.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from threading import Thread
from typing import Any, TypeVar

from .errors import ClosedLoopError, SourceError
from .perform import Answer, cancelled, connected, failed, never_begun, perform, text_of, timed_out
from .records import AnyEvent, Failed, Observed, Trial
from .source import Binding

Inbox = Callable[[], Sequence[AnyEvent]]  # what people and other programs posted since the last call
T = TypeVar("T")

POLL_S = 0.2  # how often the inbox is looked into
SAFE_S = 5.0  # how long an instrument may take to become safe or to close
CONNECT_S = 30.0  # how long a source may take to connect again after a fault
_LOG = logging.getLogger(__name__)


class Executor(ABC):
    """Whoever carries out trials; ``bindings`` are the sources it has, by name."""

    bindings: Mapping[str, Binding]

    @abstractmethod
    def submit(self, trial: Trial) -> None:
        """Begin a trial; return at once."""

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
    def make_safe(self) -> None:
        """Bring every instrument to its safe state, bounded in time; raises nothing."""

    @abstractmethod
    def close(self) -> None:
        """Close every source and let go of all processes."""


class Mailbox:
    """The answers of people and other programs, and the trials that wait for them."""

    def __init__(self, inbox: Inbox | None) -> None:
        self._inbox = inbox
        self._expected: set[int] = set()
        self._early: dict[int, Answer] = {}  # came before its trial was submitted: after a crash, say
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

    def take(self) -> list[AnyEvent]:
        """What came in for the trials that wait; looks into the inbox every ``POLL_S``."""
        if self._inbox is None or time.monotonic() < self._next_look:
            return []
        self._next_look = time.monotonic() + POLL_S
        others: list[AnyEvent] = []
        for event in self._inbox():
            if isinstance(event, Observed | Failed):
                self._early.setdefault(event.trial, event)
            else:
                others.append(event)
        ripe = sorted(self._expected & self._early.keys())
        self._expected.difference_update(ripe)
        return others + [self._early.pop(number) for number in ripe]


def _begin(function: Callable[[], T]) -> Future[T]:
    """Run ``function`` in a thread that nobody must wait for: a driver that hangs cannot be stopped."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _is_done(what: str, function: Callable[[], object]) -> bool:
    """Whether ``function`` ended well in time; raises nothing."""
    try:
        _begin(function).result(SAFE_S)
    except Exception as error:
        _LOG.warning("%s: %s", what, text_of(error) if str(error) else f"no end within {SAFE_S:g} s")
        return False
    return True


class InlineExecutor(Executor):
    """Trials run here, oldest first, inside ``wait``: for tests, notebooks and quick starts.

    A trial with a timeout runs in a thread. Python cannot stop a thread, so a driver that hangs is left
    behind; use the Ray executor where that matters.
    """

    def __init__(self, bindings: Mapping[str, Binding], *, inbox: Inbox | None = None) -> None:
        self.bindings = dict(bindings)
        self._sources: dict[str, Any] = {}
        self._queue: deque[Trial] = deque()
        self._ready: deque[AnyEvent] = deque()
        self._mail = Mailbox(inbox)
        try:
            for name, binding in self.bindings.items():
                if not binding.cls.is_manual:
                    self._sources[name] = connected(binding)
        except BaseException:
            self.close()
            raise

    def submit(self, trial: Trial) -> None:
        """Queue a trial; ``wait`` runs it."""
        if self.bindings[trial.source].cls.is_manual:
            self._mail.expect(trial.number)
        else:
            self._queue.append(trial)

    def wait(self) -> AnyEvent:
        """The next answer; runs the oldest trial if nothing else has answered."""
        while True:
            self._ready.extend(self._mail.take())
            if self._ready:
                return self._ready.popleft()
            if self._queue:
                return self._run(self._queue.popleft())
            if not self._mail.is_waiting:
                raise RuntimeError("nothing is in flight, so nothing can answer; submit a trial before wait")
            time.sleep(POLL_S)

    def cancel(self, number: int) -> None:
        """Give up a trial that has not begun."""
        for trial in [t for t in self._queue if t.number == number]:
            self._queue.remove(trial)
            self._ready.append(never_begun(cancelled(trial)))
        if self._mail.forget(number):
            given_up = Failed(trial=number, cause="error", message="cancelled by the controller")
            self._ready.append(never_begun(given_up))

    def make_safe(self) -> None:
        """Bring every instrument to its safe state."""
        for name, source in self._sources.items():
            if source.kind == "instrument":
                _is_done(f"{name} may not be safe", source.make_safe)

    def close(self) -> None:
        """Close every source."""
        while self._sources:
            name, source = self._sources.popitem()
            _is_done(f"{name} was not closed", source.close)

    def _run(self, trial: Trial) -> Answer:
        binding = self.bindings[trial.source]
        try:
            source = self._sources.get(trial.source) or self._renew(binding)
        except ClosedLoopError as error:
            return never_begun(failed(trial, "error", text_of(error)))
        if binding.timeout is None:
            return perform(source, trial, binding)
        future = _begin(lambda: perform(source, trial, binding))
        deadline = time.monotonic() + binding.timeout
        while not wait_for([future], max(0.0, min(POLL_S, deadline - time.monotonic()))).done:
            if time.monotonic() >= deadline:
                self._replace(binding)
                return timed_out(trial, binding)
            self._ready.extend(self._mail.take())
        return future.result()

    def _replace(self, binding: Binding) -> None:
        old = self._sources.pop(binding.name)
        is_safe = binding.kind == "simulator" or _is_done(f"{binding.name} may not be safe", old.make_safe)
        _is_done(f"{binding.name} was not closed", old.close)
        try:
            new = self._renew(binding)
        except ClosedLoopError as error:
            _LOG.warning("%s", error)  # the next trial tries again and is answered with this error
            return
        if not is_safe:
            _is_done(f"{binding.name} may not be safe", new.make_safe)

    def _renew(self, binding: Binding) -> Any:
        try:
            self._sources[binding.name] = _begin(lambda: connected(binding)).result(CONNECT_S)
        except TimeoutError as error:
            raise SourceError(
                f"source {binding.name!r} did not connect within {CONNECT_S:g} s; check that it is there"
            ) from error
        return self._sources[binding.name]
