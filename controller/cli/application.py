"""The Typer application, and what becomes of errors: one message on stderr and a documented exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import ClosedLoopError
from .terminal import complain

BEGIN, RUN, STEER = "Begin a campaign", "Carry it out", "Steer it, from any terminal"
LOOK, AUDIT = "Look at it", "Check and report"

ORDER = (
    *("init", "check", "advise", "schema", "sources", "import"),
    *("run", "resume", "suggest", "ingest"),
    *("pending", "approve", "refuse", "pause", "stop", "abort", "amend", "quarantine", "restore", "prefer"),
    *("status", "best", "show", "export"),
    *("verify", "replay", "report", "backup"),
)
EXITS = {
    0: "done",
    1: "an error",
    2: "a campaign, or the command line, is to be corrected",
    3: "a source (an instrument or a simulator)",
    4: "a ledger",
    5: "another controller runs the campaign",
    6: "a belief",
    7: "the campaign waits for people, and --patience has ended",
    8: "an instrument may not be safe",
    130: "interrupted: paused, or aborted, with the instruments made safe",
}
EXAMPLE = "Example: closedloop init furnace && cd furnace && closedloop run campaign.yaml --executor inline"


class Commands(TyperGroup):
    """The group of all commands; whatever one of them raises becomes one message."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of a campaign's life."""
        return sorted(super().list_commands(ctx), key=ORDER.index)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except ClosedLoopError as error:
            complain(str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            if _belongs_to_typer(error):
                raise
            _complain_of_bug(error, is_debug=bool(ctx.params.get("debug")))
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"{EXAMPLE}\n\nExit codes: " + " · ".join(f"{code} {text}" for code, text in EXITS.items()),
)


def _version(is_asked: bool) -> None:
    if is_asked:
        from closedloop import __version__

        typer.echo(f"closedloop {__version__}")
        raise typer.Exit


@app.callback()
def application(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")] = False,
) -> None:
    """Run experiments in a closed loop: choose, predict, measure or simulate, correct, and log everything."""
    # Two threads are no faster on such small matrices, and one gives the same sums on every machine.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _belongs_to_typer(error: Exception) -> bool:
    """Usage errors and exits, which print themselves, and a reader of our output that went away."""
    is_broken_pipe = isinstance(error, OSError) and error.errno == errno.EPIPE
    return isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "show") or is_broken_pipe


def _complain_of_bug(error: Exception, *, is_debug: bool) -> None:
    if is_debug:
        from ..secret import mask

        sys.stderr.write(mask("".join(traceback.format_exception(error))))
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    command = " ".join(["closedloop", "--debug", *sys.argv[1:2]])
    hint = "please report it" if is_debug else f"please report it with what '{command} ...' shows"
    complain(f"unexpected {said}{where}; {hint}")
