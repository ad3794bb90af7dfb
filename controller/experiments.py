"""Experiments that were carried out elsewhere, or are under way there, as the events that a ledger takes.

Laws:
    * All are checked before the first is written.
    * Each is forecast by the belief as it is before any of them is learned from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .costing import expected_cost
from .decide import current_belief, forecast
from .errors import CampaignError
from .evolve import why_not
from .reading import reading_of, sentence, short
from .records import AnyEvent, Failed, Observed, Proposed, Reading, Setting, Trial, Why
from .state import State


@dataclass(frozen=True)
class Experiment:
    """One experiment: the number of a pending trial, or the setting of one that nobody suggested; and its outcome.

    With neither answer nor ``failed`` it is under way, and pending from now on.
    """

    setting: Mapping[str, Any] | None = None
    trial: int | None = None
    answer: Mapping[str, Any] | Reading | None = None
    failed: str = ""  # why it gave nothing
    why: str = "a person's own experiment"


def planned(state: State, experiments: Iterable[Experiment], source: str) -> list[tuple[Trial, list[AnyEvent]]]:
    """Each experiment as its trial, with the events that tell of it.

    Raises:
        CampaignError: at the first that does not fit: its setting is none of the space, its trial is not pending, its
            answer lacks a response, or it has an answer and failed.
    """
    made: list[tuple[Trial, list[AnyEvent]]] = []
    taken: set[int] = set()
    number = len(state.trials)
    for experiment in experiments:
        if experiment.trial is None:
            number += 1
            trial = _proposed(state, experiment, source, number)
            events: list[AnyEvent] = [Proposed(trial=trial, by="person")]
        else:
            trial, events = _pending(state, experiment.trial, taken), []
        made.append((trial, [*events, *_outcome(state, experiment, trial)]))
        if not made[-1][1]:
            raise CampaignError(f"trial {trial.number} is pending already; say what it gave, or why it failed")
    return made


def _proposed(state: State, experiment: Experiment, source: str, number: int) -> Trial:
    campaign = state.campaign
    if campaign.sources[source].unknowns:
        raise CampaignError(f"source {source!r} is a simulator with unknowns; its runs are made by the agent")
    if not isinstance(experiment.setting, Mapping):
        names = ", ".join(campaign.parameters)
        raise CampaignError(f"setting = {short(experiment.setting)} is no setting; give a dict of {names}")
    setting: Setting = campaign.space.at(state.context).check(experiment.setting)
    row = campaign.space.encode(setting)
    return Trial(
        number=number,
        source=source,
        setting=setting,
        forecast=forecast(state, current_belief(state), source, row),
        cost=expected_cost(state, source, setting),
        why=Why(text=experiment.why),
        key=state.key,
    )


def _pending(state: State, number: int, taken: set[int]) -> Trial:
    pending = ", ".join(map(str, state.running)) or "none"
    if number not in state.trials:
        raise CampaignError(f"trial {number} was never proposed; pending: {pending}")
    if number in taken:
        raise CampaignError(f"trial {number} is answered twice; give one answer each")
    taken.add(number)
    return state.trials[number].trial


def _outcome(state: State, experiment: Experiment, trial: Trial) -> Iterator[AnyEvent]:
    if experiment.answer is not None and experiment.failed:
        raise CampaignError(f"trial {trial.number}: has an answer and failed ({experiment.failed}); it is one of both")
    event: Observed | Failed | None = None
    if experiment.answer is not None:
        campaign = state.campaign
        reading = reading_of(
            experiment.answer, tuple(campaign.responses), what=f"trial {trial.number}", space=campaign.space
        )
        event = Observed(trial=trial.number, reading=reading)
    elif experiment.failed:
        event = Failed(trial=trial.number, cause="error", message=sentence(experiment.failed, what="reason"))
    if event is None:
        return
    if experiment.trial is not None and (fault := why_not(state, event)):
        pending = ", ".join(map(str, state.running)) or "none"
        raise CampaignError(f"{fault}; pending: {pending}")
    yield event
