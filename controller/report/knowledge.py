"""The section on what is to be learned or mapped: how much is left to know, and a map of what is known where."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from ..errors import BeliefError
from ..parameters import Continuous, Integer, Stepped
from .figure import EXPERIMENT, FAINT, GOOD, INK, drawing, labelled, quiet, svg
from .markup import Html, note
from .outcome import KNOWLEDGE, knowledge_course
from .words import number, value_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..belief import Decider
    from ..space import Array
    from .study import Study

N_GRID = 41  # points along each side of the map


def knowledge(study: Study) -> Html | None:
    """None where a best setting is sought."""
    kind = study.story.declared.goal.kind
    if kind not in ("learn", "map"):
        return None
    course = knowledge_course(study.story)
    names = [n for n, p in study.campaign.parameters.items() if isinstance(p, Continuous | Integer | Stepped)][:2]
    shown = _shown(study, names) if names and study.centre else None
    if course is None and shown is None:
        return note("Nothing was read yet, or the belief cannot tell.")
    with drawing(height=3.8, ncols=(course is not None) + (shown is not None), squeeze=False) as (figure, grid):
        if course is not None:
            _course(grid[0, 0], *course)
        if shown is not None:
            _draw(grid[0, -1], study, names, *shown)
        return svg(figure, "knowledge", _caption(study, names if shown is not None else []))


def _course(axes: Axes, name: str, values: list[float]) -> None:
    axes.plot(range(1, len(values) + 1), [100 * v for v in values], color=GOOD, lw=2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("decisions of the belief")
    axes.set_ylabel(f"% {KNOWLEDGE[name]}")
    quiet(axes)


def _shown(study: Study, names: list[str]) -> tuple[Array, Array] | None:
    """Settings of a grid (n, c) and what is known there (n,): the chance to be inside, or the standard deviation."""
    from ..belief.standardised import tamed
    from ..design.gain import situation_of
    from ..design.region import inside_at
    from ..design.utility import moments

    if study.belief is None or not hasattr(study.belief, "target_model"):
        return None
    space, sides = study.campaign.space, [_side(study, n) for n in names]
    places = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, len(names))
    settings = ({**study.centre, **dict(zip(names, place, strict=True))} for place in places.tolist())
    X = np.stack([space.encode(setting) for setting in settings])
    try:
        s = situation_of(
            cast("Decider", study.belief), tamed(study.state.evidence), study.campaign, np.random.default_rng(0)
        )
        if study.campaign.goal.kind == "map":
            return X, inside_at(s, X)
        size = np.maximum(s.readings.std(axis=0), 1e-300)
        return X, (moments(s.model, X)[1] / size).mean(axis=1)
    except (BeliefError, ArithmeticError, ValueError, RuntimeError):
        return None


def _side(study: Study, name: str) -> Array:
    """The values of a parameter along a side of the map."""
    p = study.campaign.parameters[name]
    assert isinstance(p, Continuous | Integer | Stepped)
    return np.unique([float(p.decode([u])) for u in np.linspace(0, 1, N_GRID)])


def _draw(axes: Axes, study: Study, names: list[str], X: Array, known: Array) -> None:
    is_map = study.campaign.goal.kind == "map"
    sides = [_side(study, n) for n in names]
    read = [t.trial.setting for t in study.story.of_source(study.story.declared.target) if t.is_read]
    if len(names) == 1:
        axes.plot(sides[0], known, color=EXPERIMENT, lw=1.6)
        axes.plot([float(s[names[0]]) for s in read], [0.0] * len(read), "|", color=INK, ms=10)
        axes.set_ylabel("probability inside" if is_map else "standard deviation, in that of the readings")
    else:
        Z = known.reshape(len(sides[0]), len(sides[1])).T
        top, colours = (1.0, "BrBG") if is_map else (None, "viridis")
        drawn = axes.pcolormesh(*sides, Z, cmap=colours, vmin=0.0, vmax=top, shading="nearest", rasterized=True)
        axes.figure.colorbar(drawn, ax=axes, label="probability inside" if is_map else "sd / sd of the readings")
        if is_map and Z.min() < 0.5 < Z.max():
            axes.contour(*sides, Z, levels=[0.5], colors=[INK], linewidths=1.4)
        x, y = ([float(s[n]) for s in read] for n in names)
        axes.scatter(x, y, s=14, color=FAINT, edgecolors=INK, linewidths=0.6)
        axes.set_ylabel(labelled(names[1], study.campaign.parameters[names[1]].unit))
    for name, scale in zip(names, (axes.set_xscale, axes.set_yscale), strict=False):
        if getattr(study.campaign.parameters[name], "scale", "linear") == "log":
            scale("log")
    axes.set_xlabel(labelled(names[0], study.campaign.parameters[names[0]].unit))


def _caption(study: Study, names: list[str]) -> str:
    goal = study.campaign.goal
    if not names:
        return "What is left to know, as each decision of the belief saw it."
    others = {n: v for n, v in study.centre.items() if n not in names}
    rest = f", with {', '.join(f'{n} {value_words(v)}' for n, v in others.items())}" if others else ""
    if goal.kind == "map":
        share = [t.trial.why.figures["inside"] for t in study.story.trials.values() if "inside" in t.trial.why.figures]
        size = f" About {number(100 * share[-1], 2)} % of the space lies inside." if share else ""
        conditions = " and ".join(c.text for c in goal.conditions)
        return f"The probability that {conditions}{rest}; at the line as likely as not.{size}"
    return f"The standard deviation of what is believed of {', '.join(goal.wanted)}{rest}; dots are readings."
