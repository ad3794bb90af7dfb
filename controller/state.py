"""What the ledger adds up to. Only ``evolve`` makes a State.

Laws:
    * ``evolve`` is pure: it reads no clock, no file, no network and no random generator.
    * ``replay(a + b) == fold(replay(a), b)``.
    * A trial is proposed once and answered at most once; a trial's number is never used again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from immutables import Map

from .belief import Belief, load_belief
from .belief.evidence import Evidence, Members, Readings
from .campaign import Campaign
from .errors import CampaignError, LedgerError
from .records import (
    AnyEvent,
    Assimilated,
    Failed,
    Innovation,
    Noted,
    Observed,
    Proposed,
    Reading,
    Setting,
    Started,
    Stopped,
    Trial,
)
from .space import Array, Space


@dataclass(frozen=True)
class TrialState:
    """What is known of one trial."""

    trial: Trial
    status: Literal["running", "observed", "failed"] = "running"
    reading: Reading | None = None
    failure: Failed | None = None
    innovation: Innovation | None = None


@dataclass(frozen=True)
class State:
    """A campaign at one place of its ledger."""

    campaign: Campaign
    seq: int = 0
    is_started: bool = False
    trials: Map[int, TrialState] = field(default_factory=Map)
    running: tuple[int, ...] = ()  # proposed and not answered, oldest first
    fresh: tuple[int, ...] = ()  # observed and not yet assimilated, oldest first
    failed: tuple[int, ...] = ()
    readings: Map[str, Readings] = field(default_factory=Map)  # by source
    belief_dump: Mapping[str, Any] | None = None
    spent: Map[str, float] = field(default_factory=Map)
    failures_in_a_row: Map[str, int] = field(default_factory=Map)  # by source
    n_proposed: Map[str, int] = field(default_factory=Map)  # by source
    stopped: Stopped | None = None

    @cached_property
    def belief(self) -> Belief | None:
        """What the last correction left; None before the first."""
        return None if self.belief_dump is None else load_belief(self.belief_dump)

    @cached_property
    def reserved(self) -> dict[str, float]:
        """What the running trials are expected to cost."""
        total: dict[str, float] = {}
        for n in self.running:
            for resource, amount in self.trials[n].trial.cost.items():
                total[resource] = total.get(resource, 0.0) + amount
        return total

    def can_afford(self, cost: Mapping[str, float]) -> bool:
        """Whether the budget holds one more trial of this cost beside those that run."""
        return all(
            self.spent.get(r, 0.0) + self.reserved.get(r, 0.0) + cost.get(r, 0.0) <= limit * (1 + 1e-9)
            for r, limit in self.campaign.budget_amounts.items()
        )

    def n_running(self, source: str) -> int:
        """How many trials of a source are in flight."""
        return sum(self.trials[n].trial.source == source for n in self.running)

    def n_readings(self, source: str) -> int:
        """How many usable readings a source has given."""
        return self.readings[source].n if source in self.readings else 0

    @cached_property
    def evidence(self) -> Evidence:
        """The readings as arrays, and the settings that are in flight or failed."""
        space = self.campaign.space
        pending: dict[str, list[Array]] = {}
        for n in (*self.failed, *self.running):
            trial = self.trials[n].trial
            pending.setdefault(trial.source, []).append(space.encode(trial.setting))
        return Evidence(
            space=space,
            responses=tuple(self.campaign.responses),
            target=self.campaign.target,
            observations={s: r.observations for s, r in self.readings.items()},
            pending={s: np.stack(rows) for s, rows in pending.items()},
        )

    def observed(self, source: str | None = None) -> list[TrialState]:
        """The answered trials, oldest first; of one source, or of all."""
        kept = (t for _, t in sorted(self.trials.items()) if t.reading is not None)
        return [t for t in kept if source is None or t.trial.source == source]

    @cached_property
    def best(self) -> TrialState | None:
        """The best reading of the target source: feasible first, then by the objective."""
        ranked = [t for t in self.observed(self.campaign.target) if _has_value(self.campaign, t)]
        if not ranked:
            return None
        goal = self.campaign.goal
        margins = np.array([goal.margins(t.reading.values) for t in ranked if t.reading]).reshape(len(ranked), -1)
        sizes = np.maximum(np.abs(margins).max(axis=0), 1e-300)  # each constraint in its own units
        broken = np.minimum(margins / sizes, 0.0).sum(axis=1)
        objective = [goal.objective(t.reading.values) for t in ranked if t.reading]
        return ranked[max(range(len(ranked)), key=lambda k: (broken[k], objective[k]))]


def _has_value(campaign: Campaign, known: TrialState) -> bool:
    """Whether the goal has a value at a reading: the logarithm of a negative one has none."""
    try:
        values = known.reading.values if known.reading else {}
        numbers = [campaign.goal.objective(values), *campaign.goal.margins(values)]
    except (ArithmeticError, ValueError):
        return False
    return all(isinstance(x, int | float) and math.isfinite(x) for x in numbers)


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
    return replace(TRANSITIONS[type(event)](state, event), seq=event.seq)


def _started(state: State, event: Started) -> State:
    return replace(state, is_started=True)


def _proposed(state: State, event: Proposed) -> State:
    trial = event.trial
    if state.stopped:
        raise LedgerError(f"event {event.seq}: the campaign is over ({state.stopped.reason}); begin another one")
    if trial.number in state.trials:
        raise LedgerError(f"event {event.seq}: trial {trial.number} was proposed before; run 'closedloop verify'")
    return replace(
        state,
        trials=state.trials.set(trial.number, TrialState(trial)),
        running=(*state.running, trial.number),
        n_proposed=state.n_proposed.set(trial.source, state.n_proposed.get(trial.source, 0) + 1),
    )


def _observed(state: State, event: Observed) -> State:
    known = _running(state, event)
    trial, reading = known.trial, event.reading
    return replace(
        state,
        trials=state.trials.set(trial.number, replace(known, status="observed", reading=reading)),
        running=tuple(n for n in state.running if n != trial.number),
        fresh=(*state.fresh, trial.number),
        readings=state.readings.set(trial.source, _with_reading(state, trial, reading)),
        spent=_charged(state, {**trial.cost, **reading.cost}),
        failures_in_a_row=state.failures_in_a_row.set(trial.source, 0),
    )


def _failed(state: State, event: Failed) -> State:
    known = _running(state, event)
    source = known.trial.source
    return replace(
        state,
        trials=state.trials.set(event.trial, replace(known, status="failed", failure=event)),
        running=tuple(n for n in state.running if n != event.trial),
        failed=(*state.failed, event.trial),
        spent=_charged(state, known.trial.cost if event.cost is None else event.cost),
        failures_in_a_row=state.failures_in_a_row.set(source, state.failures_in_a_row.get(source, 0) + 1),
    )


def _assimilated(state: State, event: Assimilated) -> State:
    trials = state.trials
    for innovation in event.innovations:
        trials = trials.set(innovation.trial, replace(trials[innovation.trial], innovation=innovation))
    return replace(
        state,
        trials=trials,
        fresh=tuple(n for n in state.fresh if n not in event.trials),
        belief_dump=event.belief,
    )


def _noted(state: State, event: Noted) -> State:
    return state


def _stopped(state: State, event: Stopped) -> State:
    return replace(state, stopped=event)


TRANSITIONS: dict[type, Callable[[State, Any], State]] = {
    Started: _started,
    Proposed: _proposed,
    Observed: _observed,
    Failed: _failed,
    Assimilated: _assimilated,
    Noted: _noted,
    Stopped: _stopped,
}


def _running(state: State, event: Observed | Failed) -> TrialState:
    known = state.trials.get(event.trial)
    if known is None or known.status != "running":
        what = "was never proposed" if known is None else f"was answered before ({known.status})"
        raise LedgerError(f"event {event.seq}: trial {event.trial} {what}; an answer counts once")
    return known


def _charged(state: State, cost: Mapping[str, float]) -> Map[str, float]:
    spent = state.spent
    for resource, amount in cost.items():
        spent = spent.set(resource, spent.get(resource, 0.0) + amount)
    return spent


def _with_reading(state: State, trial: Trial, reading: Reading) -> Readings:
    space, responses = state.campaign.space, tuple(state.campaign.responses)
    table = state.readings.get(trial.source) or Readings.none(space.n_columns, len(responses))
    return table.with_reading(
        trial.number,
        x_set=space.encode(trial.setting),
        x=space.encode({**trial.setting, **_usable(space, reading.achieved)}),
        y=np.array([reading.values[r] for r in responses]),
        sd=np.array([reading.sd.get(r, np.nan) for r in responses]),
        members=_members(trial, reading, responses),
    )


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
