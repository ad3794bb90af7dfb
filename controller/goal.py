"""What the scientist wants: here, to optimise an expression over responses within outcome constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from .expressions import Constraint, Expression
from .records import Finite


class Goal(BaseModel):
    """One aim: ``maximize``, ``minimize`` or ``target`` (an expression that should hit ``value``).

    ``subject_to`` are outcome constraints such as ``"byproduct <= 5"``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    maximize: str | None = None
    minimize: str | None = None
    target: str | None = None
    value: Finite | None = None
    subject_to: tuple[str, ...] = ()

    @field_validator("subject_to", mode="before")
    @classmethod
    def _one_constraint(cls, declared: Any) -> Any:
        return [declared] if isinstance(declared, str) else declared

    @model_validator(mode="after")
    def _one_aim(self) -> Goal:
        aims = [k for k in ("maximize", "minimize", "target") if getattr(self, k) is not None]
        if len(aims) != 1:
            raise ValueError(
                f"a goal has exactly one of maximize, minimize and target, not {' and '.join(aims) or 'none'}"
            )
        if (self.target is None) != (self.value is None):
            raise ValueError("target and value go together: {target: ph, value: 7.0}")
        _ = self.expression, self.constraints  # parsed at birth
        return self

    @property
    def aim(self) -> Literal["maximize", "minimize", "target"]:
        """Which of the three it is."""
        if self.maximize is not None:
            return "maximize"
        return "minimize" if self.minimize is not None else "target"

    @cached_property
    def expression(self) -> Expression:
        """What is maximised, minimised or driven to the value."""
        return Expression(self.maximize or self.minimize or self.target or "")

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """The outcome constraints."""
        return tuple(Constraint(text) for text in self.subject_to)

    @cached_property
    def names(self) -> frozenset[str]:
        """The responses that it uses."""
        return self.expression.names.union(*(c.names for c in self.constraints))

    def objective(self, values: Mapping[str, Any], *, lib: Any = math) -> Any:
        """The quantity to be maximised: the expression, its negative, or minus the distance to the value."""
        x = self.expression.evaluate(values, lib=lib)
        if self.aim == "target":
            return -abs(x - self.value)
        return -x if self.aim == "minimize" else x

    def in_words(self, objective: float) -> float:
        """The objective as the scientist reads it: the expression's own value, or the distance to the target."""
        return objective if self.aim == "maximize" else -objective

    def margins(self, values: Mapping[str, Any], *, lib: Any = math) -> list[Any]:
        """Each outcome constraint's margin, >= 0 where it holds."""
        return [c.margin(values, lib=lib) for c in self.constraints]

    def is_feasible(self, values: Mapping[str, float]) -> bool:
        """Whether one reading keeps every outcome constraint."""
        return all(m >= 0 for m in self.margins(values))
