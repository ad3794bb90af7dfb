"""The loop: the mind speaks or the world answers, and it is written before it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .decide import decide
from .entry import enter
from .executor import Executor
from .leaving import Leaving
from .ledger.writer import Ledger
from .lifecycle import RUNNING
from .records import Acting, Amended, AnyEvent, Ending, Failed, Observed, Paused, Refused
from .state import State, TrialState
from .supervise import may_begin

Watch = Callable[[State, AnyEvent], None]
CUT_OFF = "the controller stopped while this trial was in flight; whether it was carried out is unknown"


def run_loop(state: State, hands: Hands, *, patience_s: Callable[[], float | None]) -> State:
    """Run a campaign to its stop.

    Args:
        state: what the ledger adds up to so far; trials cut off in the middle are in doubt from now on.
        hands: the ledger and the executor.
        patience_s: tells how long to wait when only people can go on; None: for ever.

    Returns:
        The last state; not stopped, if patience ended.
    """
    for number in state.running:
        if state.trials[number].status == "acting":
            state = hands.write(state, Failed(trial=number, cause="unknown", message=CUT_OFF, is_in_doubt=True))
    if state.ending and state.ending.mode == "abort":  # written, and perhaps cut off before it was obeyed
        hands.executor.make_safe()
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
        state, written = enter(state, self.ledger, event)
        if written is None:
            return state
        self.watch(state, written)
        if isinstance(written, Paused | Ending | Amended):
            self.executor.hold()  # what is queued has not begun, and does not begin now
        if isinstance(written, Ending) and written.mode == "abort":
            self.executor.make_safe()
        if isinstance(written, Refused | Failed | Observed) and state.trials[written.trial].status not in RUNNING:
            self.executor.cancel(written.trial)  # whoever answered it, it is not begun any more
        return state

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
        by_hand = [n for n in state.running if self.executor.bindings[state.trials[n].trial.source].cls.is_manual]
        is_waited_for = bool(by_hand) and not self.leaving.is_asked
        return self.executor.listen(None if is_waited_for else patience_s)

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
