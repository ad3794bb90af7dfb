"""The loop: the mind speaks or the world answers, and it is written before it counts."""

from __future__ import annotations

from collections.abc import Callable

from .decide import decide
from .executor import Executor
from .ledger import Ledger
from .records import AnyEvent, Failed, Proposed
from .state import State, evolve

Watch = Callable[[State, AnyEvent], None]


def run_loop(state: State, ledger: Ledger, executor: Executor, *, watch: Watch) -> State:
    """Run a campaign to its stop.

    Args:
        state: what the ledger adds up to so far; trials in flight are settled first.
        ledger: the one door for events.
        executor: the hands; they know nothing of what was in flight before.
        watch: told of each event after it was written.
    """
    for number in state.running:  # cut off in the middle: settled by the source's own rule
        answer = settle(state, number, executor)
        if answer is not None:
            state = _written(state, answer, ledger, watch)
    while not state.stopped:
        event = decide(state) or executor.wait()  # the mind speaks, or the world answers
        state = _written(state, event, ledger, watch)
        if isinstance(event, Proposed):
            executor.submit(event.trial)
    return state


def _written(state: State, event: AnyEvent, ledger: Ledger, watch: Watch) -> State:
    """The state after an event, which is on disk before it counts."""
    event = ledger.append(event)
    state = evolve(state, event)
    watch(state, event)
    return state


def settle(state: State, number: int, executor: Executor) -> Failed | None:
    """What becomes of a trial that was in flight when the controller died.

    A simulation is run again and a manual trial waits on; an instrument may have acted, so it is never
    commanded twice for one trial: its outcome is unknown.
    """
    trial = state.trials[number].trial
    binding = executor.bindings[trial.source]
    if binding.kind == "simulator" or binding.cls.is_manual:
        executor.submit(trial)
        return None
    return Failed(
        trial=number,
        cause="unknown",
        message="the controller stopped while this trial was in flight; the instrument may have carried it out, so "
        "it is not repeated",
    )


def quiet(state: State, event: AnyEvent) -> None:
    """Watch nothing."""
