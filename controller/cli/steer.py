"""``pause``, ``stop``, ``abort`` and ``amend``: a running campaign steered from any terminal."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import CampaignError
from ..lifecycle import why_no_person
from ..records import Amended, AnyEvent, Ending, Noted, Paused, Resumed
from . import options
from .application import STEER, app
from .terminal import complain, show_json
from .terminal import say as print_line

if TYPE_CHECKING:
    from ..campaign import Campaign
    from ..report.story import Story

By = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="Your name, as the ledger shall have it; the login name if left out.",
        show_default=False,
        callback=options.short,
    ),
]
Reason = Annotated[
    str,
    typer.Option("--reason", "-r", help="Why; it is written down.", show_default=False, callback=options.short),
]


@app.command(rich_help_panel=STEER, epilog="Example: closedloop pause --reason 'the cell is cleaned'")
def pause(
    *,
    reason: Reason = "",
    by: By = None,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    as_json: options.AsJson = False,
) -> None:
    """Begin no more trials until 'resume'; what runs goes on."""
    story = open_story(ledger, campaign)
    event = Paused(by=name_of(by), reason=reason or "no reason given")
    tell(ledger, story, event, as_json=as_json, done=f"{story.declared.name} is paused; go on with 'closedloop resume'")


@app.command(rich_help_panel=STEER, epilog="Example: closedloop stop --reason 'good enough'")
def stop(
    *,
    reason: Reason = "",
    by: By = None,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    as_json: options.AsJson = False,
) -> None:
    """End the campaign for good once what runs has ended."""
    _end(ledger, campaign, "stop", by=by, reason=reason, as_json=as_json)


@app.command(rich_help_panel=STEER, epilog="Example: closedloop abort --reason 'it smells'")
def abort(
    *,
    reason: Reason = "",
    by: By = None,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    as_json: options.AsJson = False,
) -> None:
    """End the campaign for good and have its instruments made safe now; no substitute for an emergency stop."""
    _end(ledger, campaign, "abort", by=by, reason=reason, as_json=as_json)


@app.command(
    rich_help_panel=STEER,
    epilog="Example: closedloop amend budget.money=400 parameters.temperature.high=110 'constraints=[\"a + b <= 3\"]'",
)
def amend(
    changes: Annotated[
        list[str], typer.Argument(help="KEY=VALUE, the value as in a campaign file; empty: no such entry.")
    ],
    *,
    reason: Reason = "",
    by: By = None,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    as_json: options.AsJson = False,
) -> None:
    """Change the declaration in mid-campaign: budget, bounds, constraints, goal, costs, approvals, doubts, failures."""
    from ..amendment import amended, check_budget, with_files

    story = open_story(ledger, campaign)
    before = declaration_of(story)
    wanted = with_files(before, changes_of(changes))  # what a file holds is read here, and goes into the ledger
    after = amended(before, wanted)  # a mistake is said here, and not in the controller
    if before == after:
        raise CampaignError(f"{', '.join(wanted)}: nothing would change; compare with 'closedloop status'")
    if before.budget != after.budget:
        check_budget(after, story.spent, story.reserved)
    event = Amended(by=name_of(by), changes=wanted, reason=reason)
    old, new = before.to_dict(), after.to_dict()
    lines = [f"{key}: {_found(old, key)} → {_found(new, key)}" for key in wanted]
    tell(ledger, story, event, as_json=as_json, done="\n".join(lines))


def resume_elsewhere(ledger: Path, campaign: str | None, *, by: str | None, reason: str, as_json: bool) -> bool:
    """Tell the controller that holds a paused campaign to go on; whether there is one."""
    from ..ledger.reader import started
    from ..report.sayings import who
    from ..report.story import read_story
    from ..steering import controller_of

    name = started(ledger, campaign).campaign["name"]
    if controller_of(ledger, name) is None:
        return False
    story = read_story(ledger, name)
    if story.paused is None:
        return False
    event = Resumed(by=name_of(by), reason=reason)
    tell(ledger, story, event, as_json=as_json, done=f"{name} goes on")
    for still in read_story(ledger, name).pauses.values() if not as_json else ():
        print_line(f"but for a pause by {who(still.by)}: {still.reason}")
    return True


def open_story(ledger: Path, campaign: str | None) -> Story:
    """The story of a campaign that is not over.

    Raises:
        CampaignError: if it is.
    """
    from ..report.story import read_story

    story = read_story(ledger, campaign)
    if story.stopped:
        raise CampaignError(f"campaign {story.declared.name!r} is over ({story.stopped.reason}); begin another one")
    return story


def name_of(by: str | None) -> str:
    """Who speaks.

    Raises:
        CampaignError: if the name is blank.
    """
    name = getpass.getuser() if by is None else by.strip()
    if not name:
        raise CampaignError("--by is blank; give your name")
    if fault := why_no_person(name):
        raise CampaignError(f"--by {fault}")
    return name


def tell(ledger: Path, story: Story, event: AnyEvent, *, done: str, as_json: bool = False) -> None:
    """Say it, and tell what became of it; exit code 1 if it was not taken."""
    from ..steering import say

    became = say(ledger, story.declared.name, event)
    if as_json:
        show_json(_data(became))
    elif became is None:
        print_line(
            f"left in the inbox: the controller of {story.declared.name!r} is busy and takes it when it looks next "
            "(one that runs in a single process looks between its trials)"
        )
    elif not isinstance(became, Noted):
        for line in done.splitlines():
            print_line(line)
    if isinstance(became, Noted):
        complain(became.text, word="not taken:")
        raise typer.Exit(1)


def _data(became: AnyEvent | None) -> dict[str, Any]:
    is_taken = became is not None and not isinstance(became, Noted)
    return {"taken": is_taken, "event": became.model_dump(mode="json") if became else None}


def _end(
    ledger: Path, campaign: str | None, mode: Literal["stop", "abort"], *, by: str | None, reason: str, as_json: bool
) -> None:
    from ..steering import controller_of

    story = open_story(ledger, campaign)
    name, running = story.declared.name, ", ".join(f"#{t.number}" for t in story.running)
    if controller_of(ledger, name) is None:
        rest = f"; {running} is settled by 'closedloop resume', which ends then" if running else ""
        done = f"{name}: no controller has it, so nothing was commanded{rest}"
    elif mode == "abort":
        done = f"{name} is aborted, and its controller makes the instruments safe"
    else:
        done = f"{name} ends once what runs has ended{f' ({running})' if running else ''}"
    tell(ledger, story, Ending(by=name_of(by), mode=mode, reason=reason), done=done, as_json=as_json)


def declaration_of(story: Story) -> Campaign:
    """The declaration as it stands."""
    from ..campaign import Campaign

    return Campaign.trusted(story.declared.raw)


def changes_of(words: Sequence[str]) -> dict[str, Any]:
    """The changes that the words mean; values are read as in a campaign file.

    Raises:
        CampaignError: naming the word that cannot be read.
    """
    from ..campaign_file import parse

    changes: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise CampaignError(f"{word!r} is not KEY=VALUE; write it like budget.money=400")
        if key in changes:
            raise CampaignError(f"{key} is given twice; give each key once")
        data, _ = parse(f"value: {text}", name=key)
        if set(data) != {"value"}:
            raise CampaignError(f"{word!r} is more than one value; write it on one line, like budget.money=400")
        changes[key] = data["value"]
    return changes


def _found(declared: Any, key: str) -> str:
    from ..report.sayings import changed_words

    for name in key.split("."):
        declared = declared.get(name) if isinstance(declared, dict) else None
    return changed_words(declared)
