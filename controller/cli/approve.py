"""``pending``, ``approve``, ``refuse``, ``quarantine`` and ``restore``: what people decide about single trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CampaignError
from ..records import Approved, Quarantined, Refused, Restored, Setting, Settled
from . import options
from .application import STEER, app
from .people import Ask, Place, asks_of, is_answered_by_people
from .steer import By, Reason, declaration_of, name_of, open_story, tell
from .terminal import say, show_json

if TYPE_CHECKING:
    from ..campaign import Campaign
    from ..report.story import Story, TrialStory

Number = Annotated[int, typer.Argument(help="The trial's number.")]
Why = Annotated[
    str,
    typer.Option("--reason", "-r", help="Why; it is written down.", show_default=False, callback=options.short),
]


@app.command(rich_help_panel=STEER, epilog="Example: closedloop pending --ledger lab.db")
def pending(
    *, ledger: options.Ledger = options.LEDGER, campaign: options.InLedger = None, as_json: options.AsJson = False
) -> None:
    """List what waits for people, and what to type: approvals, doubts, results to be handed in, a pause."""
    from ..ledger.reader import campaigns
    from ..report.story import read_story
    from ..steering import controller_of

    story = read_story(ledger, campaign)
    place = Place(ledger, story.declared.name, len(campaigns(ledger)) == 1)
    asks = asks_of(story, place, is_run=controller_of(ledger, place.campaign) is not None)
    if as_json:
        show_json([_data(story, ask) for ask in asks])
        return
    if not asks:
        over = f", and it is over: {story.stopped.reason}" if story.stopped else ""
        say(f"{story.declared.name}: nothing waits for people{over}")
    for ask in asks:
        _show(ask)


@app.command(rich_help_panel=STEER, epilog="Example: closedloop approve 12 --set temperature=80 --by ann")
def approve(
    trial: Number,
    *,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE: run it so instead.", show_default=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run a trial in doubt once more.")] = False,
    by: By = None,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a trial run that waits for approval; with --again, run a trial in doubt once more."""
    story = open_story(ledger, campaign)
    known = trial_of(story, trial)
    if known.status == "unknown" or again:
        _check_rerun(known, is_again=again, changes=changes or [])
        event: Approved | Settled = Settled(trial=trial, outcome="rerun", by=name_of(by))
        tell(ledger, story, event, done=f"trial {trial} is run again", as_json=as_json)
        return
    if known.status != "proposed":
        raise CampaignError(
            f"trial {trial} is {known.status}; only one that waits for approval is approved{_list(story)}"
        )
    changed = _changed(declaration_of(story), known, changes) if changes else {}
    event = Approved(trial=trial, by=name_of(by), setting=changed)
    words = ", ".join(f"{k}={v}" for k, v in changed.items())
    tell(ledger, story, event, done=f"trial {trial} may run" + (f" at {words}" if words else ""), as_json=as_json)


@app.command(rich_help_panel=STEER, epilog="Example: closedloop refuse 12 --reason 'the seal would not hold'")
def refuse(
    trial: Number,
    *,
    reason: Why,
    by: By = None,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    as_json: options.AsJson = False,
) -> None:
    """Do not run a trial that waits for approval, or give up one in doubt."""
    story = open_story(ledger, campaign)
    known = trial_of(story, trial)
    if known.status == "unknown":
        given_up = Settled(trial=trial, outcome="abandoned", by=name_of(by), text=_said(reason))
        tell(ledger, story, given_up, done=f"trial {trial} is given up", as_json=as_json)
        return
    is_manual = known.status == "approved" and is_answered_by_people(story, known)
    if known.status != "proposed" and not is_manual:
        remedy = "; 'closedloop abort' ends what runs" if known.status in ("approved", "acting") else _list(story)
        raise CampaignError(f"trial {trial} is {known.status}; only one that has not begun is refused{remedy}")
    event = Refused(trial=trial, by=name_of(by), reason=_said(reason))
    tell(ledger, story, event, done=f"trial {trial} does not run", as_json=as_json)


@app.command(rich_help_panel=STEER, epilog="Example: closedloop quarantine 12 --reason 'the lamp was off'")
def quarantine(
    trial: Number,
    *,
    reason: Why,
    by: By = None,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    as_json: options.AsJson = False,
) -> None:
    """Set a wrong reading aside: it stays in the ledger, and nothing is learnt from it."""
    story = _story(ledger, campaign)
    known = trial_of(story, trial)
    if not known.is_read:
        raise CampaignError(f"trial {trial} is {known.status}; only a reading that counts is set aside")
    event = Quarantined(trial=trial, by=name_of(by), reason=_said(reason))
    tell(ledger, story, event, done=f"the reading of trial {trial} counts no more", as_json=as_json)


@app.command(rich_help_panel=STEER, epilog="Example: closedloop restore 12 --reason 'the lamp was on after all'")
def restore(
    trial: Number,
    *,
    reason: Reason = "",
    by: By = None,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a reading count again that was set aside, by a person or by the agent."""
    story = _story(ledger, campaign)
    known = trial_of(story, trial)
    if known.status != "invalid" or known.reading is None:
        raise CampaignError(f"trial {trial} is {known.status} and has no reading that was set aside")
    event = Restored(trial=trial, by=name_of(by), reason=reason)
    tell(ledger, story, event, done=f"the reading of trial {trial} counts again", as_json=as_json)


def trial_of(story: Story, number: int) -> TrialStory:
    """One trial.

    Raises:
        CampaignError: if there is none of that number.
    """
    if number not in story.trials:
        known = f"1 to {max(story.trials)}" if story.trials else "none"
        raise CampaignError(f"trial {number} is not in campaign {story.declared.name!r} (there: {known})")
    return story.trials[number]


def _story(ledger: Path, campaign: str | None) -> Story:
    from ..report.story import read_story

    return read_story(ledger, campaign)  # a campaign that is over may still be corrected


def _said(reason: str) -> str:
    if not reason.strip():
        raise CampaignError("--reason is blank; say why, for whoever reads the ledger")
    return reason.strip()


def _check_rerun(known: TrialStory, *, is_again: bool, changes: Sequence[str]) -> None:
    n = known.number
    if known.status != "unknown":
        raise CampaignError(f"trial {n} is {known.status}, not in doubt; leave --again out")
    if not is_again:
        raise CampaignError(
            f"trial {n} is in doubt: it may have been carried out. To run it again all the same, type "
            f"'closedloop approve {n} --again'; to hand in what it gave, 'closedloop ingest {n} ...'; to give it up, "
            f"'closedloop refuse {n} --reason ...'"
        )
    if changes:
        raise CampaignError(f"--set {changes[0]}: a trial is run again as it was; refuse it to have another setting")


def _changed(campaign: Campaign, known: TrialStory, words: Sequence[str]) -> Setting:
    """What a person changes of a setting, checked as a whole."""
    from ..guard.check import Guard
    from .hand import values_of

    changes = values_of(campaign, words)
    whole: Mapping[str, Any] = campaign.space.changed(known.trial.setting, changes)
    source = known.trial.source
    refusal = Guard(campaign.guard_of(source), name=source).refusal(dict(whole), now_s=0.0)
    if refusal is not None:
        raise CampaignError(f"--set {' '.join(words)}: the guard would refuse it: {refusal.reason}")
    return {name: whole[name] for name in changes}


def _list(story: Story) -> str:
    waiting = ", ".join(str(t.number) for t in story.in_status("proposed", "unknown")) or "none"
    return f" (waiting: {waiting})"


def _show(ask: Ask) -> None:
    say(ask.text)
    for line in ask.details:
        say(line, indent=4)
    for command, meaning in ask.ways:
        say(f"{command}   ({meaning})", indent=2)


def _data(story: Story, ask: Ask) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": ask.kind, "trial": ask.trial, "text": ask.text}
    if ask.trial is not None:
        t = story.trials[ask.trial]
        told = {"source": t.trial.source, "setting": t.trial.setting, "cost": t.trial.cost, "asks": t.asks}
        data |= {**told, "forecast": t.trial.forecast.model_dump(mode="json")}
    return {**data, "type": [{"command": command, "meaning": meaning} for command, meaning in ask.ways]}
