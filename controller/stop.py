"""When a campaign is to stop, as it is declared: rules by name, joined by ``&`` and ``|``; read by a whitelist.

``target_reached(60, probability=0.95) | converged(15) & gain_below(0.01)``: ``&`` binds more than ``|``, brackets as
usual. A budget that is spent and people who ask for the end stop a campaign whatever is declared here.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from .errors import CampaignError
from .units import to_seconds

MAX_LENGTH, MAX_RULES, MAX_DEPTH = 500, 20, 60


@dataclass(frozen=True)
class Term(ABC):
    """One rule with its arguments, checked at birth."""

    name: ClassVar[str]
    needs_belief: ClassVar[bool] = False  # whether only a belief that predicts the target can judge it
    needs_number: ClassVar[bool] = False  # whether the goal must be one number: not several, and not a question

    @abstractmethod
    def words(self) -> str:
        """What it waits for."""

    def _check(self, argument: str, is_good: bool, rule: str) -> None:
        if not is_good:
            raise CampaignError(f"{self.name}({argument}={getattr(self, argument)!r}): {rule}")

    def _check_number(self, argument: str, *, above: float = -math.inf, below: float = math.inf) -> None:
        x = getattr(self, argument)
        is_number = isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
        bounds = [f"above {above:g}" if above > -math.inf else "", f"below {below:g}" if below < math.inf else ""]
        words = " and ".join(w for w in bounds if w)
        self._check(argument, is_number and above < x < below, f"must be a {'number ' + words if words else 'number'}")

    def _check_count(self, argument: str) -> None:
        x = getattr(self, argument)
        is_count = isinstance(x, int) and not isinstance(x, bool) and x >= 1
        self._check(argument, is_count, "must be a whole number, 1 or more")


@dataclass(frozen=True)
class TargetReached(Term):
    """The best setting's noise-free objective is beyond ``value``, constraints met, with this probability."""

    name: ClassVar[str] = "target_reached"
    needs_belief: ClassVar[bool] = True
    needs_number: ClassVar[bool] = True
    value: float
    probability: float = 0.95

    def __post_init__(self) -> None:
        self._check_number("value")
        self._check_number("probability", above=0.0, below=1.0)

    def words(self) -> str:
        """What it waits for."""
        return f"a setting reaches {self.value:g} with probability {self.probability:g}"


@dataclass(frozen=True)
class Converged(Term):
    """The best reading grew by no more than ``tolerance`` in the last ``n`` readings that the belief asked for."""

    name: ClassVar[str] = "converged"
    needs_number: ClassVar[bool] = True
    n: int
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        self._check_count("n")
        self._check_number("tolerance")
        self._check("tolerance", self.tolerance >= 0, "must not be negative")

    def words(self) -> str:
        """What it waits for."""
        by = f" by more than {self.tolerance:g}" if self.tolerance else ""
        return f"{self.n} readings bring no improvement{by}"


@dataclass(frozen=True)
class GainBelow(Term):
    """The expected gain of each of the last ``n`` decisions is below this fraction of the objective's spread."""

    name: ClassVar[str] = "gain_below"
    needs_belief: ClassVar[bool] = True
    needs_number: ClassVar[bool] = True
    fraction: float
    n: int = 3

    def __post_init__(self) -> None:
        self._check_number("fraction", above=0.0, below=1.0)
        self._check_count("n")

    def words(self) -> str:
        """What it waits for."""
        return f"{self.n} decisions in a row promise less than {self.fraction:.3g} of the readings' spread"


@dataclass(frozen=True)
class GainBelowCost(Term):
    """What a trial is expected to gain, at ``worth`` a unit, is less than what it costs; ``n`` decisions in a row."""

    name: ClassVar[str] = "gain_below_cost"
    needs_belief: ClassVar[bool] = True
    worth: float
    resource: str = ""  # in which worth is counted; empty: the first of the budget that is no count of trials
    n: int = 3

    def __post_init__(self) -> None:
        self._check_number("worth", above=0.0)
        self._check("resource", isinstance(self.resource, str), "must be the name of a resource of the budget")
        self._check_count("n")

    def words(self) -> str:
        """What it waits for."""
        unit = f" {self.resource}" if self.resource else ""
        return f"{self.n} decisions in a row promise less than they cost, at {self.worth:g}{unit} a unit gained"


@dataclass(frozen=True)
class RegretBelow(Term):
    """An upper bound of what another setting may still be better by is below ``tolerance`` (Makarova et al. 2022)."""

    name: ClassVar[str] = "regret_below"
    needs_belief: ClassVar[bool] = True
    needs_number: ClassVar[bool] = True
    tolerance: float
    probability: float = 0.95

    def __post_init__(self) -> None:
        self._check_number("tolerance", above=0.0)
        self._check_number("probability", above=0.5, below=1.0)

    def words(self) -> str:
        """What it waits for."""
        return f"no setting is better by {self.tolerance:g}, with bounds of probability {self.probability:g}"


@dataclass(frozen=True)
class Failures(Term):
    """So many trials gave nothing."""

    name: ClassVar[str] = "failures"
    n: int

    def __post_init__(self) -> None:
        self._check_count("n")

    def words(self) -> str:
        """What it waits for."""
        return f"{self.n} trials gave nothing"


@dataclass(frozen=True)
class Spent(Term):
    """So much of a resource was spent: a budget to be joined with other rules."""

    name: ClassVar[str] = "spent"
    resource: str
    amount: float | str

    def __post_init__(self) -> None:
        self._check("resource", isinstance(self.resource, str), "must be the name of a resource")
        if isinstance(self.amount, str) and self.resource == "time":
            object.__setattr__(self, "amount", _seconds(self.name, self.amount))
        self._check_number("amount", above=0.0)

    def words(self) -> str:
        """What it waits for."""
        amount = float(self.amount)
        return f"{_duration(amount) if self.resource == 'time' else f'{amount:g} {self.resource}'} are spent"


@dataclass(frozen=True)
class Elapsed(Term):
    """So much time has passed on the ledger's clock since the campaign began; looked at with each event."""

    name: ClassVar[str] = "elapsed"
    time: float | str

    def __post_init__(self) -> None:
        if isinstance(self.time, str):
            object.__setattr__(self, "time", _seconds(self.name, self.time))
        self._check_number("time", above=0.0)

    def words(self) -> str:
        """What it waits for."""
        return f"{_duration(float(self.time))} have passed"


def _duration(seconds: float) -> str:
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:g} s"


def _seconds(rule: str, text: str) -> float:
    try:
        return to_seconds(text)
    except ValueError as error:
        raise CampaignError(f"{rule}({text!r}): {error}") from error


RULES: dict[str, type[Term]] = {
    t.name: t for t in (TargetReached, Converged, GainBelow, GainBelowCost, RegretBelow, Failures, Spent, Elapsed)
}


def main_resource(budget: Iterable[str]) -> str:
    """The resource in which a gain is priced where none is named: the first that is more than a count."""
    names = list(budget)
    return next((r for r in names if r != "trials"), names[0])


@dataclass(frozen=True)
class Joined:
    """Rules joined by ``&`` (all of them) or ``|`` (any of them)."""

    sign: Literal["&", "|"]
    parts: tuple[Node, ...]

    def words(self) -> str:
        """In brackets where it would be read wrongly without."""
        texts = [f"({p.words()})" if isinstance(p, Joined) and self.sign == "&" else p.words() for p in self.parts]
        return (" and " if self.sign == "&" else ", or ").join(texts)


Node = Term | Joined


@dataclass(frozen=True)
class Stop:
    """A rule, or several joined, from its text; ``Stop("converged(15)") | Stop("failures(5)")`` joins two.

    Raises:
        CampaignError: at birth, if the text is not in the grammar, or an argument does not fit.
    """

    text: str
    tree: Node = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", _read(self.text))
        if len(self.terms) > MAX_RULES:
            raise CampaignError(f"{self.text[:60]!r}… has {len(self.terms)} rules; use at most {MAX_RULES}")

    def __and__(self, other: Stop) -> Stop:
        return Stop(f"({self.text}) & ({other.text})")

    def __or__(self, other: Stop) -> Stop:
        return Stop(f"({self.text}) | ({other.text})")

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """All rules, in the order of the text."""
        return tuple(_terms(self.tree))

    def words(self) -> str:
        """The whole for a person."""
        return self.tree.words()


def _text_of(declared: Any) -> Any:
    """A ``Stop`` stands for its text, and a list for any of its entries."""
    if isinstance(declared, Stop):
        return declared.text
    if isinstance(declared, list | tuple):
        return " | ".join(f"({Stop(_text_of(part)).text})" for part in declared)
    return declared if declared is None else Stop(declared).text


StopText = Annotated[str, BeforeValidator(_text_of)]  # as a campaign holds it, parsed once at birth


def _terms(node: Node) -> Iterator[Term]:
    if isinstance(node, Joined):
        for part in node.parts:
            yield from _terms(part)
    else:
        yield node


def _read(text: str) -> Node:
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_LENGTH:
        raise CampaignError(f"{str(text)[:60]!r} must be text of 1 to {MAX_LENGTH} characters, such as {EXAMPLE}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CampaignError(f"{text!r} cannot be read ({type(error).__name__}); write it like {EXAMPLE}") from error
    return _node(tree, text)


EXAMPLE = "'target_reached(60) | converged(15) & gain_below(0.01)'"


def _node(tree: ast.expr, text: str, depth: int = 0) -> Node:
    if depth > MAX_DEPTH:
        raise CampaignError(f"{text[:60]!r} is nested deeper than {MAX_DEPTH}; simplify it")
    match tree:
        case ast.BinOp(op=ast.BitAnd()):
            return _joined("&", (tree.left, tree.right), text, depth)
        case ast.BinOp(op=ast.BitOr()):
            return _joined("|", (tree.left, tree.right), text, depth)
        case ast.BoolOp():
            return _joined("&" if isinstance(tree.op, ast.And) else "|", tuple(tree.values), text, depth)
        case ast.Call(func=ast.Name(id=name)):
            return _term(name, [_value(a, text) for a in tree.args], _named(tree.keywords, text))
        case ast.Name(id=name):
            return _term(name, [], {})
    raise CampaignError(f"{ast.unparse(tree)!r} is no rule; write rules joined by & and |, like {EXAMPLE}")


def _joined(sign: Literal["&", "|"], parts: tuple[ast.expr, ...], text: str, depth: int) -> Joined:
    found: list[Node] = []
    for part in parts:
        node = _node(part, text, depth + 1)
        found += node.parts if isinstance(node, Joined) and node.sign == sign else (node,)
    return Joined(sign, tuple(found))


def _named(keywords: list[ast.keyword], text: str) -> dict[str, Any]:
    return {k.arg or "**": _value(k.value, text) for k in keywords}


def _value(node: ast.expr, text: str) -> float | str:
    match node:
        case ast.Constant(value=int() | float() | str() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    raise CampaignError(f"{ast.unparse(node)!r} in {text!r} is neither a number nor a quoted text; write one")


def _term(name: str, given: list[Any], named: dict[str, Any]) -> Term:
    rule = RULES.get(name)
    if rule is None:
        close = difflib.get_close_matches(name, RULES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(RULES)}"
        raise CampaignError(f"rule {name!r} is unknown; {hint}")
    names = [f.name for f in fields(rule)]
    usage = f"write {name}({', '.join(_argument(f) for f in fields(rule))})"
    if len(given) > len(names):
        raise CampaignError(f"{name} takes {len(names)} arguments, not {len(given)}; {usage}")
    arguments = dict(zip(names, given, strict=False))
    for key, value in named.items():
        if key not in names or key in arguments:
            problem = "is given twice" if key in arguments else "is no argument of it"
            raise CampaignError(f"{name}: {key!r} {problem}; {usage}")
        arguments[key] = value
    required = [f.name for f in fields(rule) if not _has_default(f)]
    if missing := [n for n in required if n not in arguments]:
        raise CampaignError(f"{name} lacks {missing[0]!r}; {usage}")
    return rule(**arguments)


def _has_default(f: Any) -> bool:
    return f.default is not MISSING


def _argument(f: Any) -> str:
    return f"{f.name}={f.default!r}" if _has_default(f) else re.sub(r"_", " ", f.name).upper()
