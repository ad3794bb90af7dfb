"""``best``: what was found, the front of a trade-off, and the setting to go on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ledger.rows import uncollected
from ..records import Started
from ..report.outcome import best_words
from ..report.story import Story, TrialStory, read_events
from ..report.words import number, plural, plus_minus, setting_words, value_words, with_unit
from . import options
from .application import LOOK, app
from .terminal import pairs, say, show, show_json, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from ..design.recommend import Recommended
    from ..records import AnyEvent


@app.command(rich_help_panel=LOOK, epilog="Example: closedloop best --ledger lab.db --json")
def best(
    *, ledger: options.Ledger = options.LEDGER, campaign: options.InLedger = None, as_json: options.AsJson = False
) -> None:
    """Show the best reading of the source at which the goal is to be reached, and the setting to go on with.

    Of a trade-off the whole Pareto front. The setting to go on with is that which is believed best there, for among
    noisy readings the best one flatters itself.
    """
    with uncollected():
        events = read_events(ledger, campaign)
        story = Story.of(events)
    found = _recommended(events, story)
    if as_json:
        data = best_data(story)
        show_json(data if found is None else {**(data or {}), "recommended": _recommended_data(found)})
        return
    if story.best is None and found is None:
        say(best_words(story))
        return
    rows = _best_rows(story, story.best) if story.best else []
    if found is not None:
        rows += _recommended_rows(story, found)
    show(pairs(rows))
    if story.front:
        show(_front(story))


def _best_rows(story: Story, t: TrialStory) -> list[tuple[str, Any]]:
    from .picture import table_of_readings

    words = f"{best_words(story)}   ({t.trial.source} #{t.number})"
    at = setting_words(t.trial.setting, story.declared.parameters)
    return [("best", words), ("at", at), ("reading", table_of_readings(story, t))]


def _recommended(events: Sequence[AnyEvent], story: Story) -> Recommended | None:
    """By the belief of the last event; None where there is none, or no best setting is sought."""
    first = events[0]
    seeks = story.declared.goal.kind in ("optimise", "prefer") and story.declared.belief != "climatology"
    if not seeks or not story.answered or not isinstance(first, Started):
        return None
    from ..campaign import Campaign
    from ..evolve import replay
    from ..recommending import recommended_of

    return recommended_of(replay(Campaign.trusted(first.campaign), events))


def _recommended_rows(story: Story, found: Recommended) -> list[tuple[str, Any]]:
    """The setting to go on with: the best reading's own, or another one."""
    is_best = story.best is not None and story.best.number in found.trials
    at = "the same setting" if is_best else setting_words(found.setting, story.declared.parameters)
    units = story.declared.responses
    expected = ", ".join(f"{r} {with_unit(plus_minus(m, found.sd[r]), units[r])}" for r, m in found.mean.items())
    read = f"read {plural(len(found.trials), 'time')}" if found.trials else "not read there yet"
    kept = f", keeps the constraints with {100 * found.p_feasible:.0f} %" if story.declared.goal.constraints else ""
    return [("recommended", at), ("expected", f"{expected} ({read}{kept})")]


def _recommended_data(found: Recommended) -> dict[str, Any]:
    return {
        "setting": found.setting,
        "mean": dict(found.mean),
        "sd": dict(found.sd),
        "trials": list(found.trials),
        "p_feasible": found.p_feasible,
    }


def _front(story: Story) -> Table:
    """The readings that none dominates, one a row."""
    aims, names = story.declared.goal.aims, list(story.declared.parameters)
    made = table("trial", *(a.label for a in aims), *names, title="the front", right=range(len(aims) + len(names) + 1))
    for t in sorted(story.front, key=lambda t: story.objectives(t.reading.values if t.reading else {})):
        values = map(number, story.objectives(t.reading.values if t.reading else {}))
        setting = (value_words(t.trial.setting[n]) if n in t.trial.setting else "" for n in names)
        made.add_row(f"#{t.number}", *values, *setting)
    return made


def best_data(story: Story) -> dict[str, Any] | None:
    """The best reading as plain data, and the front of a trade-off; None before the first reading."""
    found = story.best
    if found is None or found.reading is None:
        return None
    made = _reading_data(story, found)
    return {**made, "front": [_reading_data(story, t) for t in story.front]} if story.front else made


def _reading_data(story: Story, found: TrialStory) -> dict[str, Any]:
    assert found.reading is not None
    objectives = zip(story.declared.goal.aims, story.objectives(found.reading.values), strict=False)
    return {
        "trial": found.number,
        "setting": found.trial.setting,
        "reading": found.reading.values,
        "objective": story.objective(found.reading.values),
        "objectives": {a.text: x for a, x in objectives},
        "is_feasible": story.is_feasible(found.reading.values),
        "is_inside": story.declared.has(found.trial.setting),
    }
