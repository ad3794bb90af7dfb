"""What is known of a campaign at one place of its ledger. Only ``evolve`` makes a State."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from immutables import Map

from .belief import Belief, load_belief
from .belief.cost import CostModel
from .belief.evidence import Evidence, Readings
from .campaign import Campaign
from .costing import learned_costs
from .errors import CampaignError
from .lifecycle import READ, Status
from .pareto import compromise, front_of
from .records import (
    Cost,
    Ending,
    Failed,
    Innovation,
    Paused,
    Reading,
    Recalled,
    Refused,
    Setting,
    Stopped,
    Trial,
    Value,
)
from .space import Array, Space
from .units import to_seconds

T = TypeVar("T")
N_AVOIDED = 10  # trials for which a failure that says nothing of its setting keeps others away from it


@dataclass(frozen=True)
class TrialState:
    """What is known of one trial."""

    trial: Trial  # as approved: a person may have changed its setting
    status: Status = "approved"
    reading: Reading | None = None
    failure: Failed | None = None
    refusal: Refused | None = None
    innovation: Innovation | None = None
    attempt: int = 1
    asks: str = ""  # why a person must approve it
    is_ours: bool = True  # carried out by the agent's hands; otherwise by whoever asked for it
    doubt: Literal["", "unasked", "unknown", "asked"] = ""  # whether the driver was asked, and then a person
    is_trusted: bool = False  # a person restored its reading: the agent does not set it aside again
    charged: Cost = field(default_factory=dict)  # what its present attempt was charged


@dataclass(frozen=True)
class State:
    """A campaign at one place of its ledger."""

    campaign: Campaign
    seq: int = 0
    key: str = ""  # of this campaign in this ledger; empty: not started
    trials: Map[int, TrialState] = field(default_factory=Map)
    waiting: tuple[int, ...] = ()  # proposed: a person must approve, oldest first
    running: tuple[int, ...] = ()  # approved or acting, oldest first
    doubts: tuple[int, ...] = ()  # of unknown outcome, oldest first
    fresh: tuple[int, ...] = ()  # observed and not yet assimilated, oldest first
    barren: tuple[int, ...] = ()  # failed, or refused by a guard
    readings: Map[str, Readings] = field(default_factory=Map)  # by source, and of what is recalled
    recalled: Map[str, Recalled] = field(default_factory=Map)  # by the name of each warm start
    belief_dump: Mapping[str, Any] | None = None
    spent: Map[str, float] = field(default_factory=Map)
    failures_in_a_row: Map[str, int] = field(default_factory=Map)  # by source
    n_proposed: Map[str, int] = field(default_factory=Map)  # by source
    places: Map[str, tuple[Setting, ...]] = field(default_factory=Map)  # where each instrument may be, newest first
    commanded: Map[str, int] = field(default_factory=Map)  # by instrument: the trial it was commanded with last
    is_amended: bool = False
    answers: tuple[tuple[int, int], ...] = ()  # of people: the better trial and the worse one, oldest first
    pauses: Map[str, Paused] = field(default_factory=Map)  # by who paused
    resting: tuple[str, ...] = ()  # sources, not the target, that are left alone until somebody resumes
    ending: Ending | None = None
    stopped: Stopped | None = None
    given: Mapping[str, Value] = field(default_factory=dict)  # the context that came with a request
    began: datetime | None = None  # time of the first event, and of the last: the ledger's clock
    time: datetime | None = None

    @cached_property
    def belief(self) -> Belief | None:
        """What the last correction left; None before the first."""
        return None if self.belief_dump is None else load_belief(self.belief_dump)

    @cached_property
    def reserved(self) -> dict[str, float]:
        """What the trials that wait or run are expected to cost."""
        total: dict[str, float] = {}
        for n in (*self.waiting, *self.running):
            for resource, amount in self.trials[n].trial.cost.items():
                total[resource] = total.get(resource, 0.0) + amount
        return total

    @cached_property
    def learned_costs(self) -> dict[str, dict[str, CostModel]]:
        """By source and resource, what trials cost, where that was reported to differ from what is declared."""
        return learned_costs(self)

    @property
    def paused(self) -> Paused | None:
        """The oldest pause that holds; each holds until whoever may resumes it."""
        return min(self.pauses.values(), key=lambda pause: pause.seq, default=None)

    def can_afford(self, cost: Mapping[str, float]) -> bool:
        """Whether the budget holds one more trial of this cost beside those that run."""
        return all(
            self.spent.get(r, 0.0) + self.reserved.get(r, 0.0) + cost.get(r, 0.0) <= limit * (1 + 1e-9)
            for r, limit in self.campaign.budget_amounts.items()
        )

    def n_running(self, source: str) -> int:
        """How many trials of a source are in flight."""
        return sum(self.trials[n].trial.source == source for n in self.running)

    def n_waiting(self, source: str) -> int:
        """How many trials of a source wait for a person's approval."""
        return sum(self.trials[n].trial.source == source for n in self.waiting)

    def is_held(self, source: str) -> bool:
        """Whether an earlier command's outcome must be known before the source is commanded again."""
        return any(self.trials[n].trial.source == source for n in self.doubts)

    def n_readings(self, source: str) -> int:
        """How many usable readings a source has given."""
        return self.readings[source].n if source in self.readings else 0

    @property
    def context_names(self) -> tuple[str, ...]:
        """The parameters that are measured, not set."""
        return tuple(n for n, p in self.campaign.space.varied.items() if p.context)

    @cached_property
    def context(self) -> dict[str, Value]:
        """What is measured and not set, as it was given or read last; empty before the first reading."""
        names = self.context_names
        found: dict[str, Value] = {}
        for number in range(len(self.trials), 0, -1) if names else ():
            known = self.trials[number]
            if known.reading is not None and self.campaign.sources[known.trial.source].kind == "instrument":
                at = {**known.trial.setting, **known.reading.achieved}
                found = {n: at[n] for n in names if n in at}
                break
        found = {**found, **self.clock_at(self.time), **self.given}
        # as it would be written down: a replay has it from the trial's setting
        varied = self.campaign.space.varied
        return {n: varied[n].decode(varied[n].encode(value)) for n, value in found.items()}

    def clock_at(self, time: datetime | None) -> dict[str, Value]:
        """What the campaign's clocks show at a time of the ledger; empty where there is none."""
        clocks = {n: p for n, p in self.campaign.space.varied.items() if p.clock}
        if not clocks or time is None or self.began is None:
            return {}
        passed = (time - self.began).total_seconds()
        return {n: passed / to_seconds(f"1 {p.unit or 's'}") for n, p in clocks.items()}

    @cached_property
    def spaces(self) -> dict[str, Space]:
        """What each source may be asked for now: less what its guard forbids, and at the context as it is."""
        return {name: space.at(self.context) for name, space in self.campaign.spaces.items()}

    @cached_property
    def evidence(self) -> Evidence:
        """The readings as arrays, and the settings that are in flight, in doubt, failed or refused."""
        space = self.campaign.space
        pending: dict[str, list[Array]] = {}
        infeasible: dict[str, list[Array]] = {}
        for n in (*self.barren, *self.doubts, *self.waiting, *self.running):
            known = self.trials[n]
            row = encoded(space, known.trial.setting)
            is_bad = _is_infeasible(self.campaign, known)
            if row is not None and (is_bad or n not in self.barren or n > len(self.trials) - N_AVOIDED):
                table = infeasible if is_bad else pending
                table.setdefault(known.trial.source, []).append(row)
        return Evidence(
            space=space,
            responses=tuple(self.campaign.responses),
            target=self.campaign.target,
            observations={s: r.observations for s, r in self.readings.items()},
            pending={s: np.stack(rows) for s, rows in pending.items()},
            infeasible={s: np.stack(rows) for s, rows in infeasible.items()},
            spaces=self.spaces,
            answers=self.answers,
        )

    def observed(self, source: str | None = None) -> list[TrialState]:
        """The trials whose readings count, oldest first; of one source, or of all."""
        kept = (t for _, t in sorted(self.trials.items()) if t.status in READ)
        return [t for t in kept if source is None or t.trial.source == source]

    @cached_property
    def best(self) -> TrialState | None:
        """The best reading of the target source: in the amended space first, then feasible, then by the objective.

        Of a trade-off the reading of the front nearest to the best of each objective; None where the goal is to learn,
        to map or to please.
        """
        ranked, merits = self._ranked
        if not ranked:
            return None
        if len(merits[0].objectives) > 1 and self.front:
            return self.front[compromise([merits[ranked.index(t)].objectives for t in self.front])]
        return ranked[max(range(len(ranked)), key=lambda k: merits[k])]

    @cached_property
    def front(self) -> tuple[TrialState, ...]:
        """The target's readings that keep the constraints and that no other one dominates, oldest first."""
        ranked, merits = self._ranked
        usable = [k for k, m in enumerate(merits) if m.is_inside and m.margin >= 0]
        return tuple(ranked[usable[k]] for k in front_of([merits[k].objectives for k in usable]))

    @cached_property
    def _ranked(self) -> tuple[list[TrialState], list[Merit]]:
        """The readings at which the goal has a value, and what they are worth."""
        goal = self.campaign.goal
        if not goal.aims:
            return [], []
        ranked = [t for t in self.observed(self.campaign.target) if _has_value(self.campaign, t)]
        values = [t.reading.values for t in ranked if t.reading]
        margins = np.array([goal.margins(v) for v in values]).reshape(len(ranked), len(goal.constraints))
        sizes = np.maximum(np.abs(margins).max(axis=0, initial=0.0), 1e-300)  # each constraint in its own units
        broken = np.minimum(margins / sizes, 0.0).sum(axis=1).tolist()
        inside = [not self.is_amended or is_inside(self.campaign.space, t.trial.setting) for t in ranked]
        objectives = [tuple(map(float, goal.objectives(v))) for v in values]
        return ranked, [Merit(*merit) for merit in zip(inside, broken, objectives, strict=True)]


class Merit(NamedTuple):
    """What a reading is worth, in the order in which that counts."""

    is_inside: bool  # the space, as it was amended
    margin: float  # of the constraints; 0 where they hold
    objectives: tuple[float, ...]  # each to be maximised


def _has_value(campaign: Campaign, known: TrialState) -> bool:
    """Whether the goal has a value at a reading: the logarithm of a negative one has none."""
    try:
        values = known.reading.values if known.reading else {}
        numbers = [*campaign.goal.objectives(values), *campaign.goal.margins(values)]
    except (ArithmeticError, ValueError):
        return False
    return all(isinstance(x, int | float) and math.isfinite(x) for x in numbers)


def replaced(value: T, **changes: Any) -> T:
    """A copy of a frozen value with these fields changed: ``dataclasses.replace`` for values that need no check.

    It is most of the cost of replaying a long ledger; what was worked out of the old value is not handed on.
    """
    fields, names = value.__dict__, type(value).__dataclass_fields__  # type: ignore[attr-defined]
    if len(fields) > len(names):
        fields = {n: fields[n] for n in names}
    new = object.__new__(type(value))
    object.__setattr__(new, "__dict__", {**fields, **changes})
    return new


def encoded(space: Space, setting: Setting) -> Array | None:
    """The row of a setting; None where the space, as it was amended, has no such setting."""
    try:
        return space.encode(setting)
    except (KeyError, ValueError):
        return None


def is_inside(space: Space, setting: Setting) -> bool:
    """Whether the space, as it was amended, has such a setting."""
    try:
        space.check(setting)
    except CampaignError:
        return False
    return True


def _is_infeasible(campaign: Campaign, known: TrialState) -> bool:
    """Whether this outcome says that the setting cannot be run."""
    if known.refusal is not None:
        return known.refusal.rule.startswith(("limits", "forbidden"))  # a step too far says nothing of where it leads
    failure = known.failure if known.status in ("failed", "invalid") and known.reading is None else None
    if failure is None or failure.is_in_doubt or failure.cost == {}:  # what was never begun says nothing
        return False
    return campaign.sources[known.trial.source].on_failure.means == "infeasible"
