"""What may be set: parameters and constraints, and the way from a setting to the unit cube and back.

Laws:
    * ``decode(encode(s)) == s`` for every setting that ``check`` or ``decode`` gave out.
    * ``refusal(decode(row))`` is empty for every feasible row: limits and forbidden regions are kept to the bit.
    * Limits, forbidden regions, constraints and a context leave the cube as it is: a row means the same setting in all
      spaces of a campaign.
    * What is not active has no value in a setting, and stands at a neutral place of the cube.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .conditions import Condition
from .errors import CampaignError
from .expressions import Constraint, Equality, Expression
from .limits import Left, left_of, level_number
from .mixtures import Mixture
from .parameters import Categorical, Continuous, Derived, Parameter, Varied
from .records import Setting, Value
from .settings import complete, default_context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .candidate_table import Table
    from .predicates import Predicate
    from .projecting import Box

    Array = NDArray[np.float64]
else:
    Array = Any  # the nouns do without NumPy until they are asked for numbers

TOLERANCE = 1e-9  # of a constraint, relative to the size of its margin over the space; of an equality, of its sides
INWARD = 1e-7  # the same of a forbidden region: how far a search keeps away from its edge
Limits = tuple[tuple[str, float, float], ...]  # name, lowest and highest value


@dataclass(frozen=True)
class Space:
    """The settings that a source may be asked for.

    Arrays are in the unit cube: X of shape (n, n_columns), a categorical parameter one-hot or by its descriptors.
    """

    parameters: Mapping[str, Parameter]
    constraints: tuple[Constraint, ...] = field(default=())
    limits: Limits = ()
    forbidden: tuple[Constraint, ...] = ()  # no setting where one of them holds
    equalities: tuple[Equality, ...] = ()
    mixtures: tuple[Mixture, ...] = ()
    table: Table | None = None  # if there is one, only its rows
    predicates: tuple[Predicate, ...] = ()  # the user's own code; each must allow a setting
    context: tuple[tuple[str, Value], ...] = ()  # what was measured of parameters that are not set

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Parameter names in order."""
        return tuple(self.parameters)

    @cached_property
    def varied(self) -> dict[str, Any]:
        """The parameters that take columns."""
        return {n: p for n, p in self.parameters.items() if isinstance(p, Varied)}

    @cached_property
    def columns(self) -> dict[str, slice]:
        """Where each parameter stands in a row of the cube."""
        places, start = {}, 0
        for name, p in self.parameters.items():
            places[name] = slice(start, start + p.n_columns)
            start += p.n_columns
        return places

    @cached_property
    def n_columns(self) -> int:
        """Width of a row of the cube."""
        return sum(p.n_columns for p in self.parameters.values())

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """The number of the lengthscale that each column has: one a parameter, one a descriptor."""
        found: list[int] = []
        for p in self.varied.values():
            first = found[-1] + 1 if found else 0
            found += [first + (k if p.n_groups > 1 else 0) for k in range(p.n_columns)]
        return tuple(found)

    @property
    def n_groups(self) -> int:
        """How many lengthscales there are."""
        return self.groups[-1] + 1 if self.groups else 0

    @cached_property
    def n_set(self) -> int:
        """How many parameters are set: neither fixed, nor derived, nor measured."""
        return sum(not p.context for p in self.varied.values())

    @cached_property
    def n_quantiles(self) -> int:
        """How many uniform numbers a setting is drawn from."""
        return 1 if self.table is not None else self.n_set + len(self.mixtures)

    @cached_property
    def continuous_columns(self) -> tuple[int, ...]:
        """The columns in which a gradient makes sense."""
        if self.table is not None:
            return ()
        is_free = {n: isinstance(p, Continuous) and not p.context for n, p in self.varied.items()}
        return tuple(self.columns[n].start for n in self.varied if is_free[n])

    @cached_property
    def has_constants(self) -> bool:
        """Whether some parameters take no column."""
        return len(self.varied) < len(self.parameters)

    @cached_property
    def derivations(self) -> dict[str, Expression]:
        """By derived parameter, those first that others need."""
        left = {n: Expression(p.derived) for n, p in self.parameters.items() if isinstance(p, Derived)}
        found: dict[str, Expression] = {}
        while ready := [n for n, e in left.items() if not e.names & set(left)]:
            found |= {n: left.pop(n) for n in ready}
        return found  # what is derived in a circle was refused with the campaign

    def base_names(self, names: Iterable[str]) -> frozenset[str]:
        """The parameters that these names come down to, derived ones worked out."""
        found: frozenset[str] = frozenset()
        for name in names:
            own = self.derivations.get(name)
            found |= self.base_names(own.names) if own else {name}
        return found

    @cached_property
    def conditions(self) -> dict[str, Condition]:
        """By conditional parameter, parents first."""
        left = {n: Condition(p.when) for n, p in self.varied.items() if p.when is not None}
        found: dict[str, Condition] = {}
        while ready := [n for n, c in left.items() if not c.names & set(left)]:
            found |= {n: left.pop(n) for n in ready}
        return found

    @cached_property
    def pins(self) -> list[tuple[list[int], list[float]]]:
        """The columns of each context parameter, and what they are: as given, else in the middle."""
        given, found = dict(self.context), []
        for name, p in self.varied.items():
            if p.context:
                place = self.columns[name]
                found.append((list(range(place.start, place.stop)), p.encode(given.get(name, default_context(p)))))
        return found

    @cached_property
    def has_margins(self) -> bool:
        """Whether some rows are refused by numbers that can be followed: see ``margins``."""
        return bool(self.constraints or self.forbidden or any(n not in self.varied for n, _, _ in self.limits))

    @property
    def is_tied(self) -> bool:
        """Whether equalities or totals tie parameters together."""
        return bool(self.equalities or self.mixtures)

    @property
    def is_bound(self) -> bool:
        """Whether the value of one parameter decides what another may be."""
        return bool(self.is_tied or self.conditions)

    @cached_property
    def is_cut(self) -> bool:
        """Whether some rows of the cube are no settings of it."""
        cuts = self.constraints or self.limits or self.forbidden or self.predicates or self.is_bound or self.pins
        return bool(cuts or self.table is not None or self.derivations)

    @property
    def is_empty(self) -> bool:
        """Whether the limits leave nothing of a parameter, or nothing is left of the table of candidates."""
        return None in self.left.values() or (self.table is not None and not len(self.table.allowed(self).rows))

    @cached_property
    def bounds(self) -> list[tuple[float, float]]:
        """Of each column, as the limits and the context leave it."""
        found = [(0.0, 1.0)] * self.n_columns
        for name, left in self.left.items():
            if left is not None:
                found[self.columns[name].start] = (left.low, left.high)
        for columns, code in self.pins:
            for column, u in zip(columns, code, strict=True):
                found[column] = (u, u)
        return found

    @cached_property
    def left(self) -> dict[str, Left | None]:
        """What limits leave of each parameter that they speak of; None: nothing."""
        named = [(n, low, high) for n, low, high in self.limits if n in self.varied]
        return {name: left_of(self.parameters[name], low, high) for name, low, high in named}

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from other spaces; hashable."""
        cuts = (self.constraints, self.limits, self.forbidden, self.equalities, self.mixtures)
        return (tuple(self.parameters.items()), *cuts, self.table, self.predicates, self.context)

    @classmethod
    def of_key(cls, key: tuple[Any, ...]) -> Space:
        """The inverse of ``key``."""
        return cls(dict(key[0]), *key[1:])

    def within(self, limits: Mapping[str, tuple[float, float]], forbidden: tuple[Constraint, ...] = ()) -> Space:
        """This space, cut down further; it may be empty."""
        own = {name: (low, high) for name, low, high in self.limits}
        for name, (low, high) in limits.items():
            before = own.get(name, (low, high))
            own[name] = (max(low, before[0]), min(high, before[1]))
        cut = tuple((name, low, high) for name, (low, high) in own.items())
        return replace(self, limits=cut, forbidden=(*self.forbidden, *forbidden))

    def at(self, context: Mapping[str, Value]) -> Space:
        """This space where the context is as it was measured; what is not given stays as it was."""
        merged = {**dict(self.context), **context}
        kept = tuple((n, merged[n]) for n, p in self.varied.items() if p.context and n in merged)
        return self if kept == self.context else replace(self, context=kept)

    @property
    def without_code(self) -> Space:
        """This space less the predicates whose code was not looked for yet: a campaign is read without running any."""
        return replace(self, predicates=tuple(p for p in self.predicates if p.function is not None))

    @property
    def bare(self) -> Space:
        """The parameters alone: what a source may say that it achieved."""
        return Space(self.parameters)

    def encode(self, setting: Setting) -> Array:
        """The row of a setting, shape (n_columns,)."""
        import numpy as np

        if not self.conditions:
            return np.array([u for n, p in self.varied.items() for u in p.encode(setting[n])], dtype=float)
        missing = {n for n, p in self.varied.items() if n not in setting and p.when is not None}
        missing |= {n for n in setting if n not in self._active_of(setting)}
        codes = [self.neutral(n) if n in missing else p.encode(setting[n]) for n, p in self.varied.items()]
        return np.array([u for code in codes for u in code], dtype=float)

    def decode(self, row: Any) -> Setting:
        """The setting nearest to a row."""
        found = {n: p.decode(row[self.columns[n]]) for n, p in self.varied.items()}
        if self.table is not None:  # to the last bit: a driver may look its setting up
            found |= {n: type(found[n])(x) for n, x in self.table.own(row).items()}
        return found if self._is_plain else complete(self, found)

    @cached_property
    def _is_plain(self) -> bool:
        return not (self.has_constants or self.conditions or self.mixtures)

    def _active_of(self, setting: Setting) -> set[str]:
        from .settings import active_names

        return active_names(self, setting)

    def neutral(self, name: str) -> list[float]:
        """The columns of a parameter that is not active."""
        p = self.varied[name]
        is_one_hot = isinstance(p, Categorical) and not p.descriptors
        return [1.0 / p.n_columns if is_one_hot else 0.5] * p.n_columns

    def check(self, setting: Mapping[str, Any]) -> Setting:
        """The setting, whole and within the space.

        Raises:
            CampaignError: naming each parameter that is missing, unknown or outside, or the constraint, limit or
                forbidden region that it breaks.
        """
        from .settings import checked

        return checked(self, setting)

    def changed(self, setting: Setting, changes: Mapping[str, Any]) -> Setting:
        """The setting with these values changed, what is derived worked out anew.

        Raises:
            CampaignError: as ``check``.
        """
        return self.check({**{n: v for n, v in setting.items() if n not in self.derivations}, **changes})

    def refusal(self, setting: Setting) -> str:
        """The limit or forbidden region that a setting breaks, as a guard beside the device would say; empty: none."""
        for name, low, high in self.limits:
            x = level_number(setting[name])
            if x > high:
                return f"{name}={setting[name]} is above the guard's limit {high:g}; lower it"
            if x < low:
                return f"{name}={setting[name]} is below the guard's limit {low:g}; raise it"
            if not low <= x <= high:
                return f"{name}={setting[name]} is no number, so the guard's limits forbid it; leave {name} out of them"
        for c in self.forbidden:
            if not c.is_certainly_broken({n: level_number(setting[n]) for n in c.names}):
                shown = ", ".join(f"{n}={setting[n]}" for n in sorted(c.names))
                return f"{shown} lies where {c.text!r} holds, which the guard forbids; leave that region"
        return ""

    def check_achieved(self, achieved: Mapping[str, Any]) -> Setting:
        """What a source says that it achieved: known names, values that can be encoded; bounds need not hold.

        Raises:
            CampaignError: naming the parameter, the value and the rule.
        """
        checked: Setting = {}
        for name, value in achieved.items():
            if name not in self.parameters:
                raise CampaignError(f"achieved {name}={value!r}: is no parameter; known: {', '.join(self.names)}")
            try:
                checked[name] = self.parameters[name].check_achieved(value)
            except ValueError as error:
                raise CampaignError(f"achieved {name}={value!r}: {error}") from error
        return checked

    def from_quantiles(self, Q: Array) -> Array:
        """Valid rows from uniform numbers.

        Args:
            Q: (n, n_quantiles) in [0, 1).

        Returns:
            (n, n_columns) within the limits: a discrete parameter takes each of its values with equal weight.
        """
        from .cube import pinned, rounded, sampled

        X = sampled(self, Q)
        return rounded(self, X) if self.is_bound else pinned(self, X)

    def round(self, X: Array) -> Array:
        """The nearest valid rows within the limits, on equalities and totals, shape (n, n_columns)."""
        from .cube import rounded

        return rounded(self, X)

    def box(self, X: Array) -> Box:
        """What the columns of each row may become, as long as its choices stay."""
        from .cube import box_of

        return box_of(self, X)

    def at_context(self, X: Array) -> Array:
        """The same rows at the context as it is now."""
        from .cube import pinned

        return pinned(self, X.copy()) if self.pins else X

    def ties(self, X: Any, *, lib: Any) -> list[Any]:
        """How far each equality and total is from being met, relative to the size of its sides; as ``margins``."""
        from .margins import ties

        return ties(self, X, lib=lib)

    def margins(self, X: Any, *, lib: Any) -> list[Any]:
        """Each constraint's margin, >= 0 where it holds; then how far each forbidden region is away.

        Args:
            X: (..., n_columns), an array of ``lib``.
            lib: NumPy or torch.

        Returns:
            One array of shape (...) a constraint, scaled to about one over the space.
        """
        from .margins import margins

        return margins(self, X, lib=lib)

    def residuals(self, X: Array) -> Array:
        """(n, m): how far each equality and total is from being met, relative to the size of its sides."""
        import numpy as np

        return np.stack(self.ties(X, lib=np), axis=1)

    def is_feasible(self, X: Array) -> NDArray[np.bool_]:
        """Which rows are settings of this space: they keep all that it demands, shape (n,)."""
        from .margins import feasible

        found: NDArray[np.bool_] = feasible(self, X)
        return found

    @cached_property
    def scales(self) -> tuple[tuple[float, ...], ...]:
        """The usual sizes of the margins of constraints, forbidden regions and equalities: one tolerance fits all."""
        from .margins import scales

        return scales(self)
