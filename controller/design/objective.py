"""The campaign's goal as the acquisition functions want it: larger is better, scaled to about one.

Where an expression has no value (the logarithm of a negative sample), the sample counts as bad and infeasible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..aim import Aim
from ..goal import Goal

if TYPE_CHECKING:
    from botorch.acquisition.objective import GenericMCObjective
    from torch import Tensor

    from ..space import Array

BAD = -1e3  # of a scaled objective without a value: far below anything that was read
BROKEN = -1e3  # of a scaled margin without a value


@dataclass(frozen=True)
class Objective:
    """The goal over arrays of responses (..., m), in NumPy or torch.

    Scaled values are (objective - centre) / scale, and margins over their own scale.
    """

    goal: Goal
    responses: tuple[str, ...]
    center: float
    scale: float
    margin_scales: tuple[float, ...]
    place: int = 0  # of the aim among the goal's

    @classmethod
    def fit(cls, goal: Goal, responses: tuple[str, ...], Y: Array, *, place: int = 0) -> Objective:
        """With the scales of the readings Y of shape (n, m)."""
        sizes = cls.margins_of(goal, responses, Y)
        plain = cls(goal, responses, 0.0, 1.0, sizes, place)
        center, scale = _center_and_scale(plain._raw(Y, lib=np))
        return cls(goal, responses, center, scale, sizes, place)

    @staticmethod
    def margins_of(goal: Goal, responses: tuple[str, ...], Y: Array) -> tuple[float, ...]:
        """The usual size of each outcome margin over the readings Y (n, m)."""
        plain = Objective(goal, responses, 0.0, 1.0, (1.0,) * len(goal.constraints))
        return tuple(_size(plain._raw_margin(k, Y, lib=np)) for k in range(len(goal.constraints)))

    @property
    def aim(self) -> Aim:
        """What it is of."""
        return self.goal.aims[self.place]

    def values(self, Y: Any, *, lib: Any) -> Any:
        """The scaled objective (...)."""
        with np.errstate(all="ignore"):
            x = (self._raw(Y, lib=lib) - self.center) / self.scale
        return lib.where(lib.isfinite(x), x, BAD)

    def margins(self, Y: Any, *, lib: Any) -> list[Any]:
        """Each scaled outcome margin (...), >= 0 where the constraint holds."""
        return [self.margin(k, Y, lib=lib) for k in range(len(self.margin_scales))]

    def margin(self, k: int, Y: Any, *, lib: Any) -> Any:
        """The k-th of them."""
        with np.errstate(all="ignore"):
            margin = self._raw_margin(k, Y, lib=lib) / self.margin_scales[k]
        return lib.where(lib.isfinite(margin), margin, BROKEN)

    def for_botorch(self) -> tuple[GenericMCObjective, list[Callable[[Tensor], Tensor]] | None]:
        """The Monte Carlo objective over samples (..., m), and callables that are negative where feasible."""
        import torch
        from botorch.acquisition.objective import GenericMCObjective

        def constraint(k: int) -> Callable[[Tensor], Tensor]:
            return lambda Y: -self.margin(k, Y, lib=torch)

        constraints = [constraint(k) for k in range(len(self.margin_scales))]
        return GenericMCObjective(lambda Y, X=None: self.values(Y, lib=torch)), constraints or None

    def _raw(self, Y: Any, *, lib: Any) -> Any:
        with np.errstate(all="ignore"):
            return self.aim.objective(self._named(Y), lib=lib) + 0.0 * Y[..., 0]

    def _raw_margin(self, k: int, Y: Any, *, lib: Any) -> Any:
        with np.errstate(all="ignore"):
            return self.goal.constraints[k].margin(self._named(Y), lib=lib) + 0.0 * Y[..., 0]

    def _named(self, Y: Any) -> dict[str, Any]:
        return {name: Y[..., j] for j, name in enumerate(self.responses)}


def _center_and_scale(x: Array) -> tuple[float, float]:
    x = x[np.isfinite(x)]
    if not len(x):
        return 0.0, 1.0
    with np.errstate(over="ignore"):
        mean = float(x.mean())
    return mean if np.isfinite(mean) else float(np.median(x / 2.0) * 2.0), _spread(x)


def _size(margin: Array) -> float:
    """The usual size of a margin."""
    margin = margin[np.isfinite(margin)]
    return _spread(margin) if len(margin) else 1.0


def _spread(x: Array) -> float:
    """Standard deviation; the size of the values where they are all alike, 1 where that is 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        sd, size = float(x.std()), float(np.abs(x).max())
    if not np.isfinite(sd):  # beyond what float64 can square: the middle half speaks for all
        sd = min(4.0 * float(np.diff(np.quantile(x / 4.0, (0.25, 0.75)))[0]), 1e300)
        size = sd or min(size, 1e300)
    return sd if sd > 1e-12 * size else size or 1.0
