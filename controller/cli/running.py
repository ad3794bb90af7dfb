"""``run`` and ``resume``: a campaign carried out to its stop."""

from __future__ import annotations

import math
import shlex
import sys
import warnings
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import CampaignError, ClosedLoopError
from . import options
from .application import RUN, app
from .steer import By, Reason
from .terminal import complain, say

if TYPE_CHECKING:
    from ..campaign import Campaign
    from ..leaving import Leaving
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
Patience = Annotated[
    float | None,
    typer.Option("--patience", min=0.0, help="Seconds to wait where only people can go on; for ever if left out."),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Leave at once where only people can go on: --patience 0.")]
WAITING = 7  # the exit code where people are waited for and patience has ended
UNSAFE = 8  # the exit code where an instrument may not be safe
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@app.command(rich_help_panel=RUN, epilog="Example: closedloop run reactor --ledger lab.db")
def run(
    campaign: Annotated[str, typer.Argument(help="A campaign file, or the name of one that ships.")],
    *,
    ledger: options.Ledger = options.LEDGER,
    executor: Executor = Hands.RAY,
    address: Address = None,
    patience: Patience = None,
    no_wait: NoWait = False,
    allow_code: options.AllowCode = False,
    as_json: EventsAsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run a campaign to its stop; go on where it stands if the ledger has it already."""
    from ..campaign_file import find_campaign, read_campaign

    declared = read_campaign(find_campaign(campaign), allow_code=allow_code)
    view, patience_s = _view(as_json=as_json, quiet=quiet), _patience(patience, no_wait=no_wait)
    carry_out(declared, ledger, executor=executor, address=address, view=view, patience_s=patience_s)


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
    by: By = None,
    reason: Reason = "",
    patience: Patience = None,
    no_wait: NoWait = False,
    allow_code: options.AllowCode = False,
    as_json: EventsAsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a campaign of a ledger: tell the controller that has paused it, or else run it here."""
    from .ledgers import campaign_of
    from .steer import name_of, resume_elsewhere

    if resume_elsewhere(ledger, campaign, by=by, reason=reason, as_json=as_json):
        return
    declared = campaign_of(ledger, campaign, allow_code=allow_code)
    view, patience_s = _view(as_json=as_json, quiet=quiet), _patience(patience, no_wait=no_wait)
    carry_out(
        declared, ledger, executor=executor, address=address, view=view, patience_s=patience_s, resumed_by=name_of(by)
    )


def carry_out(
    campaign: Campaign,
    ledger: Path,
    *,
    executor: Hands,
    address: str | None,
    view: View,
    patience_s: float | None = None,
    resumed_by: str | None = None,
) -> None:
    """Run, look on, and say at the end what it came to.

    Raises:
        CampaignError: if an address is given to the inline executor.
    """
    from ..leaving import Leaving
    from ..perform import unsafe
    from .departure import Departure
    from .watching import looking_on

    if address is not None and executor is Hands.INLINE:
        raise CampaignError(f"--address {address}: the inline executor joins no cluster; leave one of the two out")
    warnings.simplefilter("ignore")  # of libraries, at the programmer; ours are errors or events
    leaving = Leaving()
    try:
        with looking_on(view, ledger, campaign.name) as follower:
            departure = Departure(
                leaving,
                tell=follower.notify,
                is_closing=lambda: follower.is_over or (leaving.is_asked and follower.is_settled),
                is_idle=lambda: follower.is_idle,
            )
            with departure.answering():
                n_before = follower.n_events
                from ..campaign_run import run as run_campaign

                departure.begin()
                state = run_campaign(
                    campaign,
                    ledger=ledger,
                    executor=executor.value,
                    address=address,
                    watch=follower,
                    patience_s=patience_s,
                    leaving=leaving,
                    resumed_by=resumed_by,
                ).state
    except ClosedLoopError as error:
        if error.unsafe:
            complain(str(error))
            _complain_of_danger({n: unsafe(n, fault).text for n, fault in error.unsafe.items()})
        raise
    except KeyboardInterrupt:
        _complain_of_danger(follower.unsafe)
        complain(_how_to_go_on(campaign.name, ledger), word="interrupted;")
        raise typer.Exit(130) from None
    if state.stopped and view in ("live", "lines"):
        _conclude(follower, ledger, has_run=follower.n_events > n_before)
    _say_how_it_ended(follower, campaign.name, ledger, is_stopped=state.stopped is not None, leaving=leaving)


def _say_how_it_ended(follower: Follower, name: str, ledger: Path, *, is_stopped: bool, leaving: Leaving) -> None:
    """What is left to do, and the exit code that says so.

    Raises:
        typer.Exit: unless the campaign has stopped, and every instrument is safe.
    """
    _complain_of_danger(follower.unsafe)
    if is_stopped:
        return
    if leaving.is_asked:
        complain(f"what ran has ended; {_how_to_go_on(name, ledger)}", word="paused;")
        raise typer.Exit(130)
    _complain_of_waiting(follower)
    raise typer.Exit(WAITING)


def _patience(patience: float | None, *, no_wait: bool) -> float:
    if no_wait and patience is not None:
        raise CampaignError(f"--patience {patience:g} and --no-wait: give one of the two")
    return 0.0 if no_wait else math.inf if patience is None else patience


def _view(*, as_json: bool, quiet: bool) -> View:
    from .watching import View

    if quiet or as_json:
        return View.QUIET if quiet else View.JSON
    return View.LIVE if sys.stdout.isatty() else View.LINES


def _how_to_go_on(name: str, ledger: Path) -> str:
    from .watching import is_begun

    if not is_begun(ledger, name):
        return "nothing was run yet"
    command = shlex.join(["closedloop", "resume", name, "--ledger", str(ledger)])
    return f"instruments made safe; go on with: {command}"


def _complain_of_danger(unsafe: Mapping[str, str]) -> None:
    """Say which instruments may not be safe, above all else that ends a run.

    Raises:
        typer.Exit: if there is one.
    """
    for words in unsafe.values():
        complain(words, word="danger:")
    if unsafe:
        raise typer.Exit(UNSAFE)


def _complain_of_waiting(follower: Follower) -> None:
    for ask in follower.asks:
        complain(f"{ask.text}; type: {' | '.join(command for command, _ in ask.ways)}", word="waits:")
    if not follower.asks:
        complain("nothing can go on now; see 'closedloop status'", word="waits:")


def _conclude(follower: Follower, ledger: Path, *, has_run: bool) -> None:
    from ..report.outcome import best_words
    from ..report.words import setting_words

    story = follower.story
    if story is None:
        return
    if not has_run and story.stopped:
        say(f"{story.declared.name} was over already: {story.stopped.reason}")
    say(f"{'best' if story.declared.goal.aims else 'known'}: {best_words(story)}")
    if story.best:
        say(f"at: {setting_words(story.best.trial.setting, story.declared.parameters)}")
    say(f"next: {shlex.join(['closedloop', 'report', '--ledger', str(ledger)])}")
