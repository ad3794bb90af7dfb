"""Trials on Ray: an actor an instrument, a pool of actors a simulator.

Laws:
    * Ray retries nothing here: its own retry does a physical action twice without a word.
    * ``ray.kill`` is the only stop, and an instrument whose actor ended is made safe by the next one.
    * Deadlines are ours: Ray does not notice an instrument that hangs.
    * What a guard holds gets no trial until the campaign was told, and somebody resumed.
    * A source that ends its process again and again rests, and says why to every trial that comes.
    * Where Ray itself is gone, ``wait`` raises: the ledger knows what was in flight, and a resume settles it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from ..errors import SourceError
from ..executor import CONNECT_S, POLL_S, RECOVER_S, Executor, Inbox, Mailbox, alarm
from ..guard.gate import SAFE_S
from ..guard.link import GuardStatus
from ..guard.process import MAKE_SAFE_S
from ..perform import INTERRUPTED, cancelled, cannot_tell, failed, is_held, never_begun, text_of, timed_out
from ..records import AnyEvent, Noted, Paused, Trial
from ..source import Binding
from .actor import Born, Gates
from .heed import Heed
from .resources import check_offer, demand, n_actors
from .session import RaySession, ray
from .slots import Slot, last_words
from .watch import GONE, Watch

START_S = 60.0  # how long all sources may take to connect before the first trial
FRESH_S = 0.1  # how long a process that answered is taken to be there
FETCH_S = 30.0  # how long an answer that is there may take to arrive


class RayExecutor(Executor):
    """Trials run in actors: instruments one trial at a time, simulators in ``n_slots`` processes.

    Args:
        bindings: the sources by name.
        inbox: where people's and other programs' answers come from.
        address: a Ray cluster to join; without it Ray is started here, on loopback only.
        gates: makes, beside the device, what stands between its trials and the device.

    Raises:
        SourceError: if a source cannot be connected; then nothing has run and nothing is left behind.
    """

    def __init__(
        self,
        bindings: Mapping[str, Binding],
        *,
        inbox: Inbox | None = None,
        address: str | None = None,
        gates: Gates | None = None,
    ) -> None:
        self.bindings = dict(bindings)
        self._mail = Mailbox(inbox)
        self._ready: deque[AnyEvent] = deque()
        self._queues: dict[str, deque[tuple[str, Trial]]] = {name: deque() for name in self.bindings}
        self._slots: dict[str, list[Slot]] = {}
        self._heed = Heed(self.bindings.values(), self._guard_of)
        self._session = RaySession(address, demand=demand(self.bindings.values()))
        self._watch: Watch | None = None
        self._is_ending = False  # whoever makes all safe says himself what could not be
        try:
            check_offer(list(self.bindings.values()), [n["Resources"] for n in ray.nodes() if n["Alive"]])
            self._watch = Watch(self._session)
            self._connect(gates)
        except BaseException:
            self.close()
            raise

    @property
    def is_busy(self) -> bool:
        """Whether an answer is under way; what people are to answer does not count."""
        return bool(self._ready or any(self._queues.values()) or self._running())

    def submit(self, trial: Trial) -> None:
        """Give the trial to a free actor of its source, or queue it."""
        if self.bindings[trial.source].cls.is_manual:
            self._mail.expect(trial.number)
        else:
            self._queues[trial.source].append(("perform", trial))
            self._heed_guards()
            self._dispatch(trial.source)

    def recover(self, trial: Trial) -> None:
        """Ask the device, before anything else is done with it."""
        if self.bindings[trial.source].cls.is_manual:
            self._ready.append(cannot_tell(trial, "a person answers for it"))
        else:
            queue = self._queues[trial.source]
            queue.insert(sum(method == "recover" for method, _ in queue), ("recover", trial))
            self._dispatch(trial.source)

    def heard(self) -> AnyEvent | None:
        """What is there to hear, from anybody.

        Raises:
            SourceError: if Ray itself is gone.
        """
        self._settle(list(self._all()), within_s=0)  # what gets ready meanwhile
        return self._look()

    def wait(self) -> AnyEvent:
        """The next answer of any actor, person or program.

        Raises:
            RuntimeError: if nothing is in flight, so that nothing could ever answer.
            SourceError: if Ray itself is gone.
        """
        while True:
            said = self._look()
            if said is not None:
                return said
            if not (self.is_busy or self._mail.is_waiting):
                raise RuntimeError("nothing is in flight, so nothing can answer; submit a trial before wait")
            self._turn()

    def cancel(self, number: int) -> None:
        """Give up a trial that has not begun; a simulation that runs is ended, a measurement is not."""
        is_given_up = self._mail.forget(number)
        for queue in self._queues.values():
            for asked in [a for a in queue if a[0] == "perform" and a[1].number == number]:
                queue.remove(asked)
                is_given_up = True
        if is_given_up:
            self._ready.append(never_begun(cancelled(number)))
        for slot in self._running():
            if slot.trial and slot.trial.number == number and slot.binding.kind == "simulator":
                self._ready.append(cancelled(number))
                self._start(slot, "revive")

    def hold(self) -> None:
        """Take back what is queued; what was asked of drivers stays."""
        for queue in self._queues.values():
            for asked in [a for a in queue if a[0] == "perform"]:
                queue.remove(asked)
                self._ready.append(never_begun(cancelled(asked[1].number)))

    def make_safe(self) -> dict[str, str]:
        """Bring every instrument to its safe state; one that measures is interrupted, its outcome unknown."""
        if self._watch and self._watch.lost:
            return {}  # with Ray its actors end, and each guard makes its device safe
        slots = [s for s in self._all() if s.binding.kind == "instrument"]
        self._is_ending = True
        for slot in slots:
            try:
                self._begin_safety(slot)
            except Exception as error:  # the others are made safe all the same
                slot.fault = text_of(error)
        with suppress(Exception):
            self._settle(slots, within_s=SAFE_S + MAKE_SAFE_S)
        self._is_ending = False
        faults = {s.binding.name: s.unsafe or s.fault or ("no answer in time" if s.ref else "") for s in slots}
        return {name: fault for name, fault in faults.items() if fault}

    def _begin_safety(self, slot: Slot) -> None:
        if slot.trial is not None:
            self._answer_for(slot, slot.trial, "unknown", INTERRUPTED)
        if slot.trial is not None or slot.fault:
            self._start(slot, "revive")
        elif slot.ref is None:
            slot.begin("make_safe", within_s=None)

    def why_held(self) -> str:
        """What a guard holds, once each of them was heard of."""
        return self._heed.why_held(is_over=lambda: bool(self._watch and self._watch.lost))

    def close(self) -> None:
        """Close every source, end every actor, and Ray where it was started here."""
        with suppress(Exception):
            idle = [s for s in self._all() if s.ref is None and not s.fault]
            for slot in idle:
                slot.begin("close", within_s=SAFE_S)
            self._settle(idle, within_s=SAFE_S)
        for slot in self._all():
            slot.kill()
        self._slots = {}
        if self._watch is not None:
            self._watch.end()
        self._session.stop(is_lost=bool(self._watch and self._watch.lost))

    def _all(self) -> Iterator[Slot]:
        for slots in self._slots.values():
            yield from slots

    def _running(self) -> list[Slot]:
        return [s for s in self._all() if s.trial is not None]

    def _connect(self, gates: Gates | None) -> None:
        for name, binding in self.bindings.items():
            self._slots[name] = [Slot(binding, gates) for _ in range(n_actors(binding))]
        slots = list(self._all())
        for slot in slots:
            slot.start("connect", within_s=None)
        self._settle(slots, within_s=START_S)
        for slot in slots:
            if slot.ref is not None:
                slot.fault = (
                    f"source {slot.binding.name!r} did not connect within {START_S:g} s; check that it is there, "
                    f"and that Ray has free what it asks for ({dict(slot.binding.resources) or 'nothing'}; free now: "
                    f"{ray.available_resources()})"
                )
            if slot.fault:
                raise SourceError(slot.fault)

    def _look(self) -> AnyEvent | None:
        """The next answer that is there, after everything was given its turn."""
        if (said := self._mail.next()) is not None:
            return said
        self._mend()
        self._heed_guards()
        for name in self._slots:
            self._dispatch(name)
        if self._ready:
            said = self._ready.popleft()
            self._heed.told(said)
            return said
        if self._watch and self._watch.lost:
            self._settle(self._running(), within_s=0)
            if self._ready:
                return self._ready.popleft()
            raise SourceError(GONE.format(self._watch.lost))
        return None

    def _mend(self) -> None:
        """End what is overdue, and replace what is no more."""
        now = time.monotonic()
        overdue = [s for s in self._all() if now >= s.deadline]
        self._settle(overdue, within_s=0)  # an answer that came while nobody waited came in time
        for slot in [s for s in overdue if s.ref is not None and now >= s.deadline]:
            self._end_overdue(slot)
        for slot in [s for s in self._all() if self._verdict(s)]:
            self._settle([slot], within_s=0)  # it may have answered before it ended
            if self._verdict(slot):
                self._lose(slot, self._verdict(slot))

    def _heed_guards(self) -> None:
        """Say what guards say; what one holds is interrupted and made safe."""
        for name, said, status in self._heed.hear(must_arm=lambda name: self._slots[name][0].must_arm):
            slot = self._slots[name][0]
            self._settle([slot], within_s=0)  # it may have answered meanwhile
            self._ready.append(said)
            slot.must_arm = slot.must_arm or not isinstance(said, Noted)
            if isinstance(said, Paused):
                if slot.trial is not None:
                    words = f"{said.by} interrupted it: {said.reason}; whether it was carried out is unknown"
                    self._answer_for(slot, slot.trial, "unknown", words)
                if slot.trial is not None or not status.is_alive:
                    self._start(slot, "revive")

    def _guard_of(self, name: str) -> GuardStatus | None:
        slot = self._slots[name][0]
        return self._watch.guard_of(slot.place, n_armed=slot.n_armed) if self._watch else None

    def _verdict(self, slot: Slot) -> str:
        return self._watch.verdict(slot.place) if self._watch else ""

    def _dispatch(self, name: str) -> None:
        queue = self._queues[name]
        if self._heed.is_untold(name):  # asked for before the campaign heard of it: not begun, whatever it was
            self._queues[name] = deque(asked for asked in queue if asked[0] == "recover")
            self._ready.extend(never_begun(cancelled(trial.number)) for method, trial in queue if method == "perform")
            return
        if any(method == "perform" for method, _ in queue):
            self._heed.resumed(name)  # who hears of a pause asks for nothing before somebody resumed
        free = sorted((s for s in self._slots.get(name, ()) if s.ref is None), key=lambda s: bool(s.hindrance()))
        for slot in free:
            if not queue:
                return
            if self._has_ended_idle(slot):
                self._lose(slot, "it ended while it had nothing to do")
            elif not slot.hindrance(queue[0][0]):
                self._begin(slot, *queue.popleft())
            elif all(s.hindrance(queue[0][0]) for s in self._slots[name]):
                # nothing works: this trial says so, and the source gets another chance before the next
                self._say_hindered(slot, *queue.popleft())
                if slot.fault and time.monotonic() >= slot.rests_until:
                    self._start(slot, "revive")

    def _has_ended_idle(self, slot: Slot) -> bool:
        """Whether its process is gone: then what would begin there never began, and no trial comes in doubt."""
        is_fresh = time.monotonic() - slot.answered_s < FRESH_S  # it was there a moment ago, and looking takes time
        return not is_fresh and bool(self._watch and slot.place and self._watch.is_gone(slot.place))

    def _begin(self, slot: Slot, method: str, trial: Trial) -> None:
        within_s = slot.binding.timeout if method == "perform" else RECOVER_S
        try:
            slot.begin(method, trial, within_s=within_s, trial=trial)
        except Exception as error:  # Ray's object store may be full, say
            slot.fault = f"source {slot.binding.name!r} cannot be called: {text_of(error)}"
            self._say_hindered(slot, method, trial)

    def _say_hindered(self, slot: Slot, method: str, trial: Trial) -> None:
        why = slot.hindrance(method)
        answer = failed(trial, "error", why, binding=slot.binding)
        self._ready.append(cannot_tell(trial, why) if method == "recover" else never_begun(answer))

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

    def _settle(self, slots: list[Slot], *, within_s: float) -> None:
        """Wait for what these slots do now."""
        until = time.monotonic() + within_s
        while busy := [s for s in slots if s.ref is not None]:
            done, _ = ray.wait([s.ref for s in busy], timeout=max(0.0, until - time.monotonic()))
            for slot in [s for s in busy if s.ref in done]:
                self._collect(slot)  # one by one: from now on its guard hears of us
            if not done:
                return

    def _collect(self, slot: Slot) -> None:
        try:
            answer = ray.get(slot.ref, timeout=FETCH_S)
        except ray.exceptions.RayError as error:
            self._lose(slot, self._verdict(slot) or last_words(error))
            return
        if isinstance(answer, Born):
            slot.place, slot.fault, slot.unsafe = answer
            self._follow()
            if slot.unsafe and not self._is_ending:
                self._ready.extend(alarm(slot.binding.name, slot.unsafe))
        elif slot.trial is None:
            slot.fault, slot.unsafe = ("", answer) if slot.method == "make_safe" else (answer, "")
        else:
            slot.count_answer()
            if is_held(answer):
                slot.must_arm = True
                self._ready.append(self._heed.held(slot.binding.name, answer))
            self._ready.append(answer)
        slot.end()

    def _lose(self, slot: Slot, why: str) -> None:
        """The process of a slot is no more, or gave no answer that can be read."""
        name, trial, was_ready = slot.binding.name, slot.trial, slot.place is not None
        if trial is not None:
            cause = "crashed" if slot.binding.is_repeatable else "unknown"
            doubt = "" if slot.binding.is_repeatable else "; whether the trial was carried out is unknown"
            self._answer_for(slot, trial, cause, f"the process of source {name!r} ended in the middle{doubt}: {why}")
        is_closing = slot.ref is not None and slot.method == "close"
        slot.kill()
        if was_ready and not is_closing:
            self._replace(slot, why)
        elif not was_ready:
            slot.fault = f"the process of source {name!r} ended while it got ready: {why}"

    def _answer_for(self, slot: Slot, trial: Trial, cause: Any, words: str) -> None:
        """Answer a trial whose process cannot."""
        if slot.method == "recover":
            self._ready.append(cannot_tell(trial, words))
        else:
            self._ready.append(failed(trial, cause, words, binding=slot.binding))

    def _end_overdue(self, slot: Slot) -> None:
        name, trial = slot.binding.name, slot.trial
        if trial is None:
            slot.kill()
            slot.fault = f"source {name!r} did not become ready in time; check that it is there"
            return
        late = f"source {name!r} did not say within {RECOVER_S:g} s what became of the trial"
        self._ready.append(cannot_tell(trial, late) if slot.method == "recover" else timed_out(trial, slot.binding))
        self._replace(slot, "it did not answer in time")

    def _replace(self, slot: Slot, why: str) -> None:
        """Another process in the place of one that ended, unless they end again and again."""
        slot.count_end(why)
        if slot.is_worn_out:
            slot.kill()
            slot.fault = slot.why_rests
        else:
            self._start(slot, "revive")

    def _start(self, slot: Slot, method: str) -> None:
        if self._watch and self._watch.lost:  # nobody starts a process any more, and Ray would wait for the head
            slot.kill()
            slot.fault = f"Ray works no more: {self._watch.lost}"
        else:
            slot.start(method, within_s=CONNECT_S)
        self._follow()

    def _follow(self) -> None:
        if self._watch:
            self._watch.follow(s.place for s in self._all() if s.place)
