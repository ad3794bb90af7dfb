"""``import``: the trials of another optimiser's study become a campaign, or part of one."""

from __future__ import annotations

import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import CampaignError
from . import options
from .application import BEGIN, app
from .terminal import complain, say, show_json

if TYPE_CHECKING:
    from ..campaign import Campaign
    from ..interchange.portable import Study


class Tool(StrEnum):
    """Whose study."""

    AX = "ax"
    OPTUNA = "optuna"


@app.command(
    name="import",
    rich_help_panel=BEGIN,
    epilog="Example: closedloop import optuna sqlite:///study.db --study anneal --ledger lab.db",
)
def import_study(
    tool: Annotated[Tool, typer.Argument(help="Whose study it is.")],
    place: Annotated[str, typer.Argument(help="Ax: the client's JSON snapshot. Optuna: the storage's URL.")],
    *,
    study: Annotated[
        str | None, typer.Option("--study", help="Optuna: its name, where there are several.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the new campaign; the study's own if left out.", show_default=False)
    ] = None,
    more: Annotated[int, typer.Option("--more", help="Trials that the new campaign may still make.")] = 50,
    into: Annotated[
        str | None,
        typer.Option("--into", help="A campaign of the ledger, or a file, that takes them.", show_default=False),
    ] = None,
    ledger: options.Ledger = options.LEDGER,
    allow_code: options.AllowCode = False,
    as_json: options.AsJson = False,
) -> None:
    """Make a campaign of another optimiser's study, its trials and all, or bring them into a campaign of yours."""
    from ..interchange.portable import bring
    from ..session import Session

    warnings.simplefilter("ignore")
    if into is not None and name is not None:
        raise CampaignError("--into and --name: a campaign that is there has its name; leave one of them out")
    found = _read(tool, place, study)
    campaign = _campaign(found, ledger, into=into, name=name, more=more, allow_code=allow_code)
    with Session(campaign, ledger=ledger) as session:
        brought = bring(found, session)
    if as_json:
        show_json(vars(brought))
        return
    for note in brought.notes:
        complain(note, word="note:")
    say(
        f"{brought.campaign}: {brought.n_read} readings, {brought.n_failed} failed and {brought.n_running} running "
        f"trials imported; go on with: closedloop suggest --campaign {brought.campaign} --ledger {ledger}"
    )


def _read(tool: Tool, place: str, study: str | None) -> Study:
    if tool is Tool.AX:
        if study is not None:
            raise CampaignError(f"--study {study}: an Ax snapshot holds one experiment; leave it out")
        from ..interchange.ax_study import read_ax

        return read_ax(place)
    from ..interchange.optuna_study import read_optuna

    return read_optuna(place, study)


def _campaign(
    found: Study, ledger: Path, *, into: str | None, name: str | None, more: int, allow_code: bool
) -> Campaign:
    from ..interchange.portable import campaign_of
    from .ledgers import campaign_named
    from .watching import is_begun

    if into is not None:
        return campaign_named(ledger, into, allow_code=allow_code)
    campaign = campaign_of(found, name=name, n_more=more)
    if is_begun(ledger, campaign.name):
        raise CampaignError(
            f"{ledger}: has a campaign {campaign.name!r} already; give the new one another --name, or bring the trials "
            f"into that one with --into {campaign.name}"
        )
    return campaign


def write_study(
    ledger: Path, campaign: str | None, tool: Tool, *, output: Path | None, storage: str | None, study: str | None
) -> None:
    """Write a campaign as another optimiser's study.

    Raises:
        CampaignError: if nothing says where to.
        ClosedLoopError: if the other tool does not take it.
    """
    from ..evolve import replay
    from ..interchange.portable import study_of
    from ..ledger.reader import events
    from .ledgers import campaign_of

    warnings.simplefilter("ignore")
    if tool is Tool.AX and (storage or study):
        raise CampaignError("--as ax: writes one JSON snapshot; leave --storage and --study out")
    if (output is None) == (storage is None):
        where = "FILE.json with --output" if tool is Tool.AX else "FILE.db with --output, or a URL with --storage"
        raise CampaignError(f"--as {tool.value}: name {where}")
    declared = campaign_of(ledger, campaign)
    made = study_of(replay(declared, events(ledger, declared.name)))
    if tool is Tool.AX:
        from ..interchange.ax_study import write_ax

        notes = write_ax(made, declared, output or Path())
    else:
        from ..interchange.optuna_study import write_optuna

        notes = write_optuna(made, declared, storage or f"sqlite:///{output}", study)
    for note in notes:
        complain(note, word="note:")
    complain(f"{len(made.trials)} trials of {declared.name} in {output or storage}", word="wrote")
