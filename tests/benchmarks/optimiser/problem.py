"""What a benchmark problem is: parameters, responses, sources, a budget and the known optimum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Setting = dict[str, float | int | str]


@dataclass(frozen=True)
class Real:
    """A continuous parameter."""

    name: str
    low: float
    high: float
    log: bool = False

    @property
    def n_columns(self) -> int:
        return 1

    def encode(self, value: float) -> list[float]:
        if self.log:
            return [float(np.log(value / self.low) / np.log(self.high / self.low))]
        return [(value - self.low) / (self.high - self.low)]

    def decode(self, columns: np.ndarray) -> float:
        u = float(np.clip(columns[0], 0, 1))
        if self.log:
            return float(np.clip(self.low * (self.high / self.low) ** u, self.low, self.high))
        return self.low + u * (self.high - self.low)


@dataclass(frozen=True)
class Whole:
    """An integer parameter."""

    name: str
    low: int
    high: int

    @property
    def n_columns(self) -> int:
        return 1

    def encode(self, value: float) -> list[float]:
        return [(value - self.low) / (self.high - self.low)]

    def decode(self, columns: np.ndarray) -> int:
        return round(self.low + float(np.clip(columns[0], 0, 1)) * (self.high - self.low))


@dataclass(frozen=True)
class Choice:
    """A categorical parameter."""

    name: str
    choices: tuple[str, ...]

    @property
    def n_columns(self) -> int:
        return len(self.choices)

    def encode(self, value: str) -> list[float]:
        return [float(value == c) for c in self.choices]

    def decode(self, columns: np.ndarray) -> str:
        return self.choices[int(np.argmax(columns))]


Parameter = Real | Whole | Choice


@dataclass(frozen=True)
class Aim:
    """One response to be minimised, or maximised; ``reference`` is its part of the hypervolume's reference point."""

    response: str
    is_maximised: bool = False
    reference: float | None = None

    def loss(self, value: float) -> float:
        """The value, turned so that less is better."""
        return -value if self.is_maximised else value


@dataclass(frozen=True)
class Source:
    """Who can answer: its cost a trial, and the standard deviation of its noise on every response."""

    name: str
    cost: float = 1.0
    noise: float = 0.0
    fidelity: float = 1.0  # in [0, 1], for rivals that want a number; 1 is the target


@dataclass(frozen=True)
class Problem:
    """A problem. ``evaluate(setting, source)`` gives the noise-free responses; ``limited`` responses must be <= 0.

    ``optimum`` is the best feasible value of the aim, or, with several aims, the largest hypervolume.
    ``rows`` are the only settings that may be asked for, where the problem is a table.
    """

    name: str
    title: str
    parameters: tuple[Parameter, ...]
    aims: tuple[Aim, ...]
    evaluate: Callable[[Setting, str], Mapping[str, float]]
    optimum: float
    budget: float  # in cost; a trial of a single source costs 1
    sources: tuple[Source, ...] = (Source("lab"),)  # the first is the target
    limited: tuple[str, ...] = ()
    n_batch: int = 1
    rows: tuple[Setting, ...] = ()
    tolerance: float = 1e-6  # by how much a value may seem better than the optimum
    levels: tuple[float, ...] = ()  # of cost, at which regret is printed too

    @property
    def target(self) -> Source:
        return self.sources[0]

    @property
    def is_noisy(self) -> bool:
        return any(s.noise for s in self.sources)

    @property
    def responses(self) -> tuple[str, ...]:
        return tuple(a.response for a in self.aims) + self.limited

    @property
    def n_columns(self) -> int:
        return sum(p.n_columns for p in self.parameters)

    @property
    def has_choices(self) -> bool:
        return any(isinstance(p, Choice) for p in self.parameters)

    def source(self, name: str) -> Source:
        return next(s for s in self.sources if s.name == name)

    def encode(self, setting: Setting) -> np.ndarray:
        """(n_columns,) in the unit cube; a choice is one-hot."""
        return np.array([u for p in self.parameters for u in p.encode(setting[p.name])])

    def decode(self, columns: np.ndarray) -> Setting:
        setting, at = {}, 0
        for p in self.parameters:
            setting[p.name] = p.decode(columns[at : at + p.n_columns])
            at += p.n_columns
        return setting

    @cached_property
    def table(self) -> np.ndarray:
        """(n_rows, n_columns) of a table problem."""
        return np.array([self.encode(row) for row in self.rows])

    def row_of(self, setting: Setting) -> Setting:
        """The row that a setting means, whose digits may have been rounded; the setting itself, where there is no table.

        Raises:
            ValueError: if it means none.
        """
        if not self.rows:
            return setting
        distance = np.abs(self.table - self.encode(setting)).max(axis=1)
        nearest = int(distance.argmin())
        if distance[nearest] > 1e-7:
            raise ValueError(f"{setting} is no row of the table {self.name}; the nearest is {self.rows[nearest]}")
        return dict(self.rows[nearest])

    def uniform(self, u: np.ndarray) -> Setting:
        """A setting from one number in [0, 1) a parameter, choices and integers with equal shares."""
        setting: Setting = {}
        for p, x in zip(self.parameters, u, strict=True):
            if isinstance(p, Choice):
                setting[p.name] = p.choices[min(int(x * len(p.choices)), len(p.choices) - 1)]
            elif isinstance(p, Whole):
                setting[p.name] = min(p.low + int(x * (p.high - p.low + 1)), p.high)
            else:
                setting[p.name] = p.decode(np.array([x]))
        return setting

    @cached_property
    def digest(self) -> str:
        """What the cache knows the problem by: declaration and a few values; results of another are not taken."""
        rng = np.random.default_rng(0)
        settings = [self.uniform(rng.random(len(self.parameters))) for _ in range(3)]
        if self.rows:
            settings = [self.rows[i] for i in (0, len(self.rows) // 2, len(self.rows) - 1)]
        values = [{k: f"{v:.5g}" for k, v in self.evaluate(s, o.name).items()} for s in settings for o in self.sources]
        said = [self.name, self.parameters, self.aims, self.limited, self.sources, self.budget, self.n_batch]
        said += [f"{self.optimum:.6g}", len(self.rows), values]
        return hashlib.sha256(json.dumps(said, default=repr).encode()).hexdigest()[:10]
