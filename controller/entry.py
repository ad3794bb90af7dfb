"""The one way in: what is said is held against the state, tried, written down, and then it counts.

Laws:
    * Nothing is written that could not be read again: an event is tried on the state before it is on the disk.
    * A person's word that cannot be taken becomes a note that says why.
"""

from __future__ import annotations

from .admit import admit
from .errors import LedgerError
from .evolve import evolve
from .ledger.writer import Ledger
from .records import AnyEvent, Noted
from .state import State, replaced


def enter(state: State, ledger: Ledger, event: AnyEvent) -> tuple[State, AnyEvent | None]:
    """The state after an event, and what was written; None where it was an echo of what is known.

    Raises:
        LedgerError: if it cannot be written, or cannot follow.
    """
    admitted = admit(state, event)
    if admitted is None:
        return state, None
    try:
        after = evolve(state, _next(state, admitted))
    except (KeyError, ValueError, TypeError, LedgerError) as error:
        if event.letter is None:
            raise
        text = f"{event.kind} was not taken: {type(error).__name__}: {error}"
        admitted = Noted(text=text, letter=event.letter)
        after = evolve(state, _next(state, admitted))
    written = ledger.append(admitted)
    if written.seq != after.seq:
        raise LedgerError(f"event {written.seq} was written where {after.seq} was to come; resume the campaign")
    # the stamp comes with the writing; a replay reads it with the event
    if any(p.clock for p in state.campaign.space.varied.values()):
        return evolve(state, written), written
    return replaced(after, began=state.began or written.time, time=written.time or state.time), written


def _next(state: State, event: AnyEvent) -> AnyEvent:
    return event.model_copy(update={"seq": state.seq + 1})
