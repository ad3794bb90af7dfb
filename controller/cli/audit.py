"""``verify``, ``replay`` and ``report``: is a ledger whole, are its decisions made again, and what does it tell."""

from __future__ import annotations

import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..capsule import verify_capsule
from ..errors import LedgerError
from ..ledger import reader as ledger_reader
from ..ledger.anchor import Anchor, read_anchor, write_anchor
from ..ledger.audit import Audit, Problem, audit
from ..ledger.crate import is_zip
from . import options
from .application import AUDIT, app
from .terminal import complain, console, say, show_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..replaying import Recomputed


@app.command(rich_help_panel=AUDIT, epilog="Example: closedloop verify --ledger lab.db --anchor kept.json")
def verify(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A capsule, or a ledger.", show_default=False)
    ] = None,
    *,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    anchor: Annotated[
        Path | None,
        typer.Option("--anchor", help="The heads of the chains: checked, or written if absent.", show_default=False),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Check the chain of hashes, the events and the file itself; exit code 4 if anything is wrong.

    All campaigns unless named; of a capsule its files too. Rows that were cut from the end, or a chain that was made
    anew, are found by an anchor that was kept where nobody who writes the ledger can change it. The digests, from which
    'status' is quick, are held against the events. What waits in the inbox and the lease are in no chain.
    """
    path = file or ledger
    kept = read_anchor(anchor) if anchor and anchor.exists() else None
    found = _audited(path, campaign, kept)
    digests = {} if is_zip(path) else {a.campaign: _digest_problems(path, a) for a in found}
    if as_json:
        every = {a.campaign: [*a.problems, *digests.get(a.campaign, [])] for a in found}
        show_json({name: [{"event": p.seq, "problem": p.text} for p in problems] for name, problems in every.items()})
    else:
        _show_audits(found, kept)
        for problem in (p for problems in digests.values() for p in problems):
            say(f"  {problem.text}")
    if n := sum(len(a.problems) for a in found):
        complain(f"{path}: {n} found; take the ledger from a backup, or trust it no further than before them")
        raise typer.Exit(LedgerError.exit_code)
    if any(digests.values()):
        forget = shlex.join(["sqlite3", str(path), "DELETE FROM digest"])
        complain(f"{path}: the events are whole, but 'status' may be wrong: forget the digests with: {forget}")
        raise typer.Exit(LedgerError.exit_code)
    if anchor and not kept:
        write_anchor(anchor, {a.campaign: a.head for a in found if a.head})
        complain(f"{anchor}; keep it where nobody who writes {path} can change it", word="wrote")


@app.command(rich_help_panel=AUDIT, epilog="Example: closedloop replay --ledger lab.db")
def replay(
    *,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0.0, help="Relative; 0: every bit must be the same.")
    ] = 1e-6,
    as_json: options.AsJson = False,
) -> None:
    """Make each decision again from the events before it, and compare; exit code 1 if one differs."""
    from ..replaying import recompute
    from ..report.story import read_events

    warnings.simplefilter("ignore")
    events = read_events(ledger, campaign)
    found = list(_with_progress(recompute(events), n_events=len(events)))
    differing = [r for r in found if not r.is_same(tolerance)]
    if as_json:
        show_json([_data(r, tolerance) for r in found])
    else:
        _show_recomputed(found, differing)
    if differing:
        complain(f"{len(differing)} of {len(found)} decisions are not what is decided now")
        raise typer.Exit(1)


@app.command(rich_help_panel=AUDIT, epilog="Example: closedloop report --ledger lab.db --output report.html")
def report(
    *,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CAMPAIGN.html if left out.", show_default=False)
    ] = None,
) -> None:
    """Write the report of a campaign: one HTML file that needs no network."""
    from ..report.page import write_report

    warnings.simplefilter("ignore")
    name = ledger_reader.started(ledger, campaign).campaign["name"]
    path = write_report(ledger, name, output or Path(f"{name}.html"))
    say(f"wrote {path} ({path.stat().st_size / 1024:.0f} kB)")


def _audited(path: Path, campaign: str | None, kept: Anchor | None) -> list[Audit]:
    anchors = (kept,) if kept else ()
    found = (verify_capsule if is_zip(path) else audit)(path, campaign, anchors=anchors)
    if kept and not any(a.campaign in kept.campaigns for a in found):
        listed, ours = ", ".join(kept.campaigns), ", ".join(a.campaign for a in found)
        raise LedgerError(f"the anchor holds {listed}, and nothing of {ours}: nothing was checked; name another anchor")
    return found


def _digest_problems(path: Path, of: Audit) -> list[Problem]:
    """What is wrong with the digests that make 'status' quick; asked only where the events themselves are well."""
    from ..report.recount import faults

    if not of.is_whole or of.head is None:
        return []
    return [Problem(seq, f"the digest after event {seq} {why}: changed") for seq, why in faults(path, of.campaign)]


def _show_audits(found: Sequence[Audit], kept: Anchor | None) -> None:
    for a in found:
        say(f"{a.campaign}: {'whole: every event follows from the one before' if a.is_whole else 'NOT whole'}")
        for problem in a.problems:
            say(f"  {problem.text}")
        if a.is_whole and a.head:
            say(f"  head: event {a.head.seq} of {a.head.time:%Y-%m-%d %H:%M}, hash {a.head.hash}")
        if kept and a.is_whole:
            seen = kept.campaigns.get(a.campaign)
            at = f"event {seen.seq}, as on {kept.made:%Y-%m-%d %H:%M}" if seen else "none: not in the anchor"
            say(f"  anchored: {at}")


def _with_progress(found: Iterator[Recomputed], *, n_events: int) -> Iterator[Recomputed]:
    if not sys.stderr.isatty():
        yield from found
        return
    from rich.progress import Progress

    with Progress(console=console(is_error=True), transient=True) as progress:
        bar = progress.add_task("deciding again", total=n_events)
        for one in found:
            progress.update(bar, completed=one.seq)
            yield one


def _show_recomputed(found: Sequence[Recomputed], differing: Sequence[Recomputed]) -> None:
    for r in differing:
        what = "; ".join(r.differences) or f"{r.where} (off by {r.deviation:.1e})"
        say(f"event {r.seq} {r.kind}{f' #{r.trial}' if r.trial else ''}: {what}")
    n_exact = sum(r.is_same() for r in found)
    largest = max((r.deviation for r in found), default=0.0)
    say(
        f"{len(found)} decisions made again: {n_exact} the same to the last bit, "
        f"{len(found) - n_exact - len(differing)} within the tolerance, {len(differing)} different "
        f"(largest relative deviation {largest:.1e})"
    )


def _data(r: Recomputed, tolerance: float) -> dict[str, Any]:
    return {
        "event": r.seq,
        "kind": r.kind,
        "trial": r.trial,
        "same": r.is_same(tolerance),
        "deviation": r.deviation,
        "differences": [*r.differences, *([r.where] if r.where else [])],
    }


@app.command(rich_help_panel=AUDIT, epilog="Example: closedloop backup saved.db --ledger lab.db")
def backup(
    to: Annotated[Path, typer.Argument(help="The copy; it must not be there yet.")],
    *,
    ledger: options.Ledger = options.LEDGER,
) -> None:
    """Copy a ledger whole, also while campaigns run; leases stay behind."""
    ledger_reader.backup(ledger, to)
    say(f"wrote {to} ({to.stat().st_size / 1024:.0f} kB)")
