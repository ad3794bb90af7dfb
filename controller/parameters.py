"""The kinds of parameter: each validated at birth, each knows its way to the unit cube and back.

A numeric parameter takes one column of the cube; a categorical one takes a column for each choice (one-hot) or for
each descriptor; what is fixed or derived takes none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from .choices import MAX_CHOICES, Categorical, Ordinal, finite_number
from .described import Described, Varied
from .expressions import Expression
from .records import Finite, Value

__all__ = [
    "MAX_CHOICES",
    "PARAMETER_KINDS",
    "Categorical",
    "Continuous",
    "Derived",
    "Described",
    "Fixed",
    "Integer",
    "Ordinal",
    "Parameter",
    "Stepped",
    "Varied",
]

MAX_STEPS = 1_000_000
MAX_WHOLE = 2**53  # beyond it a float tells neighbours no longer apart


class _Numeric(Varied):
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

    @property
    def n_groups(self) -> int:
        """Lengthscales of a model."""
        return 1

    def from_unit(self, u: Any, *, lib: Any) -> Any:
        """The physical value at ``u`` in [0, 1], not rounded; ``lib`` is NumPy or torch, and u an array of it."""
        return self.low + (self.high - self.low) * u

    def encode(self, value: Value) -> list[float]:
        """The column of ``value``."""
        return [(float(value) - self.low) / (self.high - self.low)]

    def check_achieved(self, value: Any) -> float:
        """Any finite number: what was achieved may lie between the steps and beyond the bounds."""
        return finite_number(value)


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
        """The value of a column, kept within the bounds; of a context, wherever it was measured."""
        u = float(column[0]) if self.context else min(max(float(column[0]), 0.0), 1.0)
        if self.scale == "linear":
            x = self.low + (self.high - self.low) * u
        else:
            x = self.low * math.exp(math.log(self.high / self.low) * u)
        return self._rounded(x)

    def check(self, value: Any) -> float:
        """The value as a float within the bounds, or a ValueError that says what it should be."""
        if self.context:
            return self._rounded(self.check_achieved(value))
        return self._rounded(_within(value, self.low, self.high))

    def check_achieved(self, value: Any) -> float:
        """Any finite number; above 0 on a log scale."""
        x = finite_number(value)
        if self.scale == "log" and x <= 0:
            raise ValueError(f"{value} must be above 0 on a log scale; leave it out where it is not known")
        return x

    def _rounded(self, x: float) -> float:
        """Short of the last bits, so that encoding and decoding again gives the very same number."""
        if self.scale == "log":
            rounded = _twelve_digits(x)
        else:
            rounded = round(x, 11 - math.floor(math.log10(max(abs(self.low), abs(self.high)))))
        if self.context:
            return rounded
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
        if max(abs(self.low), abs(self.high)) > MAX_WHOLE or self.n_values > MAX_WHOLE:
            raise ValueError(
                f"low {self.low:.17g} to high {self.high:.17g}: whole numbers are told apart up to 2**53 = {MAX_WHOLE} "
                "only; narrow the range, or declare it continuous"
            )
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


class Fixed(Described):
    """One value, known to sources and ledger; it takes no column."""

    kind: Literal["fixed"] = "fixed"
    value: int | float | str

    n_columns: Literal[0] = Field(default=0, exclude=True, repr=False)

    @field_validator("value", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        value = value.item() if getattr(value, "shape", None) == () else value  # NumPy
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"{value!r} is neither a number nor a text")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value!r} is not a finite number")
        return value

    def check(self, value: Any) -> Value:
        """The value itself, or a ValueError that says what it is."""
        same = value == self.value
        if isinstance(value, int | float) and isinstance(self.value, int | float):
            same = math.isclose(value, self.value, rel_tol=1e-9)
        if not same or isinstance(value, bool):
            raise ValueError(f"{value!r} is not the fixed value {self.value!r}; leave it out")
        return self.value

    def check_achieved(self, value: Any) -> Value:
        """What was achieved; no model is told."""
        return str(value) if isinstance(self.value, str) else finite_number(value)


class Derived(Described):
    """Worked out from other parameters, known to sources and ledger; it takes no column."""

    kind: Literal["derived"] = "derived"
    derived: str

    n_columns: Literal[0] = Field(default=0, exclude=True, repr=False)

    @field_validator("derived", mode="before")
    @classmethod
    def _expression(cls, text: Any) -> Any:
        if not isinstance(text, str):
            raise ValueError(f"{text!r} is no expression; write it like 'a + 2 * b'")
        return Expression(text).text

    def check_achieved(self, value: Any) -> float:
        """What was achieved; no model is told."""
        return finite_number(value)


def _twelve_digits(x: float) -> float:
    return float(f"{x:.12g}")


def _within(value: Any, low: float, high: float) -> float:
    finite_number(value)
    slack = 1e-9 * (high - low)
    if not low - slack <= value <= high + slack:
        raise ValueError(f"{value} is outside {low} to {high}")
    return min(max(float(value), low), high)


def _kind(declared: Any) -> str | None:
    """Which kind a declaration is: said outright, or seen from its keys."""
    if not isinstance(declared, dict):
        return getattr(declared, "kind", None)
    if "kind" in declared:
        return str(declared["kind"])
    keys = (("choices", "categorical"), ("levels", "ordinal"), ("step", "stepped"), ("value", "fixed"))
    for key, kind in (*keys, ("derived", "derived")):
        if key in declared:
            return kind
    return "continuous"


Parameter = Annotated[
    Annotated[Continuous, Tag("continuous")]
    | Annotated[Stepped, Tag("stepped")]
    | Annotated[Integer, Tag("integer")]
    | Annotated[Ordinal, Tag("ordinal")]
    | Annotated[Categorical, Tag("categorical")]
    | Annotated[Fixed, Tag("fixed")]
    | Annotated[Derived, Tag("derived")],
    Discriminator(_kind),
]

PARAMETER_KINDS: dict[str, type[Described]] = {
    "continuous": Continuous,
    "stepped": Stepped,
    "integer": Integer,
    "ordinal": Ordinal,
    "categorical": Categorical,
    "fixed": Fixed,
    "derived": Derived,
}
