"""``prefer``: a person says which of two readings is liked better, or asks which two to look at."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import CampaignError
from ..ledger.rows import uncollected
from ..records import Preferred, Started
from ..report.story import Story, read_events
from ..report.words import number, setting_words, with_unit
from . import options
from .application import STEER, app
from .approve import trial_of
from .steer import By, name_of, tell
from .terminal import say, show_json


@app.command(rich_help_panel=STEER, epilog="Example: closedloop prefer 12 7 --ledger lab.db")
def prefer(
    better: Annotated[int | None, typer.Argument(help="The trial that is liked better.", show_default=False)] = None,
    worse: Annotated[int | None, typer.Argument(help="The other one.", show_default=False)] = None,
    *,
    by: By = None,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    as_json: options.AsJson = False,
) -> None:
    """Say which of two trials gave what is liked better; without numbers, show the two whose comparison helps most."""
    with uncollected():
        events = read_events(ledger, campaign)
        story = Story.of(events)
    if story.declared.goal.kind != "prefer":
        raise CampaignError(
            f"the goal is to {story.declared.goal.words}; answers are for a campaign with goal: {{prefer: [...]}}"
        )
    if better is None and worse is None:
        from ..asking import question_of
        from ..campaign import Campaign
        from ..evolve import replay

        first = events[0]
        assert isinstance(first, Started)
        _show(story, question_of(replay(Campaign.trusted(first.campaign), events)), as_json=as_json)
        return
    if better is None or worse is None:
        raise CampaignError(f"trial {better or worse}: name two trials, the one that is liked better first")
    for number_ in (better, worse):
        known = trial_of(story, number_)
        if not known.is_read:
            raise CampaignError(f"trial {number_} is {known.status}; only readings that count are compared")
    event = Preferred(better=better, worse=worse, by=name_of(by))
    tell(ledger, story, event, done=f"trial {better} is liked better than trial {worse}", as_json=as_json)


def _show(story: Story, found: tuple[int, int] | None, *, as_json: bool) -> None:
    if as_json:
        show_json({"compare": list(found) if found else None})
        return
    if found is None:
        say("there are no two readings to compare that were not compared yet")
        return
    units = story.declared.responses
    for n in found:
        t = story.trials[n]
        values = t.reading.values if t.reading else {}
        read = ", ".join(f"{r} {with_unit(number(values[r]), units[r])}" for r in story.declared.goal.wanted)
        say(f"#{n}  {read}   ({setting_words(t.trial.setting, story.declared.parameters)})")
    say(f"which is liked better? closedloop prefer {found[0]} {found[1]}, or closedloop prefer {found[1]} {found[0]}")
