"""``run`` and ``resume``: a campaign carried out to its stop."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CampaignError
from . import options
from .application import RUN, app
from .terminal import complain, say

if TYPE_CHECKING:
    from ..campaign import Campaign
    from .watching import Follower, View


class Hands(StrEnum):
    """Who carries trials out."""

    RAY = "ray"
    INLINE = "inline"


Executor = Annotated[
    Hands,
    typer.Option("--executor", help="ray: each source in a process of its own; inline: all in this process."),
]
Address = Annotated[str | None, typer.Option("--address", help="Of a Ray cluster to join.", show_default=False)]
EventsAsJson = Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@app.command(rich_help_panel=RUN, epilog="Example: closedloop run reactor --ledger lab.db")
def run(
    campaign: Annotated[str, typer.Argument(help="A campaign file, or the name of one that ships.")],
    *,
    ledger: options.Ledger = options.LEDGER,
    executor: Executor = Hands.RAY,
    address: Address = None,
    as_json: EventsAsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run a campaign to its stop; go on where it stands if the ledger has it already."""
    from ..campaign_file import find_campaign, read_campaign

    declared = read_campaign(find_campaign(campaign))
    carry_out(declared, ledger, executor=executor, address=address, view=_view(as_json=as_json, quiet=quiet))


@app.command(rich_help_panel=RUN, epilog="Example: closedloop resume reactor --ledger lab.db")
def resume(
    campaign: Annotated[
        str | None,
        typer.Argument(help="Its name in the ledger; may be left out where there is one.", show_default=False),
    ] = None,
    *,
    ledger: options.Ledger = options.LEDGER,
    executor: Executor = Hands.RAY,
    address: Address = None,
    as_json: EventsAsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a campaign of a ledger, by the declaration that stands in it."""
    from .ledgers import campaign_of

    declared = campaign_of(ledger, campaign)
    carry_out(declared, ledger, executor=executor, address=address, view=_view(as_json=as_json, quiet=quiet))


def carry_out(campaign: Campaign, ledger: Path, *, executor: Hands, address: str | None, view: View) -> None:
    """Run, look on, and say at the end what it came to.

    Raises:
        CampaignError: if an address is given to the inline executor.
    """
    from .watching import looking_on

    if address is not None and executor is Hands.INLINE:
        raise CampaignError(f"--address {address}: the inline executor joins no cluster; leave one of the two out")
    warnings.simplefilter("ignore")  # of libraries, at the programmer; ours are errors or events
    follower: Follower | None = None
    try:
        with _ended_politely(), looking_on(view, ledger, campaign.name) as follower:
            n_before = follower.n_events
            from ..campaign_run import run as run_campaign

            run_campaign(campaign, ledger=ledger, executor=executor.value, address=address, watch=follower)
    except KeyboardInterrupt:
        complain(_how_to_go_on(campaign.name, ledger), word="interrupted;")
        raise typer.Exit(130) from None
    if view in ("live", "lines"):
        _conclude(follower, ledger, has_run=follower.n_events > n_before)


def _view(*, as_json: bool, quiet: bool) -> View:
    from .watching import View

    if quiet or as_json:
        return View.QUIET if quiet else View.JSON
    return View.LIVE if sys.stdout.isatty() else View.LINES


@contextmanager
def _ended_politely() -> Iterator[None]:
    """A polite kill ends a run as Ctrl-C does, with the instruments made safe; so does Ctrl-C in the background."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # whoever runs us here keeps the signals
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _how_to_go_on(name: str, ledger: Path) -> str:
    from .watching import is_begun

    if not is_begun(ledger, name):
        return "nothing was run yet"
    command = shlex.join(["closedloop", "resume", name, "--ledger", str(ledger)])
    return f"instruments made safe; go on with: {command}"


def _conclude(follower: Follower, ledger: Path, *, has_run: bool) -> None:
    from ..report.words import setting_words
    from .picture import best_words

    story = follower.story
    if story is None:
        return
    if not has_run and story.stopped:
        say(f"{story.declared.name} was over already: {story.stopped.reason}")
    say(f"best: {best_words(story)}")
    if story.best:
        say(f"at: {setting_words(story.best.trial.setting, story.declared.parameters)}")
    say(f"next: {shlex.join(['closedloop', 'report', '--ledger', str(ledger)])}")
