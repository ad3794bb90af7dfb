"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LEDGER = Path("closedloop.db")

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
