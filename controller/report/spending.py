"""The section on the budget: what is left of each resource, and who took it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figure import EXPERIMENT, GOOD, INK, SIMULATION, drawing, quiet, svg
from .markup import Html, join, note, table
from .story import Story
from .study import Study
from .timeline import GROUPS, group_of
from .words import amount, duration, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = (EXPERIMENT, SIMULATION, GOOD, INK)


def spending(study: Study) -> Html:
    """What is left of each resource, trial by trial, and the table by source."""
    story = study.story
    drawn = note("Nothing was spent yet.")
    if story.answered:
        with drawing(height=3.0) as (figure, axes):
            _burn_down(axes, story)
            drawn = svg(figure, "budget", "What is left of each resource after each answer.")
    return join([drawn, _by_source(story)])


def _burn_down(axes: Axes, story: Story) -> None:
    n = range(len(story.answered) + 1)
    for k, (resource, limit) in enumerate(story.declared.budget.items()):
        left = [100.0, *(100 * (1 - story.trials[t].spent.get(resource, 0.0) / limit) for t in story.answered)]
        label = f"{resource} (of {duration(limit) if resource == 'time' else number(limit)})"
        axes.step(n, left, where="post", color=LINES[k % len(LINES)], lw=1.8, label=label)
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 104)
    axes.set_xlabel("answers")
    axes.set_ylabel("left (%)")
    axes.legend(loc="best")
    quiet(axes)


def _by_source(story: Story) -> Html:
    resources = list(story.declared.budget)
    there = {group_of(t) for t in story.trials.values()}
    shown = [group for group in GROUPS if group in ("read", "failed") or group in there]
    rows = []
    for name, source in story.declared.sources.items():
        trials = story.of_source(name)
        took: dict[str, float] = {}
        for t in trials:
            for r, x in t.cost.items():
                took[r] = took.get(r, 0.0) + x
        groups = [group_of(t) for t in trials]
        counts = [str(sum(g == group for g in groups)) for group in shown]
        rows.append([name, source.kind, *counts, *(amount(r, took.get(r, 0.0)) for r in resources)])
    total = [amount(r, story.spent.get(r, 0.0)) for r in resources]
    limits = [amount(r, b) for r, b in story.declared.budget.items()]
    blanks = ["" for _ in shown]
    totals = [str(sum(group_of(t) == group for t in story.trials.values())) for group in shown]
    rows += [["all", "", *totals, *total], ["budget", "", *blanks, *limits]]
    head = ["source", "kind", *shown, *resources]
    return table(head, rows, numeric=range(2, len(head)))
