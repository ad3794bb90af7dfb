"""The kinds of parameter: each validated at birth, each knows its way to the unit cube and back.

A numeric parameter takes one column of the cube; a categorical one takes a column for each choice (one-hot).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from .records import Finite, Value
from .units import check_unit

MAX_CHOICES = 1000
MAX_STEPS = 1_000_000


class Described(BaseModel):
    """A thing with a unit: a parameter or a response."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    unit: str = ""
    description: str = ""

    @field_validator("unit")
    @classmethod
    def _unit(cls, unit: str) -> str:
        return check_unit(unit)


class _Numeric(Described):
    low: Finite = Field(strict=False)
    high: Finite

    @field_validator("low", "high", mode="before")
    @classmethod
    def _number(cls, x: Any) -> Any:
        x = x.item() if getattr(x, "shape", None) == () else x  # NumPy
        if isinstance(x, bool) or not isinstance(x, int | float):
            raise ValueError(f"{x!r} is not a number")
        return x

    @model_validator(mode="after")
    def _order(self) -> _Numeric:
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"low {self.low} and high {self.high} are too far apart; use scale: log or other units")
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}; exchange or correct them")
        return self

    @property
    def n_columns(self) -> int:
        """Columns of the unit cube."""
        return 1

    def from_unit(self, u: Any, *, lib: Any) -> Any:
        """The physical value at ``u`` in [0, 1], not rounded; ``lib`` is NumPy or torch, and u an array of it."""
        return self.low + (self.high - self.low) * u

    def encode(self, value: Value) -> list[float]:
        """The column of ``value``."""
        return [(float(value) - self.low) / (self.high - self.low)]

    def check_achieved(self, value: Any) -> float:
        """Any finite number: what was achieved may lie between the steps and beyond the bounds."""
        return _finite_number(value)


class Continuous(_Numeric):
    """Any number from low to high; ``scale: log`` spreads the decades evenly."""

    kind: Literal["continuous"] = "continuous"
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _log(self) -> Continuous:
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low {self.low} must be above 0 for scale: log; raise it or use scale: linear")
        return self

    def from_unit(self, u: Any, *, lib: Any) -> Any:
        """The physical value at ``u`` in [0, 1]; ``lib`` is NumPy or torch, and u an array of it."""
        if self.scale == "linear":
            return self.low + (self.high - self.low) * u
        return lib.exp(math.log(self.low) + math.log(self.high / self.low) * u)

    def encode(self, value: Value) -> list[float]:
        """The column of ``value``."""
        x = float(value)
        if self.scale == "linear":
            return [(x - self.low) / (self.high - self.low)]
        return [math.log(x / self.low) / math.log(self.high / self.low)]

    def decode(self, column: Sequence[float]) -> float:
        """The value of a column, kept within the bounds."""
        u = min(max(float(column[0]), 0.0), 1.0)
        if self.scale == "linear":
            x = self.low + (self.high - self.low) * u
        else:
            x = self.low * math.exp(math.log(self.high / self.low) * u)
        return self._rounded(x)

    def check(self, value: Any) -> float:
        """The value as a float within the bounds, or a ValueError that says what it should be."""
        return self._rounded(_within(value, self.low, self.high))

    def check_achieved(self, value: Any) -> float:
        """Any finite number; above 0 on a log scale."""
        x = _finite_number(value)
        if self.scale == "log" and x <= 0:
            raise ValueError(f"{value} must be above 0 on a log scale; leave it out where it is not known")
        return x

    def _rounded(self, x: float) -> float:
        """Short of the last bits, so that encoding and decoding again gives the very same number."""
        if self.scale == "log":
            rounded = _twelve_digits(x)
        else:
            rounded = round(x, 11 - math.floor(math.log10(max(abs(self.low), abs(self.high)))))
        return min(max(rounded, self.low), self.high)


class Stepped(_Numeric):
    """Numbers from low to high by equal steps."""

    kind: Literal["stepped"] = "stepped"
    step: Finite = Field(gt=0)

    @model_validator(mode="after")
    def _steps(self) -> Stepped:
        n = (self.high - self.low) / self.step
        if n >= MAX_STEPS:
            raise ValueError(f"step {self.step} makes more than {MAX_STEPS} values; leave it out or make it larger")
        if abs(n - round(n)) > 1e-9 * max(1.0, n):
            raise ValueError(f"high {self.high} is not low {self.low} plus a whole number of steps {self.step}")
        return self

    @property
    def values(self) -> list[float]:
        """All values."""
        return [_twelve_digits(self.low + k * self.step) for k in range(self.n_values)]

    @property
    def n_values(self) -> int:
        """How many values there are."""
        return round((self.high - self.low) / self.step) + 1

    def decode(self, column: Sequence[float]) -> float:
        """The nearest value."""
        u = min(max(float(column[0]), 0.0), 1.0)
        return _twelve_digits(self.low + round(u * (self.n_values - 1)) * self.step)

    def check(self, value: Any) -> float:
        """The value, or a ValueError that says what it should be."""
        x = _within(value, self.low, self.high)
        k = (x - self.low) / self.step
        if abs(k - round(k)) > 1e-6:
            raise ValueError(f"{value} is not on the steps of {self.step} from {self.low}")
        return _twelve_digits(self.low + round(k) * self.step)


class Integer(_Numeric):
    """Whole numbers from low to high."""

    kind: Literal["integer"] = "integer"

    @model_validator(mode="after")
    def _whole(self) -> Integer:
        if self.low != round(self.low) or self.high != round(self.high):
            raise ValueError(f"low {self.low} and high {self.high} must be whole numbers")
        return self

    @property
    def n_values(self) -> int:
        """How many values there are."""
        return round(self.high - self.low) + 1

    def decode(self, column: Sequence[float]) -> int:
        """The nearest whole number."""
        u = min(max(float(column[0]), 0.0), 1.0)
        return round(self.low + u * (self.high - self.low))

    def check(self, value: Any) -> int:
        """The value as an int, or a ValueError that says what it should be."""
        x = _within(value, self.low, self.high)
        if x != round(x):
            raise ValueError(f"{value} is not a whole number")
        return round(x)


class Ordinal(Described):
    """Ordered levels: numbers or labels, evenly spread over the cube."""

    kind: Literal["ordinal"] = "ordinal"
    levels: tuple[int | float | str, ...] = Field(min_length=2, max_length=MAX_CHOICES)

    @field_validator("levels", mode="before")
    @classmethod
    def _distinct(cls, levels: Any) -> Any:
        return _distinct(levels, "levels")

    n_columns: Literal[1] = Field(default=1, exclude=True, repr=False)

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
            x = _finite_number(value)
            return min(self.levels, key=lambda level: abs(float(level) - x))
        return self.check(value)


class Categorical(Described):
    """Choices without an order."""

    kind: Literal["categorical"] = "categorical"
    choices: tuple[str, ...] = Field(min_length=2, max_length=MAX_CHOICES)

    @field_validator("choices", mode="before")
    @classmethod
    def _texts(cls, choices: Any) -> Any:
        return [str(c) for c in _distinct(choices, "choices")]

    @property
    def n_columns(self) -> int:
        """Columns of the unit cube: one a choice."""
        return len(self.choices)

    @property
    def n_values(self) -> int:
        """How many choices there are."""
        return len(self.choices)

    def encode(self, value: Value) -> list[float]:
        """The columns of a choice: one 1, the others 0."""
        k = self.choices.index(str(value))
        return [1.0 if j == k else 0.0 for j in range(len(self.choices))]

    def decode(self, column: Sequence[float]) -> str:
        """The choice whose column is highest."""
        return self.choices[max(range(len(self.choices)), key=lambda j: column[j])]

    def check(self, value: Any) -> str:
        """The choice, or a ValueError that lists them."""
        return str(_one_of(str(value), self.choices))

    def check_achieved(self, value: Any) -> str:
        """The choice that was really taken."""
        return self.check(value)


def _twelve_digits(x: float) -> float:
    return float(f"{x:.12g}")


def _finite_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _within(value: Any, low: float, high: float) -> float:
    _finite_number(value)
    slack = 1e-9 * (high - low)
    if not low - slack <= value <= high + slack:
        raise ValueError(f"{value} is outside {low} to {high}")
    return min(max(float(value), low), high)


def _one_of(value: Any, known: Sequence[Value]) -> Value:
    if value not in known:
        raise ValueError(f"{value!r} is not one of {', '.join(map(str, known[:10]))}")
    return known[known.index(value)]


def _distinct(values: Any, name: str) -> Any:
    if not isinstance(values, list | tuple):
        raise ValueError(f"{name} must be a list, not {values!r}")
    if strange := [v for v in values if not isinstance(v, str | int | float)]:
        raise ValueError(f"{name}: {strange[0]!r} is neither text nor a number; quote it")
    if len(set(map(str, values))) != len(values):
        twice = sorted({str(v) for v in values if sum(str(v) == str(w) for w in values) > 1})
        raise ValueError(f"{name} repeat {', '.join(twice)}; name each once")
    return list(values)


def _kind(declared: Any) -> str | None:
    """Which kind a declaration is: said outright, or seen from its keys."""
    if not isinstance(declared, dict):
        return getattr(declared, "kind", None)
    if "kind" in declared:
        return str(declared["kind"])
    for key, kind in (("choices", "categorical"), ("levels", "ordinal"), ("step", "stepped")):
        if key in declared:
            return kind
    return "continuous"


Parameter = Annotated[
    Annotated[Continuous, Tag("continuous")]
    | Annotated[Stepped, Tag("stepped")]
    | Annotated[Integer, Tag("integer")]
    | Annotated[Ordinal, Tag("ordinal")]
    | Annotated[Categorical, Tag("categorical")],
    Discriminator(_kind),
]

PARAMETER_KINDS: dict[str, type[Described]] = {
    "continuous": Continuous,
    "stepped": Stepped,
    "integer": Integer,
    "ordinal": Ordinal,
    "categorical": Categorical,
}
