"""The executor that runs trials in this process."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from typing import Any

from .bounded import begin, within
from .errors import ClosedLoopError, SourceError
from .executor import CONNECT_S, POLL_S, RECOVER_S, Executor, Inbox, Mailbox, alarm
from .guard.gate import SAFE_S, DeviceGate
from .guard.watch import GuardWatch
from .lifecycle import HANDS
from .perform import (
    INTERRUPTED,
    UNBELIEVED,
    cancelled,
    cannot_tell,
    connected,
    failed,
    held,
    is_held,
    never_begun,
    perform,
    recovered,
    text_of,
    timed_out,
)
from .records import Answer, AnyEvent, Failed, Noted, Observed, Paused, Resumed, Trial
from .source import Binding

GRACE_S = 1.0  # how long a driver that was given up may take to notice that its connection was closed
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """A trial that runs in a thread."""

    trial: Trial
    source: Any
    future: Future[Answer]
    deadline: float


class InlineExecutor(Executor):
    """Trials run here, one at a time and oldest first, inside ``wait``: for tests, notebooks and quick starts.

    What may hang or is guarded runs in a thread, so that people are heard meanwhile. Python cannot stop a thread: an
    instrument whose driver hangs is made safe by its guard and not commanded again before that thread has ended. Use
    the Ray executor where that matters.
    """

    def __init__(
        self,
        bindings: Mapping[str, Binding],
        *,
        inbox: Inbox | None = None,
        gates: Callable[[Binding], DeviceGate] = DeviceGate,
    ) -> None:
        self.bindings = dict(bindings)
        self._gates: dict[str, DeviceGate] = {}
        self._guards = GuardWatch()
        self._sources: dict[str, Any] = {}
        self._queue: deque[Trial] = deque()
        self._in_doubt: deque[Trial] = deque()
        self._ready: deque[AnyEvent] = deque()
        self._job: _Job | None = None
        self._left: list[_Job] = []  # drivers that were given up, and still run
        self._said: deque[AnyEvent] = deque()  # what they said since
        self._is_paused: set[str] = set()  # by us, because their drivers hang
        self._mail = Mailbox(inbox)
        try:
            for name, binding in self.bindings.items():
                if not binding.cls.is_manual:
                    self._gates[name] = gates(binding)
                    self._guards.add(binding, self._gates[name])
                    self._sources[name] = connected(binding)
        except BaseException:
            self.close()
            raise

    @property
    def is_busy(self) -> bool:
        """Whether ``wait`` has something to answer with."""
        return bool(self._ready or self._job or self._queue or self._in_doubt)

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
            if self._job:
                self._attend(self._job)
            elif self._in_doubt:
                return self._recovered(self._in_doubt.popleft())
            elif self._queue:
                self._run(self._queue.popleft())
            elif not self._mail.is_waiting:
                raise RuntimeError("nothing is in flight, so nothing can answer; submit a trial before wait")
            else:
                time.sleep(POLL_S)

    def heard(self) -> AnyEvent | None:
        """What people and guards said, and answers of drivers that were given up."""
        self._gather()
        if self._said and not self._ready:  # what is late comes after what it is late for
            return self._said.popleft()
        return self._mail.next() or self._guards.word()

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

    def why_held(self) -> str:
        """What a guard or a driver that hangs holds."""
        hanging = (self._why_hangs(name) for name in self._gates)
        return next((f"{name!r}: {why}" for name, why in zip(self._gates, hanging, strict=True) if why), "") or (
            self._guards.why_held()
        )

    def make_safe(self) -> dict[str, str]:
        """Bring every instrument to its safe state; one that measures is interrupted, its outcome unknown."""
        if self._job:
            self._gates[self._job.trial.source].give_up(self._job.trial.number)
        faults = {n: self._made_safe(n) for n, b in self.bindings.items() if n in self._gates and b.kind != "simulator"}
        job = self._job
        if job is not None and job.trial.source in faults:
            self._ready.append(failed(job.trial, "unknown", INTERRUPTED, binding=self.bindings[job.trial.source]))
            self._leave(job)
        return {name: fault for name, fault in faults.items() if fault}

    def close(self) -> None:
        """Close every source."""
        while self._sources:
            self._close(*self._sources.popitem())
        self._guards.close()
        for name, gate in self._gates.items():
            gate.abandon() if self._why_hangs(name) else gate.close()
        self._gates = {}

    def _run(self, trial: Trial) -> None:
        name = trial.source
        binding, gate = self.bindings[name], self._gates[name]
        hangs = self._why_hangs(name)
        if hangs:  # somebody resumed too early
            self._ready.append(self._pause(name, hangs))
            self._ready.append(held(trial, hangs, binding))
            return
        try:
            source = self._sources.get(name) or self._renew(binding)
        except ClosedLoopError as error:
            self._ready.append(never_begun(failed(trial, "error", text_of(error), binding=binding)))
            return
        try:
            self._guards.before(name)
        except ClosedLoopError as error:
            self._file(held(trial, str(error), binding), binding)
            return
        if binding.timeout is None and gate.link is None:
            self._file(perform(source, trial, binding, gate=gate), binding)
            return
        deadline = math.inf if binding.timeout is None else time.monotonic() + binding.timeout
        future = begin(lambda: perform(source, trial, binding, gate=gate))
        self._job = _Job(trial, source, future, deadline)

    def _attend(self, job: _Job) -> None:
        """Wait a moment for what runs in a thread."""
        binding = self.bindings[job.trial.source]
        if wait_for([job.future], max(0.0, min(POLL_S, job.deadline - time.monotonic()))).done:
            self._job = None
            self._file(job.future.result(), binding)
        elif time.monotonic() >= job.deadline:
            self._give_up(job, binding)

    def _file(self, answer: AnyEvent, binding: Binding) -> None:
        if is_held(answer):
            self._ready.append(self._guards.held(binding.name, answer))
        self._ready.append(answer)

    def _give_up(self, job: _Job, binding: Binding) -> None:
        """A driver that takes too long: its device is made safe, and it is left behind."""
        name, answer = binding.name, timed_out(job.trial, binding)
        self._gates[name].give_up(job.trial.number)
        fault = self._made_safe(name) if binding.kind == "instrument" else ""
        self._leave(job)
        hangs = self._why_hangs(name)
        if fault:
            self._ready.extend(alarm(name, fault))
        elif hangs:
            self._ready.append(self._pause(name, hangs))
        self._ready.append(answer)

    def _leave(self, job: _Job) -> None:
        self._job = None
        self._left.append(job)
        self._sources.pop(job.trial.source, None)
        self._close(job.trial.source, job.source)
        if self.bindings[job.trial.source].kind == "instrument":
            wait_for([job.future], GRACE_S)

    def _pause(self, name: str, why: str) -> Paused:
        self._is_paused.add(name)
        return Paused(by=f"{HANDS}{name!r}", reason=why)

    def _why_hangs(self, name: str) -> str:
        """Which trial a driver that was given up still runs; it may still command its device."""
        if self.bindings[name].kind == "simulator":
            return ""
        hanging = (j.trial.number for j in self._left if j.trial.source == name and not j.future.done())
        text = "its driver still hangs in trial {}, and a thread cannot be stopped; wait for it, or end this run"
        return next((text.format(number) for number in hanging), "")

    def _gather(self) -> None:
        """What drivers that were given up have answered since."""
        for job in [j for j in self._left if j.future.done()]:
            self._left.remove(job)
            self._gates[job.trial.source].come_back(job.trial.number)
            answer = None if job.future.exception() else job.future.result()
            if isinstance(answer, Observed):
                self._said.append(answer)
            elif isinstance(answer, Failed) and UNBELIEVED in answer.info:
                text = f"trial {answer.trial} answered late, {answer.info[UNBELIEVED]}: {answer.message}"
                self._said.append(Noted(text=f"{text}; 'closedloop ingest' takes a reading that you believe"))
            name = job.trial.source
            if name in self._is_paused and not self._why_hangs(name):
                self._is_paused.discard(name)
                self._said.append(Resumed(by=f"{HANDS}{name!r}", reason="its driver has come back"))

    def _recovered(self, trial: Trial) -> AnyEvent:
        binding = self.bindings[trial.source]
        if binding.cls.is_manual:
            return cannot_tell(trial, "a person answers for it")
        if hangs := self._why_hangs(trial.source):
            return cannot_tell(trial, hangs)
        try:
            source = self._sources.get(trial.source) or self._renew(binding)
            return within(RECOVER_S, lambda: recovered(source, trial, binding))
        except (ClosedLoopError, TimeoutError) as error:
            return cannot_tell(trial, text_of(error))

    def _made_safe(self, name: str) -> str:
        """Make one instrument safe; what went wrong, or nothing."""
        gate, source = self._gates[name], self._sources.get(name)
        under_way = [j for j in (self._job, *self._left) if j and j.trial.source == name and not j.future.done()]
        if under_way:  # its driver is not to be disturbed where the guard has another
            source = None if gate.link else under_way[0].source
        return gate.make_safe(source)

    def _close(self, name: str, source: Any) -> None:
        try:
            within(SAFE_S, source.close)
        except Exception as error:
            _LOG.warning("%s was not closed: %s", name, text_of(error))

    def _renew(self, binding: Binding) -> Any:
        try:
            self._sources[binding.name] = within(CONNECT_S, lambda: connected(binding))
        except TimeoutError as error:
            raise SourceError(
                f"source {binding.name!r} did not connect within {CONNECT_S:g} s; check that it is there"
            ) from error
        return self._sources[binding.name]
