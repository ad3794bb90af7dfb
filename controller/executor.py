"""The contract of all executors, and the one that runs in this process.

Laws:
    * Each submitted trial is answered exactly once: by ``Observed``, ``Failed`` or a guard's ``Refused``.
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
from .guard.gate import DeviceGate
from .guard.watch import GuardWatch
from .perform import (
    cancelled,
    cannot_tell,
    connected,
    failed,
    never_begun,
    perform,
    recovered,
    text_of,
    timed_out,
)
from .records import Answer, AnyEvent, Failed, Observed, Trial
from .source import Binding

Inbox = Callable[[], Sequence[AnyEvent]]  # what people and other programs posted since the last call
T = TypeVar("T")

POLL_S = 0.2  # how often the inbox is looked into
SAFE_S = 5.0  # how long an instrument may take to become safe or to close
RECOVER_S = 60.0  # how long a device may take to say what became of a trial
CONNECT_S = 30.0  # how long a source may take to connect again after a fault
_LOG = logging.getLogger(__name__)


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
    def make_safe(self) -> None:
        """Bring every instrument to its safe state, bounded in time; raises nothing."""

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
    behind, and what it answers in the end is a late answer; use the Ray executor where that matters.
    """

    def __init__(
        self,
        bindings: Mapping[str, Binding],
        *,
        inbox: Inbox | None = None,
        gates: Callable[[Binding], DeviceGate | None] = lambda binding: None,
    ) -> None:
        self.bindings = dict(bindings)
        self._gates: dict[str, DeviceGate | None] = {}
        self._guards = GuardWatch({}, {})
        self._sources: dict[str, Any] = {}
        self._queue: deque[Trial] = deque()
        self._in_doubt: deque[Trial] = deque()
        self._ready: deque[AnyEvent] = deque()
        self._left_behind: list[Future[Answer]] = []
        self._mail = Mailbox(inbox)
        try:
            for name, binding in self.bindings.items():
                if not binding.cls.is_manual:
                    self._gates[name] = gates(binding)
                    self._sources[name] = connected(binding)
            self._guards = GuardWatch(self.bindings, self._gates)
        except BaseException:
            self.close()
            raise

    @property
    def is_busy(self) -> bool:
        """Whether ``wait`` has something to answer with."""
        return bool(self._ready or self._queue or self._in_doubt)

    def submit(self, trial: Trial) -> None:
        """Queue a trial; ``wait`` runs it."""
        if self.bindings[trial.source].cls.is_manual:
            self._mail.expect(trial.number)
        else:
            self._queue.append(trial)

    def recover(self, trial: Trial) -> None:
        """Ask the driver, inside ``wait``."""
        self._in_doubt.append(trial)

    def wait(self) -> AnyEvent:
        """The next answer; runs the oldest trial if nothing else has answered."""
        while True:
            said = self.heard()
            if said is not None:
                return said
            if self._ready:
                return self._ready.popleft()
            if self._in_doubt:
                return self._recovered(self._in_doubt.popleft())
            if self._queue:
                return self._run(self._queue.popleft())
            if not self._mail.is_waiting:
                raise RuntimeError("nothing is in flight, so nothing can answer; submit a trial before wait")
            time.sleep(POLL_S)

    def heard(self) -> AnyEvent | None:
        """What people and guards said, and answers of drivers that were given up."""
        return self._mail.next() or self._guards.word() or self._late()

    def cancel(self, number: int) -> None:
        """Give up a trial that has not begun."""
        waiting = [t for t in self._queue if t.number == number]
        for trial in waiting:
            self._queue.remove(trial)
        if waiting or self._mail.forget(number):
            self._ready.append(never_begun(cancelled(number)))

    def hold(self) -> None:
        """Take back what is queued."""
        self._ready.extend(never_begun(cancelled(trial.number)) for trial in self._queue)
        self._queue.clear()

    def make_safe(self) -> None:
        """Bring every instrument to its safe state."""
        for name, source in self._sources.items():
            gate = self._gates.get(name)
            if source.kind == "instrument" and (gate is None or gate.is_ours()):
                _is_done(f"{name} may not be safe", source.make_safe)
                if gate is not None:
                    gate.made_safe()

    def close(self) -> None:
        """Close every source."""
        while self._sources:
            name, source = self._sources.popitem()
            _is_done(f"{name} was not closed", source.close)
        self._guards.close()
        for gate in self._gates.values():
            if gate is not None:
                gate.close()
        self._gates = {}

    def _run(self, trial: Trial) -> AnyEvent:
        binding = self.bindings[trial.source]
        try:
            source = self._sources.get(trial.source) or self._renew(binding)
            self._guards.before(trial.source)
        except ClosedLoopError as error:
            return never_begun(failed(trial, "error", text_of(error), binding=binding))
        gate = self._gates.get(trial.source)
        if binding.timeout is None:
            return perform(source, trial, binding, gate=gate)
        future = _begin(lambda: perform(source, trial, binding, gate=gate))
        if wait_for([future], binding.timeout).done:
            return future.result()
        self._left_behind.append(future)
        self._replace(binding)
        return timed_out(trial, binding)

    def _late(self) -> AnyEvent | None:
        """An answer of a driver that was given up."""
        for future in [f for f in self._left_behind if f.done()]:
            self._left_behind.remove(future)
            if future.exception() is None and isinstance(future.result(), Observed):
                return future.result()
        return None

    def _recovered(self, trial: Trial) -> AnyEvent:
        binding = self.bindings[trial.source]
        if binding.cls.is_manual:
            return cannot_tell(trial, "a person answers for it")
        try:
            source = self._sources.get(trial.source) or self._renew(binding)
            return _begin(lambda: recovered(source, trial, binding)).result(RECOVER_S)
        except (ClosedLoopError, TimeoutError) as error:
            return cannot_tell(trial, text_of(error) if str(error) else f"no answer within {RECOVER_S:g} s")

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
