"""One objective of a goal: an expression over responses, and which of its values are good."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from .expressions import Expression

Way = Literal["maximize", "minimize", "target", "range"]


@dataclass(frozen=True)
class Aim:
    """``text`` is to be large, small, near ``value``, or within ``interval``, where all values are equally good."""

    way: Way
    text: str
    value: float | None = None
    interval: tuple[float, float] | None = None

    @cached_property
    def expression(self) -> Expression:
        """What is aimed at, parsed."""
        return Expression(self.text)

    def objective(self, values: Mapping[str, Any], *, lib: Any = math) -> Any:
        """The quantity to be maximised: the expression, its negative, or minus the distance to what is wanted."""
        x = self.expression.evaluate(values, lib=lib)
        if self.way == "range" and self.interval is not None:
            low, high = self.interval
            outside = _positive(low - x) + _positive(x - high)
            return -outside
        if self.way == "target":
            return -abs(x - self.value)
        return -x if self.way == "minimize" else x

    def in_words(self, objective: float) -> float:
        """The objective as the scientist reads it: the expression's own value, or the distance to what is wanted."""
        return objective if self.way == "maximize" else -objective

    def floor(self, threshold: float) -> float:
        """The objective at a threshold, which is written as the scientist reads the objective."""
        return threshold if self.way == "maximize" else -threshold

    @property
    def label(self) -> str:
        """What its values are called: ``yield``, ``|ph − 7|``, ``ph outside 6.8 to 7.2``."""
        if self.way == "target":
            return f"|{self.text} − {self.value:g}|"
        if self.interval is not None:
            return f"{self.text} outside {self.interval[0]:g} to {self.interval[1]:g}"
        return self.text

    @property
    def words(self) -> str:
        """As in ``maximize yield``."""
        if self.way == "target":
            return f"reach {self.text} = {self.value:g}"
        if self.interval is not None:
            return f"keep {self.text} within {self.interval[0]:g} to {self.interval[1]:g}"
        return f"{self.way} {self.text}"


def _positive(x: Any) -> Any:
    """max(x, 0) of floats, arrays and tensors alike."""
    return (x + abs(x)) / 2
