"""The sections on the belief: slices of what it expects, and of what it adds to the simulator, at the best setting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ClosedLoopError
from ..parameters import Categorical
from .figure import BAND, EXPERIMENT, FAINT, INK, WIDTH, drawing, labelled, svg
from .markup import Html, note
from .study import Study
from .words import number, value_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..belief import Prediction
    from ..records import Value
    from ..space import Array

N_POINTS = 61
N_DRAWN = 512  # of the responses, for the band of the objective
MAX_PARAMETERS, MAX_RESPONSES = 8, 8
Z_80 = 1.2816


@dataclass(frozen=True)
class Band:
    """A curve with its 80 % band; NaN where it has no value."""

    middle: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, mean: Array, sd: Array) -> Band:
        """Of a Gaussian."""
        return cls(mean, mean - Z_80 * sd, mean + Z_80 * sd)


@dataclass(frozen=True)
class Slice:
    """One parameter is moved, the others stay."""

    name: str
    parameter: Any
    values: list[Value]
    X: Array  # (n, c)


Predict = Callable[["Array"], "Prediction | None"]


def slices(study: Study) -> Html:
    """Responses and objective through the best setting."""
    belief, target = study.belief, study.story.declared.target
    if belief is None or not study.centre:
        return note("There is no belief yet.")
    predict = _guarded(lambda X: belief.predict(study.state.evidence, target, X))
    drawn = _draw(study, predict, name="slices", with_objective=True)
    if drawn is None:
        return note(f"The {belief.kind} belief cannot tell yet.")
    return drawn


def discrepancy(study: Study) -> Html | None:
    """What is added to the simulator; None where the belief adds nothing."""
    at: Any = getattr(study.belief, "discrepancy_at", None)
    if at is None or not study.centre:
        return None
    predict = _guarded(lambda X: at(study.state.evidence, X))
    return _draw(study, predict, name="discrepancy", with_objective=False)


def _guarded(predict: Predict) -> Predict:
    def safely(X: Array) -> Prediction | None:
        try:
            return predict(X)
        except ClosedLoopError:
            return None

    return safely


def cut(study: Study, name: str) -> Slice:
    """The slice of one parameter."""
    space = study.campaign.space
    p: Any = space.parameters[name]
    if isinstance(p, Categorical):
        values: list[Value] = list(p.choices)
    else:
        values = list(dict.fromkeys(p.decode([u]) for u in np.linspace(0, 1, N_POINTS)))
    return Slice(name, p, values, np.stack([space.encode({**study.centre, name: v}) for v in values]))


def drawn_parameters(study: Study) -> list[str]:
    """Those that take columns of the cube, and have a value at the centre."""
    return [n for n in study.campaign.space.varied if n in study.centre][:MAX_PARAMETERS]


def _draw(study: Study, predict: Predict, *, name: str, with_objective: bool) -> Html | None:
    cuts = [cut(study, p) for p in drawn_parameters(study)]
    predictions = [predict(c.X) for c in cuts]
    if any(p is None for p in predictions):
        return None
    responses = list(study.campaign.responses)[:MAX_RESPONSES]
    goal = study.campaign.goal
    is_plain = goal.kind != "optimise" or goal.aim.text.strip() in responses
    labels = [*(["objective"] if with_objective and not is_plain else []), *responses]
    height = 0.5 + 1.75 * len(labels)
    shape = {"nrows": len(labels), "ncols": len(cuts), "squeeze": False, "sharex": "col", "sharey": "row"}
    width = WIDTH * min(1.0, 0.34 * len(cuts) + 0.1)
    with drawing(width, height, **shape) as (figure, grid):
        for k, label in enumerate(labels):
            for j, (c, p) in enumerate(zip(cuts, predictions, strict=True)):
                assert p is not None
                band = (
                    _objective(study, p)
                    if label == "objective"
                    else _response(p, list(study.campaign.responses).index(label))
                )
                _panel(grid[k, j], study, c, band, label=label, is_discrepancy=not with_objective)
            unit = (
                study.story.declared.objective_unit if label == "objective" else study.story.declared.responses[label]
            )
            text = study.campaign.goal.expression.text if label == "objective" else label
            grid[k, 0].set_ylabel(labelled(text if len(text) < 26 else "objective", unit))
        for j, c in enumerate(cuts):
            grid[-1, j].set_xlabel(labelled(c.name, c.parameter.unit))
        return svg(figure, name, _caption(study, with_objective=with_objective))


def _response(p: Prediction, k: int) -> Band:
    return Band.of(p.mean[:, k], p.sd[:, k])


def _objective(study: Study, p: Prediction) -> Band:
    """By draws of the responses, taken as independent."""
    z = np.random.default_rng(0).standard_normal((N_DRAWN, 1, p.mean.shape[1]))
    drawn = p.mean + z * p.sd
    x = study.objectives({name: drawn[..., k] for k, name in enumerate(study.campaign.responses)})
    with np.errstate(all="ignore"):
        low, middle, high = np.nanquantile(x, [0.1, 0.5, 0.9], axis=0)
    return Band(middle, low, high)


def _panel(axes: Axes, study: Study, c: Slice, band: Band, *, label: str, is_discrepancy: bool) -> None:
    from matplotlib.ticker import LogLocator

    is_choice = isinstance(c.parameter, Categorical) or isinstance(c.values[0], str)
    x = np.arange(len(c.values)) if is_choice else np.array(c.values, dtype=float)
    if is_choice:
        axes.errorbar(
            x, band.middle, yerr=[band.middle - band.low, band.high - band.middle], fmt="o", ms=4, color=EXPERIMENT
        )
        axes.set_xticks(x, [value_words(v)[:14] for v in c.values])
    else:
        axes.fill_between(x, band.low, band.high, color=BAND, alpha=0.35, lw=0)
        axes.plot(x, band.middle, color=EXPERIMENT, lw=1.6)
        if getattr(c.parameter, "scale", "linear") == "log":
            axes.set_xscale("log")
            if x[-1] < 300 * x[0]:
                axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(lambda v, _: number(v, 3))
            axes.xaxis.set_minor_formatter(lambda v, _: "")
    if is_discrepancy:
        axes.axhline(0, color=INK, lw=0.8)
    else:
        _readings(axes, study, c, label)
    at = study.centre[c.name]
    axes.axvline(c.values.index(at) if is_choice else float(at), color=FAINT, lw=0.8, ls=":")


def _readings(axes: Axes, study: Study, c: Slice, label: str) -> None:
    """The target's readings, fainter the farther their setting is from the slice."""
    o = study.state.evidence.of(study.campaign.target)
    if not len(o):
        return
    columns = study.campaign.space.columns[c.name]
    others = [k for k in range(study.campaign.space.n_columns) if not columns.start <= k < columns.stop]
    centre = study.campaign.space.encode(study.centre)
    far = np.sqrt(((o.X[:, others] - centre[others]) ** 2).sum(axis=1)) if others else np.zeros(len(o))
    named = {name: o.Y[:, k] for k, name in enumerate(study.campaign.responses)}
    y = study.objectives(named) if label == "objective" else named[label]
    at = [c.parameter.decode(row[columns]) for row in o.X]
    places = [c.values.index(v) for v in at] if isinstance(at[0], str) else np.array(at, dtype=float)
    colours = np.zeros((len(o), 4))
    colours[:, :3] = [int(EXPERIMENT[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    colours[:, 3] = np.clip(np.exp(-3.0 * far), 0.08, 1.0)
    axes.scatter(places, y, s=13, c=colours, linewidths=0, zorder=3, rasterized=len(o) > 300)


def _caption(study: Study, *, with_objective: bool) -> str:
    if not with_objective:
        return "What the belief adds to the assimilated simulator, with 80 % bands; at 0 the simulator is right."
    best = "the best setting" if study.story.best else "the first setting"
    return (
        f"What a reading of {study.story.declared.target} would be when one parameter moves and the others stay at "
        f"{best} (dotted), with 80 % bands. Dots are readings, fainter the farther their setting is from the slice."
    )
