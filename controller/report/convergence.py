"""The section on convergence: the best feasible objective against what was spent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .figure import BAD, EXPERIMENT, FAINT, GOOD, MANY, SIMULATION, drawing, labelled, quiet, svg
from .markup import Html, join, note
from .story import Story, TrialStory
from .study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Marks = list[tuple[float, float]]  # spent, objective


def convergence(study: Study) -> Html | None:
    """Each reading where its cost ended, and the line of the best so far."""
    story = study.story
    if story.declared.goal.kind != "optimise":
        return None
    if not any(t.is_read or t.status == "failed" for t in (story.trials[n] for n in story.answered)):
        return note("Nothing was read yet.")
    resource = story.declared.main_resource
    with drawing(height=3.8) as (figure, axes):
        _draw(axes, story, resource)
        unit = {"time": "s", "trials": ""}.get(resource, "")
        axes.set_xlabel(labelled(f"{resource} spent", unit))
        axes.set_ylabel(_objective_label(story))
        quiet(axes)
        return join([svg(figure, "convergence", _caption(story))])


def _draw(axes: Axes, story: Story, resource: str) -> None:
    target = story.declared.target
    feasible: Marks = []
    broken: Marks = []
    simulated: Marks = []
    for t in (story.trials[n] for n in story.answered):
        x = story.objective(t.reading.values) if t.reading and t.is_read else None
        if x is None or t.reading is None:
            continue
        mark = (t.spent.get(resource, 0.0), x)
        if t.trial.source != target:
            simulated.append(mark)
        else:
            (feasible if story.is_feasible(t.reading.values) else broken).append(mark)
    many = len(simulated) + len(feasible) + len(broken) > MANY
    _marks(axes, simulated, "simulation", color=SIMULATION, marker="|", s=46, alpha=0.75, rasterized=many)
    _marks(
        axes, broken, "experiment that breaks a constraint", facecolors="none", edgecolors=BAD, s=30, rasterized=many
    )
    _marks(axes, feasible, "experiment", color=EXPERIMENT, s=30, rasterized=many)
    best = _best_line(story, resource)
    if best:
        end = max(story.spent.get(resource, 0.0), best[-1][0])
        axes.step(*zip(*best, (end, best[-1][1]), strict=True), where="post", color=GOOD, lw=2, label="best so far")
    failed = [t.spent.get(resource, 0.0) for t in story.trials.values() if t.status == "failed"]
    if failed:
        axes.plot(
            failed, [0.02] * len(failed), "x", color=FAINT, ms=5, transform=axes.get_xaxis_transform(), label="failed"
        )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=5)


def _marks(axes: Axes, marks: Marks, label: str, **style: Any) -> None:
    if marks:
        axes.scatter(*zip(*marks, strict=True), label=label, linewidths=1.2, **style)


def _best_line(story: Story, resource: str) -> Marks:
    def mark(at: TrialStory, best: TrialStory) -> tuple[float, float] | None:
        x = story.objective(best.reading.values) if best.reading and story.is_feasible(best.reading.values) else None
        return None if x is None else (at.spent.get(resource, 0.0), x)

    return [m for at, best in story.course if (m := mark(at, best)) is not None]


def _objective_label(story: Story) -> str:
    return labelled(story.declared.goal.aim.label, story.declared.objective_unit)


def _caption(story: Story) -> str:
    target = story.declared.target
    ticks = (
        f" Ticks are what a simulator answered; only {target} counts for the goal."
        if len(story.declared.sources) > 1
        else ""
    )
    return f"Each reading stands where its cost was paid.{ticks}"
