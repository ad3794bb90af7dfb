"""``advise``: what the agent would use for a campaign, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .application import BEGIN, app
from .terminal import show, show_json, table

if TYPE_CHECKING:
    from rich.table import Table

    from ..advice import Advice
    from ..state import State


@app.command(rich_help_panel=BEGIN, epilog="Example: closedloop advise campaign.yaml")
def advise(
    file: Annotated[str, typer.Argument(help="A campaign file, or the name of one that ships or began.")],
    *,
    ledger: Annotated[
        Path | None, typer.Option(help="A ledger in which it has begun: then the advice is for its next decision.")
    ] = None,
    allow_code: options.AllowCode = False,
    as_json: options.AsJson = False,
) -> None:
    """Say which belief, start, acquisition and search would be used, why, and which key overrides each."""
    from ..advice import advise as advice_of

    found = advice_of(_state(file, ledger, allow_code=allow_code))
    if as_json:
        show_json([vars(a) for a in found])
    else:
        show(_as_table(found))


def _state(file: str, ledger: Path | None, *, allow_code: bool) -> State:
    from ..campaign_file import find_campaign, read_campaign
    from ..evolve import replay
    from ..state import State

    if ledger is None:
        return State(read_campaign(find_campaign(file), allow_code=allow_code).resolve())
    from ..ledger.reader import events
    from .ledgers import campaign_named

    campaign = campaign_named(ledger, file, allow_code=allow_code)
    return replay(campaign, events(ledger, campaign.name))


def _as_table(found: list[Advice]) -> Table:
    made = table("of", "choice", "why", "overridden by")
    for a in found:
        made.add_row(a.of, a.choice, a.why, a.key)
    return made
