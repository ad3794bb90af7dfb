"""The ledger's events added up, one transition a kind of event.

Laws:
    * ``evolve`` is pure: it reads no clock, no file, no network and no random generator.
    * ``replay(a + b) == fold(replay(a), b)``.
    * A trial's reading counts once and is charged once; a trial's number is never used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from immutables import Map

from .belief.evidence import Members, Readings
from .campaign import Campaign
from .errors import CampaignError, LedgerError
from .lifecycle import READ, RUNNING, TrialEvent, after, born, fault_of, is_guard
from .records import (
    Acting,
    Amended,
    AnyEvent,
    Approved,
    Assimilated,
    Ending,
    Failed,
    Noted,
    Observed,
    Paused,
    Preferred,
    Proposed,
    Quarantined,
    Reading,
    Recalled,
    Refused,
    Restored,
    Resumed,
    Setting,
    Settled,
    Started,
    Stopped,
    Trial,
)
from .space import Space
from .state import State, TrialState, encoded, replaced


def replay(campaign: Campaign, events: Iterable[AnyEvent]) -> State:
    """The state that a ledger adds up to."""
    state = State(campaign)
    for event in events:
        state = evolve(state, event)
    return state


def evolve(state: State, event: AnyEvent) -> State:
    """The state after one event more.

    Raises:
        LedgerError: if the event cannot follow, such as a second answer to a trial.
    """
    if event.seq != state.seq + 1:
        raise LedgerError(f"event {event.seq} cannot follow event {state.seq}; run 'closedloop verify'")
    began, time = state.began or event.time, event.time or state.time
    return replaced(TRANSITIONS[type(event)](state, event), seq=event.seq, began=began, time=time)


def _started(state: State, event: Started) -> State:
    return replaced(state, key=event.key or state.campaign.fingerprint[:12])


def _recalled(state: State, event: Recalled) -> State:
    if event.name in state.recalled:
        raise LedgerError(f"event {event.seq}: {event.name!r} was recalled before; run 'closedloop verify'")
    return _with_recollections(replaced(state, recalled=state.recalled.set(event.name, event)), event)


def _proposed(state: State, event: Proposed) -> State:
    trial = event.trial
    if state.stopped:
        raise LedgerError(f"event {event.seq}: the campaign is over ({state.stopped.reason}); begin another one")
    if trial.number in state.trials:
        raise LedgerError(f"event {event.seq}: trial {trial.number} was proposed before; run 'closedloop verify'")
    known = TrialState(trial, status=born(event), asks=event.asks, is_ours=event.by == "agent")
    proposed = state.n_proposed.set(trial.source, state.n_proposed.get(trial.source, 0) + 1)
    return _filed(replaced(state, n_proposed=proposed), known)


def _approved(state: State, event: Approved) -> State:
    known = _known(state, event)
    trial = known.trial
    if event.setting:
        changed = {**trial.setting, **event.setting}
        trial = trial.model_copy(update={"setting": changed, "forecast": event.forecast or trial.forecast})
    return _filed(state, replaced(known, trial=trial))


def _refused(state: State, event: Refused) -> State:
    known = replaced(_known(state, event), refusal=event)
    source = known.trial.source
    if event.places:
        state = replaced(state, places=state.places.set(source, event.places))
    elif event.rule:
        state = _not_commanded(state, known.trial)
    if event.rule:  # costs nothing, so that only the breaker ends a row of them
        state = _failed_again(state, source)
    return _filed(state, known)


def _acting(state: State, event: Acting) -> State:
    known = _known(state, event)
    return _filed(_commanded(state, known.trial), known)


def _observed(state: State, event: Observed) -> State:
    before = state.trials.get(event.trial)
    reading = event.reading
    if clock := state.clock_at(event.time):
        reading = reading.model_copy(update={"achieved": {**clock, **reading.achieved}})
    known = replaced(_known(state, event), reading=reading, doubt="")
    if before is not None and before.status == "approved":  # nothing was said before it was commanded
        state = _commanded(state, known.trial)
    if known.status == "observed" and state.commanded.get(known.trial.source) == event.trial:
        state = replaced(state, places=state.places.set(known.trial.source, (known.trial.setting,)))
    state, known = _charged(state, known, {**known.trial.cost, **event.reading.cost})
    source = known.trial.source
    state = replaced(
        _filed(state, known),
        fresh=(*state.fresh, known.trial.number),
        failures_in_a_row=state.failures_in_a_row.set(source, 0),
    )
    return _with_reading(state, known.trial, reading)


def _failed(state: State, event: Failed) -> State:
    before = state.trials.get(event.trial)
    known = replaced(_known(state, event), failure=event, doubt="unasked" if event.is_in_doubt else "")
    is_charged = before is not None and before.status in RUNNING
    if before is not None and before.status == "approved" and event.cost != {}:
        state = _commanded(state, known.trial)
    elif event.cost == {} and not event.is_in_doubt:  # it never began
        state = _not_commanded(state, known.trial)
    if event.cost is not None or is_charged:
        state, known = _charged(state, known, known.trial.cost if event.cost is None else event.cost)
    if event.cause != "cancelled" and is_charged:
        state = _failed_again(state, known.trial.source)
    return _filed(state, known)


def _commanded(state: State, trial: Trial) -> State:
    """The device was told to go there; until it answers it may also be where it was. A simulator is nowhere."""
    source = trial.source
    if state.campaign.sources[source].kind == "simulator":
        return state
    places = state.places.set(source, (trial.setting, *state.places.get(source, ())))
    return replaced(state, places=places, commanded=state.commanded.set(source, trial.number))


def _not_commanded(state: State, trial: Trial) -> State:
    """It was not sent there after all, so the device is where it was; unless it was sent elsewhere since."""
    source = trial.source
    if state.commanded.get(source) != trial.number:
        return state
    places = state.places.set(source, state.places.get(source, ())[1:])
    return replaced(state, places=places, commanded=state.commanded.delete(source))


def _failed_again(state: State, source: str) -> State:
    row = state.failures_in_a_row.get(source, 0) + 1
    return replaced(state, failures_in_a_row=state.failures_in_a_row.set(source, row))


def _settled(state: State, event: Settled) -> State:
    known = _known(state, event)
    if event.outcome == "not_started":
        state, known = _charged(_not_commanded(state, known.trial), known, {})
    if known.status == "approved":  # the next attempt is charged on top of this one
        return _filed(state, replaced(known, doubt="", charged={}, attempt=known.attempt + 1))
    if event.outcome == "unknown" and known.doubt != "asked":
        known = replaced(known, doubt="unknown")
    elif event.outcome == "asked":
        known = replaced(known, doubt="asked")
    return _filed(state, known)


def _quarantined(state: State, event: Quarantined) -> State:
    known = replaced(_known(state, event), innovation=None)
    is_fresh = event.trial in state.fresh
    state = replaced(_filed(state, known), fresh=tuple(n for n in state.fresh if n != event.trial))
    return _tabled(state) if is_fresh else _learnt_anew(state)


def _restored(state: State, event: Restored) -> State:
    return _learnt_anew(_filed(state, replaced(_known(state, event), is_trusted=True)))


def _assimilated(state: State, event: Assimilated) -> State:
    trials = state.trials
    for innovation in event.innovations:
        trials = trials.set(innovation.trial, replaced(trials[innovation.trial], innovation=innovation))
    done = set(event.trials)
    return replaced(
        state,
        trials=trials,
        fresh=tuple(n for n in state.fresh if n not in done),
        belief_dump=event.belief,
    )


def _paused(state: State, event: Paused) -> State:
    return replaced(state, pauses=state.pauses.set(event.by, event))


def _resumed(state: State, event: Resumed) -> State:
    if is_guard(event.by):  # it speaks for itself only
        return replaced(state, pauses=state.pauses.delete(event.by)) if event.by in state.pauses else state
    return replaced(state, pauses=Map(), resting=(), failures_in_a_row=Map())


def _ending(state: State, event: Ending) -> State:
    return replaced(state, ending=event)


def _amended(state: State, event: Amended) -> State:
    return _learnt_anew(replaced(state, campaign=Campaign.trusted(event.campaign), is_amended=True))


def _preferred(state: State, event: Preferred) -> State:
    return replaced(state, answers=(*state.answers, (event.better, event.worse)))


def _noted(state: State, event: Noted) -> State:
    return replaced(state, resting=(*state.resting, event.rests)) if event.rests else state


def _stopped(state: State, event: Stopped) -> State:
    return replaced(state, stopped=event)


TRANSITIONS: dict[type, Callable[[State, Any], State]] = {
    Started: _started,
    Recalled: _recalled,
    Proposed: _proposed,
    Approved: _approved,
    Refused: _refused,
    Acting: _acting,
    Observed: _observed,
    Failed: _failed,
    Settled: _settled,
    Quarantined: _quarantined,
    Restored: _restored,
    Assimilated: _assimilated,
    Paused: _paused,
    Resumed: _resumed,
    Ending: _ending,
    Amended: _amended,
    Preferred: _preferred,
    Noted: _noted,
    Stopped: _stopped,
}


_LISTS = {
    "proposed": "waiting",
    "approved": "running",
    "acting": "running",
    "unknown": "doubts",
    "failed": "barren",
    "invalid": "barren",
}


def why_not(state: State, event: TrialEvent) -> str:
    """Why an event cannot happen to its trial, or nothing: a second answer, a trial that never was."""
    known = state.trials.get(event.trial)
    if known is None:
        return f"trial {event.trial} was never proposed"
    return fault_of(event, status=known.status, attempt=known.attempt, has_reading=known.reading is not None)


def _known(state: State, event: TrialEvent) -> TrialState:
    """The trial with the status that the event gives it."""
    if fault := why_not(state, event):
        raise LedgerError(f"event {event.seq}: {fault}; an answer counts once: run 'closedloop verify'")
    known = state.trials[event.trial]
    return replaced(known, status=after(known.status, event) or known.status)


def _filed(state: State, known: TrialState) -> State:
    """The state with this trial in it, and in the list that it belongs to."""
    n = known.trial.number
    before = state.trials.get(n)
    old, new = _list_of(before), _list_of(known)
    lists: dict[str, Any] = {}
    if old != new and old:
        lists[old] = tuple(k for k in getattr(state, old) if k != n)
    if old != new and new:
        lists[new] = (*getattr(state, new), n)
    return replaced(state, trials=state.trials.set(n, known), **lists)


def _list_of(known: TrialState | None) -> str:
    if known is None:
        return ""
    is_refused = known.status == "cancelled" and known.refusal is not None and known.refusal.rule
    return "barren" if is_refused else _LISTS.get(known.status, "")


def _charged(state: State, known: TrialState, cost: Mapping[str, float]) -> tuple[State, TrialState]:
    """A trial's present attempt costs this, whatever it was charged before."""
    spent = state.spent
    for resource in {*cost, *known.charged}:
        more = cost.get(resource, 0.0) - known.charged.get(resource, 0.0)
        spent = spent.set(resource, spent.get(resource, 0.0) + more)
    return replaced(state, spent=spent), replaced(known, charged=dict(cost))


def _learnt_anew(state: State) -> State:
    """The declaration or a reading's worth changed: all readings are to be assimilated again."""
    fresh = tuple(n for n, t in sorted(state.trials.items()) if t.status in READ)
    return _tabled(replaced(state, belief_dump=None, fresh=fresh))


def _tabled(state: State) -> State:
    """The tables of readings made anew from the trials that count."""
    state = replaced(state, readings=Map())
    for event in state.recalled.values():
        state = _with_recollections(state, event)
    for known in state.observed():
        if known.reading is not None:
            state = _with_reading(state, known.trial, known.reading)
    return state


def _with_reading(state: State, trial: Trial, reading: Reading) -> State:
    space, responses = state.campaign.space, tuple(state.campaign.responses)
    table = state.readings.get(trial.source) or Readings.none(space.n_columns, len(responses))
    x_set = encoded(space, trial.setting)
    if x_set is None:  # a choice that was amended away
        return replaced(state, fresh=tuple(n for n in state.fresh if n != trial.number))
    table = table.with_reading(
        trial.number,
        x_set=x_set,
        x=space.encode({**trial.setting, **_usable(space, reading.achieved)}) if reading.achieved else x_set,
        y=np.array([reading.values[r] for r in responses]),
        sd=np.array([reading.sd.get(r, np.nan) for r in responses]),
        members=_members(trial, reading, responses),
    )
    return replaced(state, readings=state.readings.set(trial.source, table))


def _with_recollections(state: State, event: Recalled) -> State:
    """Readings of a source that can never be asked; what lies outside the bounds teaches where it lies."""
    space, responses = state.campaign.space, tuple(state.campaign.responses)
    table = Readings.none(space.n_columns, len(responses))
    for known in event.readings:
        x = encoded(space, known.setting)
        if x is None:  # a choice that was amended away
            continue
        table = table.with_reading(
            known.trial,
            x_set=np.clip(x, 0.0, 1.0),
            x=x,
            y=np.array([known.values[r] for r in responses]),
            sd=np.array([known.sd.get(r, np.nan) for r in responses]),
            members=None,
        )
    return replaced(state, readings=state.readings.set(event.name, table))


def _usable(space: Space, achieved: Mapping[str, Any]) -> Setting:
    """What can be encoded of an achieved setting: the hands refuse the rest, but a ledger must always open."""
    try:
        return space.check_achieved(achieved)
    except CampaignError:
        return {}


def _members(trial: Trial, reading: Reading, responses: tuple[str, ...]) -> Members | None:
    if not reading.members:
        return None
    return Members(
        unknowns=np.array(list(trial.unknowns.values())).T,
        Y=np.array([reading.members[r] for r in responses]).T,
    )
