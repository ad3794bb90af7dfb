"""Expressions of a campaign file: parsed by a whitelist, never by ``eval``.

``"temperature + 3 * residence_time <= 150"`` and ``"yield - 0.1 * byproduct"`` are read with Python's own
grammar, but only numbers, names, ``+ - * / **`` and a table of functions pass. One expression can then be
worked out on floats, NumPy arrays or torch tensors alike.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from .errors import CampaignError

MAX_LENGTH = 500
MAX_DEPTH = 30

# `yield` and `lambda` are good names of responses: Python's keywords are read as names.
WORDS = [word for word in keyword.kwlist if word.islower()]
KEYWORD = re.compile(rf"\b({'|'.join(WORDS)})\b")
SHIELD = "_name"
SINGLE_EQUAL = re.compile(r"(?<![<>=!])=(?!=)")

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}


class Library(Protocol):
    """Where the functions come from: ``math``-like, NumPy or torch; all have these names."""

    exp: Callable[[Any], Any]
    log: Callable[[Any], Any]
    log10: Callable[[Any], Any]
    sqrt: Callable[[Any], Any]
    sin: Callable[[Any], Any]
    cos: Callable[[Any], Any]
    tanh: Callable[[Any], Any]


# min and max by |a - b|, since torch.minimum takes no plain numbers.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: (lambda lib, x, name=name: getattr(lib, name)(x))
        for name in ("exp", "log", "log10", "sqrt", "sin", "cos", "tanh")
    },
    "abs": lambda lib, x: abs(x),
    "min": lambda lib, a, b: (a + b - abs(a - b)) / 2,
    "max": lambda lib, a, b: (a + b + abs(a - b)) / 2,
}
N_ARGUMENTS = {name: 2 if name in ("min", "max") else 1 for name in FUNCTIONS}


@dataclass(frozen=True)
class Expression:
    """A parsed expression over names.

    Raises:
        CampaignError: at birth, if the text is not in the grammar.
    """

    text: str

    def __post_init__(self) -> None:
        _check(self._tree, self.text)

    @cached_property
    def _tree(self) -> ast.expr:
        return _parse(self.text)

    @property
    def tree(self) -> ast.expr:
        """As Python's grammar has it."""
        return self._tree

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that it uses, functions left out."""
        return _names(self._tree)

    def evaluate(self, values: Mapping[str, Any], *, lib: Any = math) -> Any:
        """Its value; ``values`` hold floats, or arrays of one shape when ``lib`` is NumPy or torch."""
        return _evaluate(self._tree, values, lib)

    def divisors(self, values: Mapping[str, float]) -> list[float]:
        """What it divides by at some values, NaN where that has none: ``1 / y`` and ``y ** -2`` divide by y."""
        found = []
        for node in ast.walk(self._tree):
            match node:
                case (
                    ast.BinOp(op=ast.Div(), right=part)
                    | ast.BinOp(op=ast.Pow(), left=part, right=ast.UnaryOp(op=ast.USub()))
                ):
                    try:
                        value = _evaluate(part, values, math)
                    except (ArithmeticError, ValueError):
                        value = math.nan
                    found.append(value if isinstance(value, float) else math.nan)
        return found


@dataclass(frozen=True)
class Equality:
    """A demand ``left == right`` on two expressions."""

    text: str

    def __post_init__(self) -> None:
        tree = _parse(self.text)
        if not isinstance(tree, ast.Compare) or [type(op) for op in tree.ops] != [ast.Eq]:
            raise CampaignError(f"constraint {self.text!r} is not a single equality; write 'expression == expression'")
        for side in (tree.left, tree.comparators[0]):
            _check(side, self.text)

    @cached_property
    def sides(self) -> tuple[ast.expr, ast.expr]:
        """Left and right."""
        tree = _parse(self.text)
        assert isinstance(tree, ast.Compare)
        return tree.left, tree.comparators[0]

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that either side uses."""
        return _names(self.sides[0]) | _names(self.sides[1])

    def margin(self, values: Mapping[str, Any], *, lib: Any = math) -> Any:
        """Right less left: 0 where it holds, in its own units."""
        left, right = self.sides
        return _evaluate(right, values, lib) - _evaluate(left, values, lib)

    def size(self, values: Mapping[str, Any], *, lib: Any = math) -> Any:
        """How large its sides are: what its tolerance is relative to."""
        left, right = self.sides
        return abs(_evaluate(left, values, lib)) + abs(_evaluate(right, values, lib))


def constraint_of(text: str) -> Constraint | Equality:
    """A constraint on settings: an equality where the text holds ``==``.

    Raises:
        CampaignError: if the text is neither.
    """
    if isinstance(text, str) and SINGLE_EQUAL.search(text):
        meant = SINGLE_EQUAL.sub("==", text)
        raise CampaignError(f"constraint {text!r}: an equality is written with ==; write {meant!r}")
    return Equality(text) if isinstance(text, str) and "==" in text else Constraint(text)


@dataclass(frozen=True)
class Constraint:
    """A comparison ``left <= right`` or ``left >= right`` of two expressions."""

    text: str

    def __post_init__(self) -> None:
        tree = _parse(self.text)
        comparisons = ast.LtE | ast.GtE | ast.Lt | ast.Gt
        if not isinstance(tree, ast.Compare) or [isinstance(op, comparisons) for op in tree.ops] != [True]:
            raise CampaignError(
                f"constraint {self.text!r} is not a single comparison; write 'expression <= number' or "
                "'expression >= number'"
            )
        for side in (tree.left, tree.comparators[0]):
            _check(side, self.text)

    @cached_property
    def sides(self) -> tuple[ast.expr, ast.expr]:
        """The one that must be small, and the one that must be large."""
        tree = _parse(self.text)
        assert isinstance(tree, ast.Compare)
        is_upper = isinstance(tree.ops[0], ast.LtE | ast.Lt)
        left, right = tree.left, tree.comparators[0]
        return (left, right) if is_upper else (right, left)

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that either side uses."""
        return _names(self.sides[0]) | _names(self.sides[1])

    def margin(self, values: Mapping[str, Any], *, lib: Any = math) -> Any:
        """How far it is from being broken: >= 0 where it holds, in its own units."""
        small, large = self.sides
        return _evaluate(large, values, lib) - _evaluate(small, values, lib)

    def is_certainly_broken(self, values: Mapping[str, float]) -> bool:
        """Whether its margin can be worked out, is finite and is below 0: nothing less is let past a guard."""
        try:
            margin = self.margin(values)
        except (ArithmeticError, ValueError, TypeError):
            return False
        return isinstance(margin, float) and math.isfinite(margin) and margin < 0


def _parse(text: str) -> ast.expr:
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        raise CampaignError(f"expression {str(text)[:60]!r} must be text of at most {MAX_LENGTH} characters")
    try:
        return ast.parse(KEYWORD.sub(rf"\1{SHIELD}", text.strip()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CampaignError(
            f"expression {text!r} cannot be read ({type(error).__name__}); write it like 'a + 2 * b'"
        ) from error


def _names(tree: ast.expr) -> frozenset[str]:
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    return frozenset(unshield(n.id) for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called)


def _check_constants(node: ast.BinOp, text: str) -> None:
    """Refuse what can be seen to have no value: ``9**9**9`` and ``y / 0``."""
    for part in (node, node.right):
        if _names(part):
            continue
        try:
            value = _evaluate(part, {}, math)
        except (ArithmeticError, ValueError):
            value = math.nan
        is_divisor = part is node.right and isinstance(node.op, ast.Div)
        if isinstance(value, complex) or not math.isfinite(value) or (is_divisor and value == 0):
            raise CampaignError(f"expression {text!r}: {ast.unparse(node)!r} has no finite value; correct the numbers")


def unshield(name: str) -> str:
    """The name as it was written."""
    plain = name.removesuffix(SHIELD)
    return plain if keyword.iskeyword(plain) else name


def _check(node: ast.expr, text: str, depth: int = 0) -> None:
    """Refuse whatever is not in the whitelist."""
    if depth > MAX_DEPTH:
        raise CampaignError(f"expression {text[:60]!r} is nested deeper than {MAX_DEPTH}; simplify it")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            if not math.isfinite(number):
                raise CampaignError(f"expression {text!r}: {number} is not a finite number")
        case ast.Name():
            pass
        case ast.BinOp() if type(node.op) in BINARY:
            _check(node.left, text, depth + 1)
            _check(node.right, text, depth + 1)
            _check_constants(node, text)
        case ast.UnaryOp() if type(node.op) in UNARY:
            _check(node.operand, text, depth + 1)
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in FUNCTIONS:
            if len(node.args) != N_ARGUMENTS[name]:
                raise CampaignError(f"expression {text!r}: {name} takes {N_ARGUMENTS[name]} argument(s)")
            for argument in node.args:
                _check(argument, text, depth + 1)
        case _:
            raise CampaignError(
                f"expression {text!r}: {unshield(ast.unparse(node))!r} is not allowed; use numbers, names, + - * / ** "
                f"and {', '.join(sorted(FUNCTIONS))}"
            )


def _evaluate(node: ast.expr, values: Mapping[str, Any], lib: Any) -> Any:
    match node:
        case ast.Constant():
            return float(node.value)  # type: ignore[arg-type]
        case ast.Name():
            return values[unshield(node.id)]
        case ast.BinOp():
            return BINARY[type(node.op)](_evaluate(node.left, values, lib), _evaluate(node.right, values, lib))
        case ast.UnaryOp():
            return UNARY[type(node.op)](_evaluate(node.operand, values, lib))
        case ast.Call(func=ast.Name(id=name)):
            return FUNCTIONS[name](lib, *(_evaluate(a, values, lib) for a in node.args))
        case _:  # pragma: no cover - _check has refused it
            raise AssertionError(ast.dump(node))
