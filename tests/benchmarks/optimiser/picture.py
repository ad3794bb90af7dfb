"""Regret against what was spent: a small picture a problem, medians with quartile bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from problem import Problem
from statistics_of import FLOOR, regret_at
from table import title_of

# Okabe and Ito 2008; colours that colour-blind people tell apart, with a line style each
STYLES = {
    "closedloop": ("#000000", "-", 2.2),
    "optuna_gp": ("#D55E00", "-", 1.3),
    "optuna_tpe": ("#E69F00", "--", 1.3),
    "ax": ("#0072B2", "-", 1.3),
    "baybe": ("#009E73", "-", 1.3),
    "xopt": ("#CC79A7", "-", 1.3),
    "botorch": ("#56B4E9", "--", 1.3),
    "botorch_mfkg": ("#56B4E9", "-.", 1.3),
    "sobol": ("#999999", ":", 1.3),
}
Cells = dict[str, list[dict[str, Any]]]


def draw(problems: dict[str, Problem], traces: dict[str, Cells], path: Path, *, budget: float | None) -> None:
    """One PNG with all problems that have results."""
    n_columns = min(4, len(traces))
    n_rows = -(-len(traces) // n_columns)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(4.6 * n_columns, 3.3 * n_rows + 0.6), squeeze=False, layout="constrained"
    )
    handles: dict[str, Any] = {}
    for axis, (name, cells) in zip(axes.flat, traces.items(), strict=False):
        handles |= _panel(axis, problems[name], cells, budget or problems[name].budget)
    for axis in axes.flat[len(traces) :]:
        axis.set_visible(False)
    figure.legend(handles.values(), [title_of(r) for r in handles], loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axis: Any, problem: Problem, cells: Cells, budget: float) -> dict[str, Any]:
    costs = np.linspace(0, budget, 121)[1:]
    handles = {}
    for rival, found in sorted(cells.items(), key=lambda item: item[0].startswith("closedloop")):  # ours on top
        colour, line, width = STYLES[rival.partition("@")[0]]
        if "@" in rival and "closedloop" in cells:
            colour, line = "#7f7f7f", "-."
        regrets = np.array([[regret_at(cell, cost) for cost in costs] for cell in found])
        known = np.isfinite(regrets).mean(axis=0) >= 0.5  # a median exists where half of the seeds have a value
        if not known.any():
            continue
        low, mid, high = np.quantile(regrets[:, known], [0.25, 0.5, 0.75], axis=0, method="nearest")
        high = np.where(np.isfinite(high), high, mid)
        (handles[rival],) = axis.plot(costs[known], mid, color=colour, ls=line, lw=width)
        axis.fill_between(costs[known], low, high, color=colour, alpha=0.13, lw=0)
    if problem.rows:  # a table's best row may be found exactly
        axis.set_ylim(bottom=0)
    else:
        axis.set_yscale("log")
        axis.set_ylim(bottom=max(axis.get_ylim()[0], FLOOR / 2))
    axis.set_title(problem.title, fontsize=10)
    axis.set_xlabel("cost" if len(problem.sources) > 1 else "trials", fontsize=8)
    axis.set_ylabel("hypervolume missing" if len(problem.aims) > 1 else "regret", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25, lw=0.5)
    return handles
