"""A study that is carried between closedloop and another optimiser, and what is said of what it cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..campaign import Campaign
from ..errors import CampaignError
from ..experiments import Experiment
from ..parameters import Derived, Fixed
from ..records import Reading
from ..session import Session
from ..state import State

Outcome = Literal["read", "failed", "running"]
N_MORE = 50  # trials that an imported campaign may still make, unless told otherwise
N_SHOWN = 3


@dataclass(frozen=True)
class Past:
    """One trial as it was: where, and what came of it."""

    number: int  # there
    setting: Mapping[str, Any]
    outcome: Outcome
    values: Mapping[str, float] = field(default_factory=dict)
    sd: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Study:
    """All of it, in the words of a campaign."""

    name: str
    parameters: dict[str, dict[str, Any]]
    responses: tuple[str, ...]
    goal: dict[str, Any]
    trials: tuple[Past, ...]
    constraints: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what could not be carried


@dataclass(frozen=True)
class Brought:
    """What came of an import."""

    campaign: str
    n_read: int
    n_failed: int
    n_running: int
    notes: tuple[str, ...]


def campaign_of(study: Study, *, name: str | None = None, n_more: int = N_MORE) -> Campaign:
    """A campaign that goes on where a study stands; a person, or ``suggest`` and ``ingest``, carry it out.

    Raises:
        CampaignError: if the study makes no campaign.
    """
    if n_more < 0:
        raise CampaignError(f"more = {n_more}: must not be negative")
    return Campaign(
        name=name or study.name,
        parameters=study.parameters,
        constraints=list(study.constraints),
        responses=list(study.responses),
        sources={"experiment": {"instrument": "manual"}},
        goal=study.goal,
        budget={"trials": max(len(study.trials) + n_more, 1)},
    )


def bring(study: Study, session: Session) -> Brought:
    """Write a study's trials into a campaign, all at once; what does not fit is left out and told of.

    Raises:
        CampaignError: if none of the study's parameters or responses is the campaign's.
    """
    campaign = session.state.campaign
    wanted = {n for n, p in campaign.parameters.items() if not isinstance(p, Fixed | Derived)}
    known = set(study.parameters)
    if missing := sorted(wanted - known):
        raise CampaignError(
            f"the study has no parameter {missing[0]!r} of campaign {campaign.name!r}; it has "
            f"{', '.join(sorted(known))}"
        )
    if missing := sorted(set(campaign.responses) - set(study.responses)):
        raise CampaignError(
            f"the study has no response {missing[0]!r} of campaign {campaign.name!r}; it has "
            f"{', '.join(study.responses)}"
        )
    notes = [
        f"parameter {n!r} is none of the campaign's and was left out" for n in sorted(known - {*campaign.parameters})
    ]
    kept, left = [], []
    for past in study.trials:
        try:
            kept.append((past, _experiment(campaign, past, wanted)))
        except CampaignError as error:
            left.append(f"trial {past.number}: {error}")
    session.record([experiment for _, experiment in kept])
    counts = {o: sum(past.outcome == o for past, _ in kept) for o in ("read", "failed", "running")}
    more = [f"and {len(left) - N_SHOWN} more trials"] if len(left) > N_SHOWN else []
    told = [f"left out: {text}" for text in [*left[:N_SHOWN], *more]]
    return Brought(campaign.name, counts["read"], counts["failed"], counts["running"], (*study.notes, *notes, *told))


def _experiment(campaign: Campaign, past: Past, wanted: set[str]) -> Experiment:
    setting = campaign.space.check({n: v for n, v in past.setting.items() if n in wanted})
    why = f"imported: trial {past.number} of another study"
    if past.outcome == "running":
        return Experiment(setting=setting, why=why)
    if past.outcome == "failed":
        return Experiment(setting=setting, failed=past.reason or "it failed there", why=why)
    if missing := [r for r in campaign.responses if r not in past.values]:
        raise CampaignError(f"has no value of {missing[0]!r}")
    values = {r: float(past.values[r]) for r in campaign.responses}
    sd = {r: float(past.sd[r]) for r in campaign.responses if r in past.sd}
    return Experiment(setting=setting, answer=Reading(values=values, sd=sd), why=why)


def study_of(state: State) -> Study:
    """A campaign's trials at its target, to be carried elsewhere."""
    campaign, notes, trials = state.campaign, [], []
    others = sorted({t.trial.source for t in state.trials.values()} - {campaign.target})
    if others:
        notes.append(f"the trials of {', '.join(others)} are not carried: only those of {campaign.target!r} are")
    n_lost = 0
    for number, known in sorted(state.trials.items()):
        if known.trial.source != campaign.target:
            continue
        past = Past(number, known.trial.setting, "running")
        if known.reading is not None and known.status in ("observed", "late"):
            trials.append(replace(past, outcome="read", values=known.reading.values, sd=known.reading.sd))
        elif known.status in ("failed", "invalid"):
            reason = known.failure.message if known.failure else "its reading was set aside"
            trials.append(replace(past, outcome="failed", reason=reason))
        elif known.status in ("proposed", "approved", "acting"):
            trials.append(past)
        else:
            n_lost += 1
    if n_lost:
        notes.append(f"{n_lost} trials that were refused, cancelled or are in doubt are not carried")
    if any(t.reading and t.reading.achieved for t in state.trials.values()):
        notes.append("what was achieved is not carried: the settings are those that were asked for")
    return Study(
        name=campaign.name,
        parameters={n: p.model_dump(mode="json") for n, p in campaign.parameters.items()},
        responses=tuple(campaign.responses),
        goal=campaign.goal.model_dump(mode="json"),
        trials=tuple(trials),
        constraints=tuple(campaign.constraints),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class Metric:
    """An objective or a limit as one number a trial: a response as it is, or worked out here under another name."""

    name: str
    is_response: bool
    way: str  # maximize, minimize; or limit: >= 0 keeps it


def metrics_of(campaign: Campaign) -> tuple[list[Metric], list[Metric]]:
    """The objectives, and the margins of the outcome constraints."""
    aims = []
    for k, aim in enumerate(campaign.goal.aims):
        is_response = aim.text.strip() in campaign.responses and aim.way in ("maximize", "minimize")
        way = "maximize" if aim.way == "maximize" else "minimize"
        aims.append(Metric(aim.text.strip() if is_response else f"objective_{k}", is_response, way))
    return aims, [Metric(f"margin_{k}", False, "limit") for k in range(len(campaign.goal.constraints))]


def measured(campaign: Campaign, past: Past) -> dict[str, float]:
    """The metrics of a trial that was read, by name.

    Raises:
        ArithmeticError or ValueError: where the goal has no value there.
    """
    aims, limits = metrics_of(campaign)
    found = {
        m.name: float(aim.in_words(aim.objective(past.values))) for m, aim in zip(aims, campaign.goal.aims, strict=True)
    }
    return found | {m.name: float(x) for m, x in zip(limits, campaign.goal.margins(past.values), strict=True)}
