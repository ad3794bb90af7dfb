"""What the world and people say, held against the state before it is written.

Laws:
    * What cannot happen to a trial is not written as if it had: a person's word becomes a note that says why,
      and an echo of the hands becomes nothing.
    * A letter is signed by a person: it never passes as the word of a guard or of another part of the controller.
    * A person's approval of a changed setting carries a forecast of that setting.
    * An amendment is checked against the declaration as it stands when it is taken.
"""

from __future__ import annotations

from typing import Any

from .amendment import amended, check_budget
from .decide import current_belief, forecast
from .errors import CampaignError
from .evolve import why_not
from .lifecycle import READ, TrialEvent, why_no_person
from .reading import reading_of
from .records import (
    Acting,
    Amended,
    AnyEvent,
    Approved,
    Ending,
    Failed,
    Noted,
    Observed,
    Paused,
    Preferred,
    Quarantined,
    Refused,
    Restored,
    Resumed,
    Settled,
)
from .state import State

_OF_TRIALS = Approved | Refused | Acting | Observed | Failed | Settled | Quarantined | Restored


def admit(state: State, event: AnyEvent) -> AnyEvent | None:
    """The event to be written for what was said; None: nothing."""
    if event.letter is not None and (fault := why_no_person(getattr(event, "by", ""))):
        return Noted(text=f"{event.kind} was not taken: {fault}", letter=event.letter)
    if isinstance(event, _OF_TRIALS):
        return _of_trial(state, event)
    refusal = _refusal(state, event)
    if refusal:
        return Noted(text=f"{event.kind}: {refusal}", letter=event.letter)
    if isinstance(event, Amended):
        return _amended(state, event)
    return event


def _of_trial(state: State, event: TrialEvent) -> AnyEvent | None:
    if isinstance(event, Refused) and event.letter is not None:
        event = event.model_copy(update={"rule": "", "places": ()})  # only a guard beside the device speaks of these
    fault = why_not(state, event) or _too_late(state, event) or _unreadable(state, event)
    if fault:
        is_news = event.letter is not None or isinstance(event, Observed)
        said = f"; it said {event.reading.values}" if isinstance(event, Observed) else ""
        words = f"{event.kind} of trial {event.trial} was not counted: {fault}{said}"
        return Noted(text=words, letter=event.letter) if is_news else None
    if isinstance(event, Approved):
        return _approved(state, event)
    return event


def _too_late(state: State, event: TrialEvent) -> str:
    """Only the guard stands between a command that is under way and its device; nothing begins after the end."""
    if isinstance(event, Settled) and event.outcome in ("rerun", "not_started"):
        return _why_no_rerun(state, event)
    if not isinstance(event, Refused) or event.rule or state.trials[event.trial].status != "acting":
        return ""
    return f"trial {event.trial} is under way; 'closedloop abort' ends it"


def _why_no_rerun(state: State, event: Settled) -> str:
    if state.stopped is not None:
        return f"the campaign is over ({state.stopped.reason})"
    cost = state.trials[event.trial].trial.cost
    if event.outcome == "rerun" and not state.can_afford(cost):
        return "the budget does not hold it once more; amend the budget first"
    return ""


def _unreadable(state: State, event: TrialEvent) -> str:
    """A reading that came by letter is held against the declaration, as a driver's is."""
    if not isinstance(event, Observed) or event.letter is None:
        return ""
    try:
        reading_of(event.reading, tuple(state.campaign.responses), what="the letter", space=state.campaign.space)
    except (CampaignError, ValueError) as error:
        return str(error)
    members = event.reading.members
    n_members = {len(v) for v in state.trials[event.trial].trial.unknowns.values()}
    if members and (set(members) != set(state.campaign.responses) or {len(v) for v in members.values()} != n_members):
        return "its members are not one number a response and member"
    return ""


def _approved(state: State, event: Approved) -> AnyEvent:
    known = state.trials[event.trial]
    people = state.campaign.sources[known.trial.source].approval.people
    if people and event.by not in people:
        words = f"{event.by} may not approve trial {event.trial}; {', '.join(people)} may"
        return Noted(text=words, letter=event.letter)
    if not event.setting:
        return event
    space = state.campaign.spaces[known.trial.source]  # less what its guard forbids
    try:
        setting = space.changed(known.trial.setting, event.setting)
    except CampaignError as error:
        return Noted(text=f"approval of trial {event.trial} was not taken: {error}", letter=event.letter)
    told = forecast(state, current_belief(state), known.trial.source, space.encode(setting))
    changed = {k: v for k, v in setting.items() if k in event.setting or k in space.derivations}
    return event.model_copy(update={"setting": changed, "forecast": told})


def _refusal(state: State, event: Any) -> str:
    if state.stopped is not None and isinstance(event, Paused | Resumed | Ending | Amended):
        return f"the campaign is over ({state.stopped.reason})"
    if isinstance(event, Preferred):
        return why_no_answer(state, event.better, event.worse)
    if isinstance(event, Resumed) and state.paused is None and not state.resting:
        return "the campaign is not paused"
    if isinstance(event, Ending) and state.ending is not None and event.mode == state.ending.mode:
        return "the campaign is ending already"
    return ""


def why_no_answer(state: State, better: int, worse: int) -> str:
    """Why two trials cannot be compared; empty where they can."""
    goal, target = state.campaign.goal, state.campaign.target
    if goal.kind != "prefer":
        return f"the goal is to {goal.words}, and no answer of this kind says anything of it"
    if better == worse:
        return f"trial {better} cannot be better than itself; name two"
    for n in (better, worse):
        known = state.trials.get(n)
        if known is None or known.status not in READ or known.trial.source != target:
            return f"trial {n} is no reading of {target!r} that counts, so there is nothing to compare"
    return ""


def _amended(state: State, event: Amended) -> AnyEvent:
    try:
        campaign = amended(state.campaign, event.changes)
        if any(key.partition(".")[0] == "budget" for key in event.changes):
            check_budget(campaign, state.spent, state.reserved)
    except CampaignError as error:
        return Noted(text=f"the amendment was not taken: {error}", letter=event.letter)
    return event.model_copy(update={"campaign": campaign.to_dict()})
