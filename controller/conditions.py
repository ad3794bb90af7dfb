"""The condition under which a parameter is active, such as ``"catalyst == 'A'"``: read by a whitelist.

Law: a condition says the same of one setting and of arrays of values.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .errors import CampaignError
from .expressions import KEYWORD, SHIELD, unshield

MAX_LENGTH = 500
ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
REMEDY = "write it like \"catalyst == 'A'\", \"catalyst in ['A', 'B']\", \"stages >= 2\", joined by and, or, not"


@dataclass(frozen=True)
class Condition:
    """Comparisons of single parameters with numbers or labels, joined by ``and``, ``or``, ``not``.

    Raises:
        CampaignError: at birth, if the text is not in the grammar.
    """

    text: str

    def __post_init__(self) -> None:
        _check(self._tree, self.text)

    @cached_property
    def _tree(self) -> ast.expr:
        if len(self.text) > MAX_LENGTH:
            raise CampaignError(f"condition {self.text[:60]!r} is longer than {MAX_LENGTH} characters; shorten it")
        try:
            return ast.parse(self.text.strip(), mode="eval").body
        except SyntaxError:
            pass
        try:  # a parameter may be named like one of Python's keywords
            shielded = KEYWORD.sub(_shielded, self.text.strip())
            return ast.parse(shielded, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise CampaignError(f"condition {self.text!r} cannot be read; {REMEDY}") from error

    @cached_property
    def names(self) -> frozenset[str]:
        """The parameters that it looks at."""
        return frozenset(unshield(n.id) for n in ast.walk(self._tree) if isinstance(n, ast.Name))

    @cached_property
    def compared(self) -> tuple[tuple[str, Any], ...]:
        """Each parameter with each value that it is said to equal or not to equal."""
        found: list[tuple[str, Any]] = []
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and type(node.ops[0]) not in ORDERS:
                value = _constant(node.comparators[0])
                several = value if isinstance(value, tuple) else (value,)
                found += [(unshield(node.left.id), v) for v in several]
        return tuple(found)

    @cached_property
    def ordered(self) -> frozenset[str]:
        """The parameters that must be above or below something."""
        compares = (n for n in ast.walk(self._tree) if isinstance(n, ast.Compare) and type(n.ops[0]) in ORDERS)
        return frozenset(unshield(n.left.id) for n in compares if isinstance(n.left, ast.Name))

    def holds(self, values: Mapping[str, Any]) -> Any:
        """Whether it holds: a bool for single values, an array for NumPy arrays of one shape."""
        return _evaluate(self._tree, values)


def text_of(declared: Any) -> str:
    """The condition's text, from a text or from ``{parameter: value or [values]}``, all of which must hold.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(declared, str):
        return declared
    if isinstance(declared, Mapping) and declared:
        parts = []
        for name, wanted in declared.items():
            values = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
            if not values or not all(isinstance(v, str | int | float) and not isinstance(v, bool) for v in values):
                raise ValueError(f"when: {name}: {wanted!r} is neither a value nor a list of values")
            parts.append(
                f"{name} in [{', '.join(map(repr, values))}]" if len(values) > 1 else f"{name} == {values[0]!r}"
            )
        return " and ".join(parts)
    raise ValueError(f"when: {declared!r} is no condition; {REMEDY}, or {{catalyst: [A, B]}}")


def _shielded(found: Any) -> str:
    word: str = found.group(0)
    return word if word in ("and", "or", "not", "in") else f"{word}{SHIELD}"


def _constant(node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return tuple(value) if isinstance(value, list) else value


def _check(node: ast.expr, text: str) -> None:
    match node:
        case ast.BoolOp(values=parts):
            for part in parts:
                _check(part, text)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            _check(operand, text)
        case ast.Compare(left=ast.Name(), ops=[ast.In() | ast.NotIn()], comparators=[ast.List() | ast.Tuple() as many]):
            value = _constant(many)
            if not value or not all(_is_plain(v) for v in value):
                raise CampaignError(f"condition {text!r}: {ast.unparse(many)} is no list of values; {REMEDY}")
        case ast.Compare(left=ast.Name(), ops=[ast.Eq() | ast.NotEq() | ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE()]):
            if not _is_plain(_constant(node.comparators[0])):
                compared = ast.unparse(node.comparators[0])
                raise CampaignError(f"condition {text!r}: {compared} is neither a number nor a quoted label; {REMEDY}")
            if type(node.ops[0]) in ORDERS and isinstance(_constant(node.comparators[0]), str):
                raise CampaignError(f"condition {text!r}: labels are not above or below each other; list them with in")
        case _:
            raise CampaignError(f"condition {text!r}: {ast.unparse(node)!r} is not allowed; {REMEDY}")


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.BoolOp(op=op, values=parts):
            found = _evaluate(parts[0], values)
            for part in parts[1:]:
                other = _evaluate(part, values)
                found = found & other if isinstance(op, ast.And) else found | other
            return found
        case ast.UnaryOp(operand=operand):
            return _opposite(_evaluate(operand, values))
        case ast.Compare(left=ast.Name(id=name), ops=[op], comparators=[right]):
            return _compared(values[unshield(name)], op, _constant(right))
        case _:  # pragma: no cover - _check has refused it
            raise AssertionError(ast.dump(node))


def _compared(x: Any, op: ast.cmpop, value: Any) -> Any:
    if type(op) in ORDERS:
        return ORDERS[type(op)](x, value)
    several = value if isinstance(value, tuple) else (value,)
    found = _equals(x, several[0])
    for v in several[1:]:
        found = found | _equals(x, v)
    return found if isinstance(op, ast.In | ast.Eq) else _opposite(found)


def _opposite(found: Any) -> Any:
    return not found if isinstance(found, bool) else ~found


def _equals(x: Any, value: Any) -> Any:
    if hasattr(x, "dtype"):
        import numpy as np

        return np.asarray(x == value, dtype=bool)
    return bool(x == value)
