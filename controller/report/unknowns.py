"""The section on a simulator's unknowns: what was believed of each before any reading, and what is believed now."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .figure import EXPERIMENT, FAINT, SOFT, WIDTH, drawing, svg
from .markup import Html, join, table
from .study import Study
from .words import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..space import Array

PER_ROW = 4


def unknowns(study: Study) -> Html | None:
    """None where the belief has no unknowns."""
    belief: Any = study.belief
    if belief is None or not hasattr(belief, "unknown_samples") or not hasattr(belief, "prior_samples"):
        return None
    before, now = belief.prior_samples(), belief.unknown_samples()
    names = list(now.names)
    n_rows, n_columns = math.ceil(len(names) / PER_ROW), min(len(names), PER_ROW)
    width = WIDTH * max(0.4, n_columns / PER_ROW)
    with drawing(width, 2.1 * n_rows, nrows=n_rows, ncols=n_columns, squeeze=False) as (figure, grid):
        for axes in grid.flat:
            axes.set_axis_off()
        for k, (axes, name) in enumerate(zip(grid.flat, names, strict=False)):
            axes.set_axis_on()
            _densities(axes, name, before.values[:, k], now.values[:, k], is_log=_is_log(study, name))
        drawn = svg(figure, "unknowns", "Grey: before any reading. Blue: now. The line is the median.")
    rows = [_row(name, before.values[:, k], now.values[:, k]) for k, name in enumerate(names)]
    head = ["unknown", "before: median", "80 % interval", "now: median", "80 % interval", "width left"]
    return join([drawn, table(head, rows, numeric=range(1, 6))])


def _is_log(study: Study, name: str) -> bool:
    prior = next((s.unknowns[name] for s in study.campaign.sources.values() if name in s.unknowns), None)
    return prior is not None and prior.is_log


def _densities(axes: Axes, name: str, before: Array, now: Array, *, is_log: bool) -> None:
    change, back = (np.log, np.exp) if is_log else (np.asarray, np.asarray)
    a, b = change(before), change(now)
    x = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), 161)
    for values, colour, alpha in ((a, FAINT, 0.3), (b, EXPERIMENT, 0.4)):
        y = _density(values, x)
        axes.fill_between(back(x), y, color=colour, alpha=alpha, lw=0)
        axes.plot(back(x), y, color=colour, lw=1.2)
    axes.axvline(float(np.median(now)), color=EXPERIMENT, lw=1)
    axes.set_title(name)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if is_log:
        _log_axis(axes, back(x))
    axes.tick_params(axis="x", colors=SOFT)


def _log_axis(axes: Axes, x: Array) -> None:
    axes.set_xscale("log")
    low, middle, high = x[8], x[80], x[-9]
    axes.set_xticks([low, middle, high], [number(float(v), 2) for v in (low, middle, high)])
    axes.set_xticks([], minor=True)


def _density(values: Array, x: Array) -> Array:
    """A Gaussian kernel estimate (Silverman 1986), scaled to a height of one."""
    spread = float(values.std(ddof=1)) or 1e-12
    h = max(1.06 * spread * len(values) ** -0.2, 0.004 * float(x[-1] - x[0]) or 1e-12)
    y: Array = np.exp(-0.5 * ((x[:, None] - values) / h) ** 2).sum(axis=1)
    return y / (y.max() or 1.0)


def _row(name: str, before: Array, now: Array) -> list[str]:
    (a_low, a, a_high), (b_low, b, b_high) = (np.quantile(v, [0.1, 0.5, 0.9]) for v in (before, now))
    left = (b_high - b_low) / (a_high - a_low) if a_high > a_low else 1.0

    def interval(low: float, high: float) -> str:
        return f"{number(float(low), 3)} – {number(float(high), 3)}"

    medians = [number(float(v), 3) for v in (a, b)]
    return [name, medians[0], interval(a_low, a_high), medians[1], interval(b_low, b_high), f"{100 * left:.0f} %"]
