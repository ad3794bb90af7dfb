"""The world that a rival plays against: it answers, adds up cost and CPU time, and keeps the score by true values."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from problem import Problem, Setting

Readings = list[dict[str, float]]


class WrongOptimum(Exception):
    """A value was better than the problem's stated optimum."""


class OverBudget(Exception):
    """A rival asked for more than it may spend."""


def hypervolume(losses: np.ndarray, reference: np.ndarray) -> float:
    """The area between points (n, 2), less is better, and the reference point."""
    inside = losses[(losses < reference).all(axis=1)]
    area, ceiling = 0.0, float(reference[1])
    for a, b in inside[np.lexsort((inside[:, 1], inside[:, 0]))]:
        if b < ceiling:
            area += (reference[0] - a) * (ceiling - b)
            ceiling = float(b)
    return float(area)


class World:
    """Noise depends on problem, seed and the number of the trial only, so that all rivals meet the same."""

    def __init__(self, problem: Problem, seed: int, budget: float | None = None) -> None:
        self.problem, self.seed = problem, seed
        self.budget = problem.budget if budget is None else budget
        self.spent = 0.0
        self.costs: list[float] = []  # spent after each trial
        self.regrets: list[float | None] = []  # best so far, by its true value
        self.sources: list[str] = []
        self.cpu: list[tuple[int, float, int]] = []  # trials known, CPU seconds, settings asked for
        self.settings: list[Setting] = []
        self.measured: list[tuple[float, Setting]] = []  # what was read at the target, where feasible
        self.recommended: dict[str, float | None] = {}
        self.advise: Callable[[], Setting | None] | None = None  # the rival's own recommendation
        self._losses: list[list[float]] = []
        self._hypervolumes: list[float] = []
        self.begin()

    def begin(self) -> None:
        """From here on CPU time is the rival's."""
        self._since = time.process_time()

    @property
    def n_left(self) -> int:
        """How many trials of the target the budget still holds."""
        return int((self.budget - self.spent) / self.problem.target.cost + 1e-9)

    def affords(self, source: str) -> bool:
        return self.spent + self.problem.source(source).cost <= self.budget + 1e-9

    def measure(self, settings: Sequence[Setting], source: str | None = None) -> Readings:
        """The readings of a batch, noise included."""
        self.cpu.append((len(self.costs), time.process_time() - self._since, len(settings)))
        self._checkpoint()  # of what the rival has been told by now
        readings = [self._one(dict(setting), source or self.problem.target.name) for setting in settings]
        self._since = time.process_time()
        return readings

    @property
    def marks(self) -> dict[str, float]:
        """Where a recommendation is asked for, in cost spent."""
        return {"half": self.budget / 2, **{f"{level:g}": level for level in self.problem.levels}}

    def finish(self) -> None:
        """The recommendation at the end, and at levels that the last trial would have passed."""
        last = self._recommended()
        self.recommended |= {n: last for n in self.marks if n not in self.recommended}
        self.recommended["full"] = last

    def _one(self, setting: Setting, name: str) -> dict[str, float]:
        problem = self.problem
        source = problem.source(name)
        if not self.affords(name):
            raise OverBudget(f"{problem.name}: {self.spent:g} of {self.budget:g} spent; {name} costs {source.cost:g}")
        setting = problem.row_of({p.name: setting[p.name] for p in problem.parameters})
        true = dict(problem.evaluate(setting, name))
        key = (self.seed, zlib.crc32(problem.name.encode()), len(self.costs))
        noise = np.random.default_rng(key).standard_normal(len(problem.responses)) * source.noise
        reading = {r: float(true[r] + e) for r, e in zip(problem.responses, noise, strict=True)}
        self.spent += source.cost
        self.costs.append(round(self.spent, 6))
        self.sources.append(name)
        self.settings.append(setting)
        self.regrets.append(self._regret_so_far(true if name == problem.target.name else None))
        if name == problem.target.name and all(reading[c] <= 0 for c in problem.limited) and len(problem.aims) == 1:
            self.measured.append((problem.aims[0].loss(reading[problem.aims[0].response]), setting))
        return reading

    def _regret_so_far(self, true: dict[str, float] | None) -> float | None:
        before = self.regrets[-1] if self.regrets else None
        if true is None or any(true[c] > 0 for c in self.problem.limited):
            return before
        if len(self.problem.aims) > 1:
            return self._hypervolume_regret(true)
        now = self.regret_of(true)
        return now if before is None or now < before else before

    def regret_of(self, true: dict[str, float]) -> float:
        """By how much one feasible setting is worse than the optimum."""
        aim = self.problem.aims[0]
        regret = aim.loss(true[aim.response]) - aim.loss(self.problem.optimum)
        if regret < -self.problem.tolerance:
            raise WrongOptimum(f"{self.problem.name}: {true} is better than the optimum {self.problem.optimum}")
        return max(regret, 0.0)

    def _hypervolume_regret(self, true: dict[str, float]) -> float:
        aims = self.problem.aims
        self._losses.append([a.loss(true[a.response]) for a in aims])
        reference = np.array([a.loss(a.reference or 0.0) for a in aims])
        volume = hypervolume(np.array(self._losses), reference)
        if volume > self.problem.optimum + self.problem.tolerance:
            raise WrongOptimum(f"{self.problem.name}: hypervolume {volume} is above {self.problem.optimum}")
        return max(self.problem.optimum - volume, 0.0)

    def _checkpoint(self) -> None:
        due = [n for n, cost in self.marks.items() if n not in self.recommended and self.spent >= cost - 1e-9]
        if due:
            self.recommended |= dict.fromkeys(due, self._recommended())

    def _recommended(self) -> float | None:
        """The true regret of the setting that the rival recommends; its best reading, where it has no opinion."""
        if len(self.problem.aims) > 1:
            return self.regrets[-1] if self.regrets else None
        setting = self.advise() if self.advise and (self.problem.is_noisy or len(self.problem.sources) > 1) else None
        if setting is None:
            if not self.measured:
                return None
            setting = min(self.measured, key=lambda m: m[0])[1]
        true = dict(self.problem.evaluate(self.problem.row_of(dict(setting)), self.problem.target.name))
        return None if any(true[c] > 0 for c in self.problem.limited) else self.regret_of(true)
