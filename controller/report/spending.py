"""The sections on the budget and on time: what is left of each resource, who took it, and when each source was busy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .figure import BAD, EXPERIMENT, GOOD, INK, LINE, MANY, SIMULATION, drawing, quiet, svg
from .markup import Html, join, note, table
from .story import Story, TrialStory
from .study import Study
from .words import amount, duration, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = (EXPERIMENT, SIMULATION, GOOD, INK)
GROUPS = ("read", "failed", "open")


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
    rows = []
    for name, source in story.declared.sources.items():
        trials = story.of_source(name)
        took: dict[str, float] = {}
        for t in trials:
            for r, x in t.cost.items():
                took[r] = took.get(r, 0.0) + x
        groups = [group_of(t) for t in trials]
        counts = [sum(g == group for g in groups) for group in GROUPS]
        rows.append([name, source.kind, *map(str, counts), *(amount(r, took.get(r, 0.0)) for r in resources)])
    total = [amount(r, story.spent.get(r, 0.0)) for r in resources]
    limits = [amount(r, b) for r, b in story.declared.budget.items()]
    blanks = ["" for _ in GROUPS]
    rows += [["all", "", *blanks, *total], ["budget", "", *blanks, *limits]]
    head = ["source", "kind", *GROUPS, *resources]
    return table(head, rows, numeric=range(2, len(head)))


def timeline(study: Study) -> Html:
    """When each source was busy."""
    story = study.story
    if not story.trials or story.began is None:
        return note("Nothing was proposed yet.")
    names = list(story.declared.sources)
    with drawing(height=0.9 + 0.5 * len(names)) as (figure, axes):
        size, unit = _scale((story.last - story.began).total_seconds() if story.last else 0.0)
        for k, name in enumerate(names):
            _bars(axes, story, name, place=k, size=size)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(f"time since the start ({unit})")
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        axes.margins(x=0.01)
        return svg(figure, "timeline", "From proposal to answer; red gave no reading, open bars are not settled.")


def group_of(t: TrialStory) -> str:
    """Whether a trial gave a reading that counts, gave nothing, or is not settled."""
    if t.is_read:
        return "read"
    return "failed" if t.status in ("failed", "cancelled", "invalid") else "open"


def _bars(axes: Axes, story: Story, source: str, *, place: int, size: float) -> None:
    assert story.began is not None
    colour = EXPERIMENT if story.declared.sources[source].kind == "instrument" else SIMULATION
    parts: dict[str, list[tuple[float, float]]] = {group: [] for group in GROUPS}
    for t in story.of_source(source):
        if t.proposed is not None:
            start = (t.proposed - story.began).total_seconds() / size
            end = ((t.answered or story.last or t.proposed) - story.began).total_seconds() / size
            parts[group_of(t)].append((start, max(end - start, 0.0)))
    styles: dict[str, dict[str, Any]] = {
        "read": {"facecolors": colour, "alpha": 0.75},
        "failed": {"facecolors": BAD},
    }
    for group, spans in parts.items():
        if spans:
            edge = {"failed": BAD}.get(group, colour)
            style = styles.get(group, {"facecolors": "none"})
            bars = axes.broken_barh(spans, (place - 0.3, 0.6), edgecolors=edge, linewidths=0.6, **style)
            bars.set_rasterized(len(spans) > MANY)


def _scale(seconds: float) -> tuple[float, str]:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds > 3 * size:
            return size, unit
    return 1.0, "s"
