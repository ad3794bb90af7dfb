"""What a rival is: it asks for settings and is told readings. Subclasses speak to one package each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from problem import Problem, Setting
from world import World


class NotSupportedError(Exception):
    """The package cannot state this problem; the table says so."""


class Rival(ABC):
    """One optimiser on one problem with one seed."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.seed = problem, seed

    @abstractmethod
    def ask(self, n: int) -> list[Setting]:
        """The next n settings."""

    @abstractmethod
    def tell(self, settings: Sequence[Setting], readings: Sequence[dict[str, float]]) -> None:
        """What they gave."""

    def recommend(self) -> Setting | None:
        """The setting that the model takes for the best; None: the best reading."""
        return None

    def play(self, world: World) -> None:
        """Spend the whole budget, at the target source unless the rival knows better."""
        while world.n_left:
            settings = self.ask(min(self.problem.n_batch, world.n_left))
            self.tell(settings, world.measure(settings))


class FreeRows:
    """The rows of a table that were not asked for; each is handed out once."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.free = np.ones(len(problem.rows), dtype=bool)

    def take(self, index: int) -> Setting:
        self.free[index] = False
        return dict(self.problem.rows[index])

    def nearest(self, setting: Setting) -> Setting:
        """The free row that is nearest in the unit cube: for packages that know no candidate lists."""
        distance = ((self.problem.table - self.problem.encode(setting)) ** 2).sum(axis=1)
        return self.take(int(np.argmin(np.where(self.free, distance, np.inf))))
