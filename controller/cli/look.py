"""``status`` and ``show``: where a campaign stands, from its ledger alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..calibration import LEVELS
from ..errors import LedgerError
from ..ledger.reader import Holder, campaigns
from ..records import Failed
from ..report.lookup import read_standing
from ..report.sayings import saying
from ..report.story import Story, TrialStory, read_story
from ..report.words import (
    clock,
    duration,
    number,
    printable,
    setting_words,
    value_words,
)
from ..steering import controller_of
from . import options
from .application import LOOK, app
from .best import best_data
from .people import Place, forecast_words
from .terminal import pairs, say, show, show_json, table

if TYPE_CHECKING:
    from rich.table import Table

    from ..calibration import Calibration

FAILURE = {"cause", "message", "is_in_doubt", "info"}


@app.command(rich_help_panel=LOOK, epilog="Example: closedloop status --ledger lab.db")
def status(
    *, ledger: options.Ledger = options.LEDGER, campaign: options.InLedger = None, as_json: options.AsJson = False
) -> None:
    """Show where a campaign stands: best so far, spending, what runs, forecast against reading."""
    story = read_standing(ledger, campaign)
    holder = controller_of(ledger, story.declared.name)
    if as_json:
        show_json(status_data(story, holder))
        return
    from .picture import now_utc, picture

    place = Place(ledger, story.declared.name, len(campaigns(ledger)) == 1)
    show(picture(story, now=now_utc() if holder else None, place=place, is_run=holder is not None))
    if holder is not None:
        say(f"run by process {holder.pid} on {holder.host} since {clock(holder.started)}")
    elif not story.stopped:
        say(f"not running; go on with: {place.resume()}")


@app.command(name="show", rich_help_panel=LOOK, epilog="Example: closedloop show 12 --ledger lab.db")
def show_trial(
    trial: Annotated[int, typer.Argument(help="The trial's number.")],
    *,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one trial: settings, forecast, reading, innovation, why it was chosen and what else was weighed."""
    story = read_story(ledger, campaign)
    if trial not in story.trials:
        known = f"1 to {max(story.trials)}" if story.trials else "none"
        raise LedgerError(f"trial {trial} is not in campaign {story.declared.name!r} (there: {known})")
    found = story.trials[trial]
    if as_json:
        show_json(_trial_data(found))
        return
    show(pairs(_trial_rows(story, found)))
    if found.trial.alternatives:
        show(_alternatives(story, found))


def _trial_rows(story: Story, t: TrialStory) -> list[tuple[str, Any]]:
    from .picture import table_of_readings

    units = story.declared.parameters
    rows: list[tuple[str, Any]] = [
        ("trial", f"#{t.number} on {t.trial.source}, {t.status}, proposed by the {t.by} at {clock(t.proposed)}"),
        ("setting", setting_words(t.trial.setting, units)),
    ]
    if t.reading and t.reading.achieved:
        rows.append(("achieved", setting_words(t.reading.achieved, units)))
    if t.seconds is not None:
        rows.append(("took", duration(t.seconds)))
    rows.append(("why", t.trial.why.text or "no reason was given"))
    if t.trial.why.gain is not None:
        gain = f"{number(t.trial.why.gain)} for {number(100 * (t.trial.why.cost or 0.0), 2)} % of the budget"
        rows.append(("gain", gain))
    rows += _history(story, t)
    rows.append(
        ("reading" if t.reading else "forecast", table_of_readings(story, t) if t.reading else forecast_words(story, t))
    )
    return rows


def _history(story: Story, t: TrialStory) -> list[tuple[str, str]]:
    """What people, rules and the hands did with it, in order; beside a failure what the device said."""
    rows = [("asked", f"a person must approve it: {t.asks}")] if t.asks else []
    before = t.proposal.setting if t.proposal else None
    for event in t.history:
        words = saying(event, units=story.declared.parameters, before=before).removeprefix(f"#{t.number}").strip()
        rows.append((event.kind, f"{words} at {clock(event.time)}".strip()))
        if isinstance(event, Failed) and event.info:
            rows.append(("device said", ", ".join(f"{k}: {v}" for k, v in event.info.items())))
    return [*rows, ("attempts", str(t.attempt))] if t.attempt > 1 else rows


def _alternatives(story: Story, t: TrialStory) -> Table:
    names = list(story.declared.parameters)
    made = table("weighed and not taken", *names, "gain", "cost %", "note", right=range(1, len(names) + 3))
    for a in t.trial.alternatives:
        values = [printable(value_words(a.setting[n])) if n in a.setting else "" for n in names]
        made.add_row(a.source, *values, number(a.gain, 3), number(100 * a.cost, 2), printable(a.note))
    return made


def status_data(story: Story, holder: Holder | None) -> dict[str, Any]:
    """Where a campaign stands, as plain data."""
    lost = [] if holder or story.stopped else story.in_status("acting")
    return {
        "campaign": story.declared.name,
        "unsafe": story.unsafe,
        "warm_start": story.recalled,
        "events": story.seq,
        "best": best_data(story),
        "spent": story.spent,
        "budget": story.declared.budget,
        "trials": max(story.trials, default=0),
        "experiments": story.n_answered("instrument"),
        "simulations": story.n_answered("simulator"),
        "failed": story.n_failed(),
        "running": [_trial_at(t) for t in story.running if holder or t not in lost],
        "cut_off": [_trial_at(t) for t in lost],
        "calibration": {
            "all": _calibration_data(story.worth()),
            "second_half": _calibration_data(story.late_worth()),
        },
        "stop": story.declared.raw.get("stop"),
        "stopped": story.stopped.reason if story.stopped else None,
        "stopped_figures": story.stopped.figures if story.stopped else {},
        "paused": {"by": story.paused.by, "reason": story.paused.reason} if story.paused else None,
        "pauses": [{"by": p.by, "reason": p.reason} for p in sorted(story.pauses.values(), key=lambda p: p.seq)],
        "ending": story.ending.mode if story.ending else None,
        "waiting": [t.number for t in story.in_status("proposed")],
        "in_doubt": [t.number for t in story.in_status("unknown")],
        "set_aside": [t.number for t in story.in_status("invalid") if t.reading],
        "late": [t.number for t in story.in_status("late")],
        "not_run": [t.number for t in story.in_status("cancelled")],
        "controller": {"host": holder.host, "pid": holder.pid} if holder else None,
    }


def _trial_at(t: TrialStory) -> dict[str, Any]:
    return {"trial": t.number, "source": t.trial.source, "setting": t.trial.setting}


def _calibration_data(score: Calibration | None) -> dict[str, Any] | None:
    if score is None:
        return None
    coverage = {f"{100 * level:.0f}": c for level, c in zip(LEVELS, score.coverage, strict=True)}
    return {"n": score.n, "mean_z": score.mean_z, "sd_z": score.sd_z, "coverage": coverage}


def _trial_data(t: TrialStory) -> dict[str, Any]:
    """A trial whole, its innovation worked out."""
    z = {r: s.z for r in t.trial.forecast.mean if (s := t.scored(r)) is not None}
    return {
        **t.trial.model_dump(mode="json"),
        "by": t.by,
        "status": t.status,
        "proposed": t.proposed,
        "answered": t.answered,
        "reading": t.reading.model_dump(mode="json") if t.reading else None,
        "failure": t.failure.model_dump(mode="json", include=FAILURE) if t.failure else None,
        "asks": t.asks or None,
        "attempts": t.attempt,
        "spent": dict(t.cost),
        "history": [event.model_dump(mode="json", exclude={"v", "letter"}) for event in t.history],
        "z": z,
    }
