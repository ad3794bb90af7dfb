"""The section on a trade-off: the readings by their objectives, the Pareto front, and the volume that it dominates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..pareto import corner, hypervolume
from .figure import BAD, EXPERIMENT, FAINT, GOOD, MANY, drawing, labelled, quiet, svg
from .markup import Html, el, join, note, table
from .outcome import objectives_words
from .ranking import upward, with_one_more
from .words import number, setting_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..aim import Aim
    from .story import Story, TrialStory
    from .study import Study

MAX_PAIRS = 3  # panels beside that of the volume
MAX_ROWS = 40  # of the front's table


def front(study: Study) -> Html | None:
    """None where there is one objective or none."""
    story = study.story
    aims = story.declared.goal.aims
    if story.declared.goal.kind != "trade_off":
        return None
    read = [t for n in story.answered if (t := story.trials[n]).is_read and t.trial.source == story.declared.target]
    read = [t for t in read if t.reading and story.objectives(t.reading.values)]
    if not read:
        return note("Nothing was read yet.")
    pairs = [(i, j) for i in range(len(aims)) for j in range(i + 1, len(aims))][:MAX_PAIRS]
    with drawing(height=3.8, ncols=len(pairs) + 1, squeeze=False) as (figure, grid):
        for (i, j), axes in zip(pairs, grid[0], strict=False):
            _scatter(axes, story, read, i, j)
        reference = _volume(grid[0, -1], story, read)
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        drawn = svg(figure, "front", _caption(aims, reference))
    return join([drawn, _table(story)])


def _scatter(axes: Axes, story: Story, read: Sequence[TrialStory], i: int, j: int) -> None:
    aims, on_front = story.declared.goal.aims, {t.number for t in story.front}
    marks: dict[str, list[tuple[float, float]]] = {"front": [], "dominated": [], "breaks a constraint": []}
    for t in read:
        assert t.reading is not None
        x = story.objectives(t.reading.values)
        is_kept = story.is_feasible(t.reading.values)
        kind = "front" if t.number in on_front else "dominated" if is_kept else "breaks a constraint"
        marks[kind].append((x[i], x[j]))
    styles: dict[str, dict[str, Any]] = {
        "dominated": {"color": EXPERIMENT, "s": 26, "alpha": 0.6},
        "breaks a constraint": {"facecolors": "none", "edgecolors": BAD, "s": 26},
        "front": {"color": GOOD, "s": 42, "zorder": 3},
    }
    for kind, style in styles.items():
        if marks[kind]:
            axes.scatter(*zip(*marks[kind], strict=True), label=kind, rasterized=len(read) > MANY, **style)
    if marks["front"] and len(aims) == 2:
        axes.plot(*zip(*sorted(marks["front"]), strict=True), color=GOOD, lw=1.2, alpha=0.6)
    for k, line in ((i, axes.axvline), (j, axes.axhline)):
        if (threshold := story.declared.goal.thresholds.get(aims[k].text)) is not None:
            line(threshold, color=FAINT, lw=0.8, ls=":")
    axes.set_xlabel(labelled(aims[i].label, story.declared.unit_of(aims[i])))
    axes.set_ylabel(labelled(aims[j].label, story.declared.unit_of(aims[j])))
    quiet(axes)


def _volume(axes: Axes, story: Story, read: Sequence[TrialStory]) -> tuple[float, ...] | None:
    """What the front dominated after each reading, with one reference point throughout."""
    goal = story.declared.goal
    points = upward(story.declared, story.front)
    if not points:
        axes.set_axis_off()
        return None
    given = goal.thresholds
    reference = corner(points, [a.floor(given[a.text]) if a.text in given else None for a in goal.aims])
    course: list[float] = []
    kept: list[TrialStory] = []
    for t in read:
        kept = with_one_more(story.declared, kept, t)
        course.append(hypervolume(upward(story.declared, kept), reference))
    axes.step(range(1, len(course) + 1), course, where="post", color=GOOD, lw=2)
    axes.set_xlabel("readings")
    axes.set_ylabel("volume that the front dominates")
    quiet(axes)
    return tuple(a.in_words(r) for a, r in zip(goal.aims, reference, strict=True))


def _caption(aims: Sequence[Aim], reference: tuple[float, ...] | None) -> str:
    if reference is None:
        return "No reading keeps the constraints yet, so there is no front."
    words = ", ".join(f"{a.label} {number(r)}" for a, r in zip(aims, reference, strict=True))
    return (
        "Readings of which none is better in every objective make the front. The volume is that between the front and "
        f"the reference point {words}: the thresholds where some are declared, else a tenth of the front's range "
        "beyond its worst values."
    )


def _table(story: Story) -> Html:
    rows = [
        [f"#{t.number}", objectives_words(story, t), setting_words(t.trial.setting, story.declared.parameters)]
        for t in story.front[:MAX_ROWS]
    ]
    more = len(story.front) - len(rows)
    made = table(["trial", "objectives", "setting"], rows)
    return el("div", made, note(f"and {more} more; see 'closedloop best'") if more > 0 else None)
