"""The kinds of parameter that take one of several values: ordered levels, and choices with or without descriptors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from .described import Varied
from .records import Finite, Value

MAX_CHOICES = 1000
SAME = 1e-9  # of the unit cube: choices nearer than this in all descriptors are the same to a model


class Ordinal(Varied):
    """Ordered levels: numbers or labels, evenly spread over the cube."""

    kind: Literal["ordinal"] = "ordinal"
    levels: tuple[int | float | str, ...] = Field(min_length=2, max_length=MAX_CHOICES)

    @field_validator("levels", mode="before")
    @classmethod
    def _distinct(cls, levels: Any) -> Any:
        return _distinct(levels, "levels")

    n_columns: Literal[1] = Field(default=1, exclude=True, repr=False)

    @property
    def n_groups(self) -> int:
        """Lengthscales of a model."""
        return 1

    @property
    def n_values(self) -> int:
        """How many levels there are."""
        return len(self.levels)

    def from_unit(self, u: Any, *, lib: Any) -> Any:
        """The place among the levels at ``u``, not rounded: 0 for the first, 1 for the second."""
        return u * (len(self.levels) - 1)

    def encode(self, value: Value) -> list[float]:
        """The column of a level."""
        return [self.levels.index(value) / (len(self.levels) - 1)]

    def decode(self, column: Sequence[float]) -> Value:
        """The nearest level."""
        u = min(max(float(column[0]), 0.0), 1.0)
        return self.levels[round(u * (len(self.levels) - 1))]

    def check(self, value: Any) -> Value:
        """The level, or a ValueError that lists them."""
        return _one_of(value, self.levels)

    def check_achieved(self, value: Any) -> Value:
        """The level; of numeric levels the nearest."""
        if all(isinstance(level, int | float) for level in self.levels):
            x = finite_number(value)
            return min(self.levels, key=lambda level: abs(float(level) - x))
        return self.check(value)


class Categorical(Varied):
    """Choices without an order.

    With ``descriptors``, such as dielectric constant and log P of solvents, the columns of the cube are these, each
    scaled to [0, 1] over the choices: choices that are alike share what is learned. Without, a choice is one-hot.
    """

    kind: Literal["categorical"] = "categorical"
    choices: tuple[str, ...] = Field(min_length=2, max_length=MAX_CHOICES)
    descriptors: dict[str, dict[str, Finite]] = Field(default={})  # by choice

    @model_validator(mode="before")
    @classmethod
    def _described(cls, declared: Any) -> Any:
        """``choices: {water: {dielectric: 80}}`` holds choices and descriptors in one."""
        if not isinstance(declared, dict) or not isinstance(declared.get("choices"), dict):
            return declared
        if declared.get("descriptors"):
            raise ValueError("choices hold descriptors already; leave out descriptors:")
        table = {str(k): v for k, v in declared["choices"].items()}
        empty = [k for k, v in table.items() if not isinstance(v, dict) or not v]
        if empty:
            raise ValueError(f"choices.{empty[0]}: holds no descriptors; write {{{empty[0]}: {{name: number}}}}")
        return {**declared, "choices": list(table), "descriptors": table}

    @field_validator("choices", mode="before")
    @classmethod
    def _texts(cls, choices: Any) -> Any:
        return [str(c) for c in _distinct(choices, "choices")]

    @field_validator("descriptors", mode="before")
    @classmethod
    def _numbers(cls, declared: Any) -> Any:
        if not isinstance(declared, dict):
            raise ValueError(
                f"descriptors {str(declared)[:60]!r} are no table; write {{choice: {{descriptor: number}}}}"
            )
        for choice, row in declared.items():
            for name, x in row.items() if isinstance(row, dict) else ():
                if isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x):
                    raise ValueError(f"descriptor {name} of {choice!r} is {x!r}; each must be a finite number")
        return {str(choice): row for choice, row in declared.items()}

    @model_validator(mode="after")
    def _whole_table(self) -> Categorical:
        if not self.descriptors:
            return self
        if strange := [c for c in self.descriptors if c not in self.choices]:
            raise ValueError(f"descriptors of {strange[0]!r}, which is none of the choices; add or remove it")
        if missing := [c for c in self.choices if c not in self.descriptors]:
            raise ValueError(f"choice {missing[0]!r} has no descriptors; give every choice a row")
        for choice in self.choices:
            row = self.descriptors[choice]
            if odd := sorted(set(row) ^ set(self.descriptor_names)):
                what = "lacks" if odd[0] not in row else "has, unlike the first choice,"
                raise ValueError(f"choice {choice!r} {what} the descriptor {odd[0]!r}; give all choices the same ones")
        for name in self.descriptor_names:
            values = [self.descriptors[c][name] for c in self.choices]
            if max(values) == min(values):
                raise ValueError(
                    f"descriptor {name!r} is {values[0]:g} for every choice, so it tells nothing; remove it"
                )
            if not math.isfinite(max(values) - min(values)):
                raise ValueError(f"descriptor {name!r} spreads beyond float64; use another unit or its logarithm")
        self._check_apart()
        return self

    def _check_apart(self) -> None:
        known: dict[tuple[float, ...], str] = {}
        for choice, code in zip(self.choices, self.codes, strict=True):
            place = tuple(round(u / SAME) for u in code)
            if place in known:
                raise ValueError(
                    f"choices {known[place]!r} and {choice!r} have the same descriptors, so a model could not tell "
                    "them apart; add a descriptor in which they differ, or keep one of them"
                )
            known[place] = choice

    def __hash__(self) -> int:
        return hash((self.choices, self.unit, self.when, self.context, str(self.descriptors)))

    @cached_property
    def descriptor_names(self) -> tuple[str, ...]:
        """In the order of the first choice; empty: one-hot."""
        return tuple(self.descriptors[self.choices[0]]) if self.descriptors else ()

    @cached_property
    def codes(self) -> tuple[tuple[float, ...], ...]:
        """The columns of each choice."""
        if not self.descriptors:
            n = len(self.choices)
            return tuple(tuple(1.0 if j == k else 0.0 for j in range(n)) for k in range(n))
        columns = []
        for name in self.descriptor_names:
            values = [self.descriptors[c][name] for c in self.choices]
            low, high = min(values), max(values)
            columns.append([(x - low) / (high - low) for x in values])
        return tuple(zip(*columns, strict=True))

    @property
    def n_columns(self) -> int:
        """Columns of the unit cube: one a descriptor, or one a choice."""
        return len(self.descriptor_names) or len(self.choices)

    @property
    def n_groups(self) -> int:
        """Lengthscales of a model: one a descriptor, or one for all choices."""
        return len(self.descriptor_names) or 1

    @property
    def n_values(self) -> int:
        """How many choices there are."""
        return len(self.choices)

    def encode(self, value: Value) -> list[float]:
        """The columns of a choice."""
        return list(self.codes[self.choices.index(str(value))])

    def decode(self, column: Sequence[float]) -> str:
        """The nearest choice: one-hot, the one whose column is highest."""
        if not self.descriptors:
            return self.choices[max(range(len(self.choices)), key=lambda j: column[j])]
        return self.choices[min(range(len(self.choices)), key=lambda j: _squared(self.codes[j], column))]

    def check(self, value: Any) -> str:
        """The choice, or a ValueError that lists them."""
        return str(_one_of(str(value), self.choices))

    def check_achieved(self, value: Any) -> str:
        """The choice that was really taken."""
        return self.check(value)


def _squared(a: Sequence[float], b: Sequence[float]) -> float:
    return sum((x - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def finite_number(value: Any) -> float:
    """The value as a float.

    Raises:
        ValueError: if it is no finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _one_of(value: Any, known: Sequence[Value]) -> Value:
    if value not in known:
        raise ValueError(f"{value!r} is not one of {', '.join(map(str, known[:10]))}")
    return known[known.index(value)]


def _distinct(values: Any, name: str) -> Any:
    if not isinstance(values, list | tuple):
        raise ValueError(f"{name} must be a list, not {values!r}")
    if strange := [v for v in values if not isinstance(v, str | int | float)]:
        raise ValueError(f"{name}: {strange[0]!r} is neither text nor a number; quote it")
    if len(values) > MAX_CHOICES:
        raise ValueError(
            f"{name} hold {len(values)} entries, more than {MAX_CHOICES}; use fewer, or a table of candidates: with "
            "numbers that describe each"
        )
    if len(set(map(str, values))) != len(values):
        twice = sorted({str(v) for v in values if sum(str(v) == str(w) for w in values) > 1})
        raise ValueError(f"{name} repeat {', '.join(twice)}; name each once")
    return list(values)
