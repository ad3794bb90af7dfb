"""Expressions that are linear, as coefficients: what an exact search for feasible settings can be told."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from .expressions import Constraint, Equality, unshield


@dataclass(frozen=True)
class Linear:
    """``constant + sum(coefficient * name)``."""

    constant: float = 0.0
    coefficients: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: Linear) -> Linear:
        names = {*self.coefficients, *other.coefficients}
        total = {n: self.coefficients.get(n, 0.0) + other.coefficients.get(n, 0.0) for n in sorted(names)}
        return Linear(self.constant + other.constant, total)

    def times(self, factor: float) -> Linear:
        """Each coefficient and the constant."""
        return Linear(self.constant * factor, {n: c * factor for n, c in self.coefficients.items()})


def linear_margin(constraint: Constraint | Equality, known: Mapping[str, Linear] | None = None) -> Linear | None:
    """The right (large) side less the left (small) one, or None where that is not linear.

    Args:
        constraint: an inequality or an equality.
        known: names that stand for linear expressions themselves: fixed and derived parameters.
    """
    small, large = (linear_form(side, known or {}) for side in constraint.sides)
    return None if small is None or large is None else large + small.times(-1.0)


def linear_form(node: ast.expr, known: Mapping[str, Linear]) -> Linear | None:
    """An expression's coefficients, or None where it is not linear."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return Linear(float(number))
        case ast.Name(id=shielded):
            name = unshield(shielded)
            return known[name] if name in known else Linear(0.0, {name: 1.0})
        case ast.UnaryOp(op=op, operand=operand):
            inner = linear_form(operand, known)
            return inner if inner is None or isinstance(op, ast.UAdd) else inner.times(-1.0)
        case ast.BinOp(left=a, op=op, right=b):
            return _combined(linear_form(a, known), op, linear_form(b, known))
        case _:
            return None


def _combined(a: Linear | None, op: ast.operator, b: Linear | None) -> Linear | None:
    if a is None or b is None:
        return None
    found: Linear | None = None
    match op:
        case ast.Add():
            found = a + b
        case ast.Sub():
            found = a + b.times(-1.0)
        case ast.Mult() if not b.coefficients:
            found = a.times(b.constant)
        case ast.Mult() if not a.coefficients:
            found = b.times(a.constant)
        case ast.Div() if not b.coefficients and b.constant != 0:
            found = a.times(1.0 / b.constant)
        case ast.Pow() if not a.coefficients and not b.coefficients:
            found = _power(a.constant, b.constant)
    return found


def _power(x: float, exponent: float) -> Linear | None:
    try:
        value = x**exponent
    except (ArithmeticError, ValueError):
        return None
    return Linear(value) if isinstance(value, float) and math.isfinite(value) else None
