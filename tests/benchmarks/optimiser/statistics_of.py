"""Medians, quartiles, seconds and ranks of the cells of one problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from problem import Problem
from scipy.stats import mannwhitneyu, rankdata

FLOOR = 1e-6  # regrets below it are equal
N_FOR_TIES = 4
AT_TRIALS = (45, 55)  # where seconds for a decision are read, if the budget reaches there


@dataclass(frozen=True)
class Standing:
    """How one rival did on one problem; regrets are infinite where nothing feasible was found."""

    n_seeds: int
    evaluated: dict[str, np.ndarray]  # at "half" and "full", one a seed: the best setting that was evaluated
    recommended: dict[str, np.ndarray]  # the setting that was recommended, by its true value
    seconds: float  # CPU for a decision, at 50 trials
    others: tuple[float, float]  # share of the spending that went to other sources than the target: half, full

    def score(self, problem: Problem, when: str = "full") -> np.ndarray:
        """What ranks are made of: the recommended setting where readings are noisy or sources compete."""
        has_advice = problem.is_noisy or len(problem.sources) > 1
        return self.recommended[when] if has_advice else self.evaluated[when]


def standing(problem: Problem, cells: list[dict[str, Any]], budget: float) -> Standing:
    """The cells of one rival, one a seed."""
    marks = {"half": budget / 2, "full": budget, **{f"{level:g}": level for level in problem.levels}}
    evaluated: dict[str, list[float]] = {name: [] for name in marks}
    recommended: dict[str, list[float]] = {name: [] for name in marks}
    seconds = []
    for cell in cells:
        for when, cost in marks.items():
            evaluated[when].append(regret_at(cell, cost))
            found = cell["recommended"].get(when)
            recommended[when].append(np.inf if found is None else max(found, FLOOR))
        seconds += decision_seconds(cell)
    return Standing(
        n_seeds=len(cells),
        evaluated={k: np.array(v) for k, v in evaluated.items()},
        recommended={k: np.array(v) for k, v in recommended.items()},
        seconds=float(np.median(seconds)) if seconds else np.nan,
        others=(spent_on_others(cells, problem, budget / 2), spent_on_others(cells, problem, budget)),
    )


def regret_at(cell: dict[str, Any], cost: float) -> float:
    """Best so far when ``cost`` is spent."""
    n = int(np.searchsorted(cell["cost"], cost + 1e-6))
    found = cell["regret"][n - 1] if n else None
    return np.inf if found is None else max(found, FLOOR)


def spent_on_others(cells: list[dict[str, Any]], problem: Problem, cost: float) -> float:
    """Mean share of what was spent up to ``cost`` that went to other sources than the target."""
    shares = []
    for cell in cells:
        steps = np.diff([0.0, *cell["cost"]])
        is_before = np.array(cell["cost"]) <= cost + 1e-6
        is_other = np.array([s != problem.target.name for s in cell["sources"]] or [False] * len(steps))
        shares.append(steps[is_before & is_other].sum() / max(steps[is_before].sum(), 1e-12))
    return float(np.mean(shares)) if shares else 0.0


def decision_seconds(cell: dict[str, Any]) -> list[float]:
    """CPU for each decision at about 50 trials; of the last ten decisions, if there are fewer trials."""
    near = [s for n, s, _ in cell["cpu"] if AT_TRIALS[0] <= n <= AT_TRIALS[1]]
    return near or [s for _, s, _ in cell["cpu"][-10:]]


@dataclass(frozen=True)
class Rank:
    """Place by median; ``is_first``: statistically tied with the best."""

    place: float
    is_first: bool
    p: float


def ranks(scores: dict[str, np.ndarray]) -> dict[str, Rank]:
    """Those tied with the best (Mann–Whitney, two-sided, p > 0.05) share the mean of their places.

    Below ``N_FOR_TIES`` seeds the test can never say that two differ, so then only equal medians tie.
    """
    medians = {name: float(np.median(s)) for name, s in scores.items()}
    best = min(medians, key=lambda n: medians[n])
    p = {name: p_value(s, scores[best]) for name, s in scores.items()}
    is_told = {name: min(len(s), len(scores[best])) >= N_FOR_TIES for name, s in scores.items()}
    tied = [name for name in scores if (is_told[name] and p[name] > 0.05) or medians[name] == medians[best]]
    key = [(-1.0 if name in tied else medians[name]) for name in scores]
    places = rankdata(key)
    return {n: Rank(float(r), n in tied, p[n]) for n, r in zip(scores, places, strict=True)}


def p_value(a: np.ndarray, b: np.ndarray) -> float:
    """Whether two sets of regrets differ."""
    if a is b or (a.shape == b.shape and (np.sort(a) == np.sort(b)).all()):
        return 1.0
    return float(mannwhitneyu(a, b, alternative="two-sided").pvalue)


def spread(x: np.ndarray) -> str:
    """Median and quartiles; an infinite one is written as a dash."""
    low, mid, high = np.quantile(x, [0.25, 0.5, 0.75], method="nearest")
    mid = float(np.median(x))
    return f"{_number(mid)} [{_number(low)}, {_number(high)}]"


def _number(x: float) -> str:
    if not np.isfinite(x):
        return "–"
    return f"{x:.2g}" if abs(x) < 100 else f"{x:.0f}"
