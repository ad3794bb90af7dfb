"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import CampaignError

LEDGER = Path("closedloop.db")
MAX_WORDS = 2000  # characters of a text that a ledger keeps for ever


def short(parameter: typer.CallbackParam, text: str | None) -> str | None:
    """What a person says, if it is not too long.

    Raises:
        CampaignError: if it is.
    """
    if text is not None and len(text) > MAX_WORDS:
        raise CampaignError(
            f"{parameter.opts[0]} {text[:20]!r}… has {len(text)} characters; a ledger keeps at most {MAX_WORDS}: say "
            "it shorter, or name a file that holds it"
        )
    return text


Ledger = Annotated[Path, typer.Option("--ledger", "-l", envvar="CLOSEDLOOP_LEDGER", help="The ledger, an SQLite file.")]
InLedger = Annotated[
    str | None,
    typer.Option("--campaign", "-c", help="Its name, where the ledger holds several.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write.", show_default=False)]
AllowCode = Annotated[
    bool,
    typer.Option("--allow-code", help="Run the code of sources that are files outside the current folder."),
]
