"""Trials on Ray: an actor an instrument, a pool of actors a simulator. The only file that knows Ray.

Laws:
    * Ray retries nothing here: its own retry does a physical action twice without a word.
    * ``ray.kill`` is the only stop, and an instrument whose actor ended is made safe by the next one.
    * Deadlines are ours: Ray does not notice an instrument that hangs.
"""

from __future__ import annotations

import importlib.machinery
import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .errors import SourceError
from .executor import CONNECT_S, POLL_S, SAFE_S, Executor, Inbox, Mailbox
from .perform import Answer, cancelled, connected, failed, never_begun, perform, text_of, timed_out
from .ray_session import RaySession, ray
from .records import AnyEvent, Failed, Trial
from .source import Binding, Source

START_S = 60.0  # how long all sources may take to connect before the first trial
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_LOG = logging.getLogger(__name__)


class SourceActor:
    """One source in a process of its own. It answers with records or text: no exception crosses Ray."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._source: Any = None

    def connect(self) -> str:
        """Make and connect the source; what went wrong, or nothing."""
        return _said(self._connect)

    def revive(self) -> str:
        """Connect after a fault, and make an instrument safe; what went wrong, or nothing."""
        return self.connect() or self.make_safe()

    def perform(self, trial: Trial) -> Answer:
        """Run one trial."""
        return perform(self._source, trial, self._binding)

    def make_safe(self) -> str:
        """Bring an instrument to its safe state; what went wrong, or nothing."""
        return _said(self._source.make_safe) if self._binding.kind == "instrument" else ""

    def close(self) -> str:
        """Close the source; what went wrong, or nothing."""
        return _said(self._source.close)

    def _connect(self) -> None:
        self._source = connected(self._binding)


def _said(function: Callable[[], object]) -> str:
    try:
        function()
    except BaseException as error:
        return text_of(error) or type(error).__name__
    return ""


@dataclass
class _Slot:
    """An actor and what it does now: a trial, or (``trial`` is None) becoming ready."""

    binding: Binding
    actor: Any
    ref: Any = None
    trial: Trial | None = None
    deadline: float = math.inf
    fault: str = ""  # why it cannot run trials

    def begin(self, method: str, *args: object, within_s: float | None, trial: Trial | None = None) -> None:
        self.ref = getattr(self.actor, method).remote(*args)
        self.trial = trial
        self.deadline = math.inf if within_s is None else time.monotonic() + within_s

    def end(self) -> Trial | None:
        trial, self.trial, self.ref, self.deadline = self.trial, None, None, math.inf
        return trial


class RayExecutor(Executor):
    """Trials run in actors: instruments one trial at a time, simulators in ``n_slots`` processes.

    Args:
        bindings: the sources by name.
        inbox: where people's and other programs' answers come from.
        address: a Ray cluster to join; without it Ray is started here, on loopback only.

    Raises:
        SourceError: if a source cannot be connected; then nothing has run and nothing is left behind.
    """

    def __init__(
        self, bindings: Mapping[str, Binding], *, inbox: Inbox | None = None, address: str | None = None
    ) -> None:
        self.bindings = dict(bindings)
        self._mail = Mailbox(inbox)
        self._ready: deque[AnyEvent] = deque()
        self._queues: dict[str, deque[Trial]] = {name: deque() for name in self.bindings}
        self._slots: dict[str, list[_Slot]] = {}
        self._session = RaySession(address, demand=_demand(self.bindings.values()))
        try:
            for name, binding in self.bindings.items():
                n_slots = 1 if binding.kind == "instrument" else binding.n_slots
                if not binding.cls.is_manual:
                    self._slots[name] = [_Slot(binding, _new_actor(binding)) for _ in range(n_slots)]
            self._connect()
        except BaseException:
            self.close()
            raise

    def submit(self, trial: Trial) -> None:
        """Give the trial to a free actor of its source, or queue it."""
        if self.bindings[trial.source].cls.is_manual:
            self._mail.expect(trial.number)
        else:
            self._queues[trial.source].append(trial)
            self._dispatch(trial.source)

    def wait(self) -> AnyEvent:
        """The next answer of any actor, person or program."""
        while True:
            self._ready.extend(self._mail.take())
            self._end_overdue()
            for name in self._slots:
                self._dispatch(name)
            if self._ready:
                return self._ready.popleft()
            if not self._mail.is_waiting and not any(self._queues.values()) and not self._running():
                raise RuntimeError("nothing is in flight, so nothing can answer; submit a trial before wait")
            self._turn()

    def cancel(self, number: int) -> None:
        """Give up a trial that has not begun; a simulation that runs is ended, a measurement is not."""
        for queue in self._queues.values():
            for trial in [t for t in queue if t.number == number]:
                queue.remove(trial)
                self._ready.append(never_begun(cancelled(trial)))
        for slot in self._running():
            if slot.trial and slot.trial.number == number and slot.binding.kind == "simulator":
                self._ready.append(cancelled(slot.trial))
                self._revive(slot)
        if self._mail.forget(number):
            given_up = Failed(trial=number, cause="error", message="cancelled by the controller")
            self._ready.append(never_begun(given_up))

    def make_safe(self) -> None:
        """Bring every instrument to its safe state; one that measures is interrupted, its outcome unknown."""
        slots = [s for s in self._all() if s.binding.kind == "instrument"]
        with suppress(Exception):
            for slot in slots:
                if slot.trial is not None:
                    interrupted = "interrupted to make the instrument safe; whether it was carried out is unknown"
                    self._ready.append(failed(slot.trial, "unknown", interrupted))
                if slot.trial is not None or slot.fault:
                    self._revive(slot)
                elif slot.ref is None:
                    slot.begin("make_safe", within_s=SAFE_S)
            self._settle(slots, within_s=2 * SAFE_S)
        for slot in slots:
            if slot.ref is not None or slot.fault:
                _LOG.warning("%s may not be safe: %s", slot.binding.name, slot.fault or "no answer in time")

    def close(self) -> None:
        """Close every source, end every actor, and Ray where it was started here."""
        with suppress(Exception):
            idle = [s for s in self._all() if s.ref is None and not s.fault]
            for slot in idle:
                slot.begin("close", within_s=SAFE_S)
            self._settle(idle, within_s=SAFE_S)
        for slot in self._all():
            _kill(slot.actor)
        self._slots = {}
        self._session.stop()

    def _all(self) -> Iterator[_Slot]:
        for slots in self._slots.values():
            yield from slots

    def _running(self) -> list[_Slot]:
        return [s for s in self._all() if s.trial is not None]

    def _connect(self) -> None:
        slots = list(self._all())
        for slot in slots:
            slot.begin("connect", within_s=None)
        self._settle(slots, within_s=START_S)
        for slot in slots:
            if slot.ref is not None:
                asked = dict(slot.binding.resources) or "nothing"
                slot.fault = (
                    f"source {slot.binding.name!r} did not connect within {START_S:g} s; check that it is "
                    f"there, and that Ray has free what it asks for ({asked})"
                )
            if slot.fault:
                raise SourceError(slot.fault)

    def _dispatch(self, name: str) -> None:
        queue = self._queues[name]
        free = sorted((s for s in self._slots.get(name, ()) if s.ref is None), key=lambda s: bool(s.fault))
        for slot in free:
            if not queue:
                return
            if not slot.fault:
                trial = queue.popleft()
                slot.begin("perform", trial, within_s=slot.binding.timeout, trial=trial)
            elif len(free) == len(self._slots[name]) or all(s.fault for s in free):
                # nothing works: this trial says so, and the source gets another chance before the next
                self._ready.append(never_begun(failed(queue.popleft(), "error", slot.fault)))
                self._revive(slot)

    def _turn(self) -> None:
        """Let the world act for a moment, and take one answer."""
        busy = [s for s in self._all() if s.ref is not None]
        nearest = min((s.deadline for s in busy), default=math.inf) - time.monotonic()
        tick_s = max(0.0, min(POLL_S, nearest))
        if not busy:
            time.sleep(tick_s)
            return
        done, _ = ray.wait([s.ref for s in busy], num_returns=1, timeout=tick_s)
        for slot in busy:
            if slot.ref in done:
                self._collect(slot)

    def _settle(self, slots: list[_Slot], *, within_s: float) -> None:
        """Wait for what these slots do now."""
        busy = [s for s in slots if s.ref is not None]
        if busy:
            done, _ = ray.wait([s.ref for s in busy], num_returns=len(busy), timeout=within_s)
            for slot in busy:
                if slot.ref in done:
                    self._collect(slot)

    def _collect(self, slot: _Slot) -> None:
        ref, trial = slot.ref, slot.end()
        try:
            answer = ray.get(ref)
        except ray.exceptions.RayError as error:
            self._lose(slot, trial, error)
            return
        if trial is None:
            slot.fault = answer
        else:
            self._ready.append(answer)

    def _lose(self, slot: _Slot, trial: Trial | None, error: Exception) -> None:
        """The actor ended, or gave no answer that can be read."""
        name, last_words = slot.binding.name, str(error).strip().splitlines()[-1][:300]
        if trial is None:
            slot.fault = f"the process of source {name!r} ended while it got ready: {last_words}"
            return
        if slot.binding.kind == "instrument":
            said = f"the process of {name!r} ended in the middle; whether the trial was carried out is unknown"
            self._ready.append(failed(trial, "unknown", f"{said}: {last_words}"))
        else:
            self._ready.append(failed(trial, "crashed", f"the process of {name!r} ended: {last_words}"))
        self._revive(slot)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        overdue = [s for s in self._all() if now >= s.deadline]
        self._settle(overdue, within_s=0)  # an answer that came while nobody waited came in time
        for slot in [s for s in overdue if s.ref is not None and now >= s.deadline]:
            if slot.trial is not None:
                self._ready.append(timed_out(slot.trial, slot.binding))
                self._revive(slot)
            else:
                slot.end()
                slot.fault = f"source {slot.binding.name!r} did not become ready in time; check that it is there"

    def _revive(self, slot: _Slot) -> None:
        _kill(slot.actor)
        slot.fault = ""
        slot.actor = _new_actor(slot.binding)
        slot.begin("revive", within_s=CONNECT_S)


def _kill(actor: Any) -> None:
    with suppress(Exception):  # it may be dead already, or Ray may be
        ray.kill(actor, no_restart=True)


def _new_actor(binding: Binding) -> Any:
    _carry(binding.cls)
    cpus, gpus, custom = _split(binding)
    remote = ray.remote(SourceActor).options(
        num_cpus=cpus,
        num_gpus=gpus,
        resources=custom,
        max_restarts=0,
        max_task_retries=0,
        runtime_env={"env_vars": _ONE_THREAD},
    )
    return remote.remote(binding)


def _split(binding: Binding) -> tuple[float, float, dict[str, float]]:
    """(CPUs, GPUs, other resources); a simulator takes a CPU unless told otherwise, an instrument none."""
    asked = {k.lower() if k.lower() in ("cpu", "gpu") else k: v for k, v in binding.resources.items()}
    cpus = asked.pop("cpu", 0.0 if binding.kind == "instrument" else 1.0)
    return cpus, asked.pop("gpu", 0.0), asked


def _demand(bindings: Iterator[Binding] | Any) -> dict[str, float]:
    total: dict[str, float] = {}
    for binding in bindings:
        n_slots = 0 if binding.cls.is_manual else 1 if binding.kind == "instrument" else binding.n_slots
        cpus, _, custom = _split(binding)
        for name, amount in {"CPU": cpus, **custom}.items():
            total[name] = total.get(name, 0.0) + n_slots * amount
    return total


def _carry(cls: type[Source]) -> None:
    """Let a class travel whole where an actor could not import its module: a file given by its path."""
    module = sys.modules.get(cls.__module__)
    if module is not None and cls.__module__ != "__main__" and not _is_importable(cls.__module__):
        ray.cloudpickle.register_pickle_by_value(module)


def _is_importable(name: str) -> bool:
    path: Any = None
    parts = name.split(".")
    for n in range(1, len(parts) + 1):
        spec = importlib.machinery.PathFinder.find_spec(".".join(parts[:n]), path)
        found = spec or getattr(sys.modules.get(parts[0]), "__path__", None) if n == 1 else spec
        if found is None:
            return False
        path = spec.submodule_search_locations if spec else found
    return True
