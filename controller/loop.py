"""The loop: the mind speaks or the world answers, and it is written before it counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from .decide import decide
from .entry import enter
from .executor import Executor
from .leaving import Leaving
from .ledger.writer import Ledger
from .lifecycle import RUNNING, is_guard
from .perform import unsafe
from .records import Acting, Amended, AnyEvent, Ending, Failed, Noted, Observed, Paused, Refused, Resumed
from .state import State, TrialState
from .supervise import may_begin

Watch = Callable[[State, AnyEvent], None]
CUT_OFF = "the controller stopped while this trial was in flight; whether it was carried out is unknown"


def run_loop(state: State, hands: Hands, *, patience_s: Callable[[], float | None]) -> State:
    """Run a campaign to its stop.

    Args:
        state: what the ledger adds up to so far; trials cut off in the middle are in doubt from now on.
        hands: the ledger and the executor.
        patience_s: tells how long to wait when only people can go on; None: for ever if they were asked something,
            and not at all in a pause.

    Returns:
        The last state; not stopped, if patience ended.
    """
    for number in state.running:
        if state.trials[number].status == "acting":
            state = hands.write(state, Failed(trial=number, cause="unknown", message=CUT_OFF, is_in_doubt=True))
    if state.ending and state.ending.mode == "abort":  # written, and perhaps cut off before it was obeyed
        state = hands.make_safe(state)
    while not state.stopped:
        state = hands.heed(state)
        state = hands.carry_out(state)
        event = decide(state) or hands.hear(state, patience_s())  # the mind speaks, or the world answers
        if event is None:
            break
        state = hands.write(state, event)
    return state


@dataclass
class Hands:
    """What carries out the mind's decisions; it remembers only what this process has begun."""

    ledger: Ledger
    executor: Executor
    watch: Watch
    leaving: Leaving = field(default_factory=Leaving)
    _begun: set[tuple[int, int]] = field(default_factory=set)  # (trial, attempt)
    _asked: set[tuple[int, int]] = field(default_factory=set)

    def write(self, state: State, event: AnyEvent) -> State:
        """The state after an event, which is on disk before it counts."""
        state, written = enter(state, self.ledger, self._heard(event))
        if written is None:
            return state
        self.watch(state, written)
        if isinstance(written, Paused | Ending | Amended):
            self.executor.hold()  # what is queued has not begun, and does not begin now
        if isinstance(written, Ending) and written.mode == "abort":
            state = self.make_safe(state)
        if isinstance(written, Refused | Failed | Observed) and state.trials[written.trial].status not in RUNNING:
            self.executor.cancel(written.trial)  # whoever answered it, it is not begun any more
        return state

    def make_safe(self, state: State) -> State:
        """Make every instrument safe; one that may not be is an event."""
        for name, fault in self.executor.make_safe().items():
            state = self.write(state, unsafe(name, fault))
        return state

    def _heard(self, event: AnyEvent) -> AnyEvent:
        """A person's word to go on is not taken while a device is held: what tripped would trip again."""
        why = self.executor.why_held() if isinstance(event, Resumed) and not is_guard(event.by) else ""
        return Noted(text=f"not resumed: {why}", letter=event.letter) if why else event

    def heed(self, state: State) -> State:
        """Take what people said before anything begins: a pause begins nothing more."""
        for word in self.leaving.words():
            state = self.write(state, word)
        while (said := self.executor.heard()) is not None:
            state = self.write(state, said)
        return state

    def carry_out(self, state: State) -> State:
        """Ask the drivers about what is in doubt, and begin what is approved and may begin."""
        for number in state.doubts:
            known = state.trials[number]
            if (number, known.attempt) not in self._asked:
                self._asked.add((number, known.attempt))
                self.executor.recover(known.trial)
        for number in state.running:
            known = state.trials[number]
            if known.status == "approved" and (number, known.attempt) not in self._begun:
                state = self._begin(state, known)
        return state

    def hear(self, state: State, patience_s: float | None) -> AnyEvent | None:
        """What the world says; None: nobody spoke while only people could."""
        if self.executor.is_busy:
            return self.executor.wait()
        if patience_s is None:
            patience_s = math.inf if self._is_owed_an_answer(state) else 0.0
        return self.executor.listen(patience_s)

    def _is_owed_an_answer(self, state: State) -> bool:
        by_hand = (self.executor.bindings[state.trials[n].trial.source].cls.is_manual for n in state.running)
        asked = (state.trials[n].doubt == "asked" for n in state.doubts)
        is_held_for_a_while = bool(state.pauses) and all(p.is_temporary for p in state.pauses.values())
        return bool(state.waiting) or any(by_hand) or any(asked) or is_held_for_a_while

    def _begin(self, state: State, known: TrialState) -> State:
        trial, attempt = known.trial, known.attempt
        binding = self.executor.bindings[trial.source]
        is_by_hand = binding.cls.is_manual or not known.is_ours  # whoever asked for it carries it out
        if not is_by_hand and not may_begin(state, trial.number):
            return state
        if not is_by_hand and not binding.is_repeatable:
            state = self.write(state, Acting(trial=trial.number, attempt=attempt))
        self._begun.add((trial.number, attempt))
        if is_by_hand:
            self.executor.expect(trial.number)
        else:
            self.executor.submit(trial)
        return state


def quiet(state: State, event: AnyEvent) -> None:
    """Watch nothing."""
