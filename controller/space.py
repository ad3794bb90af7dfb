"""What may be set: parameters and constraints, and the way from a setting to the unit cube and back.

Laws:
    * ``decode(encode(s)) == s`` for every setting that ``check`` or ``decode`` gave out.
    * ``refusal(decode(row))`` is empty for every feasible row: limits and forbidden regions are kept to the bit.
    * Limits and forbidden regions leave the cube as it is: a row means the same setting in all spaces of a campaign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .errors import CampaignError
from .expressions import Constraint
from .limits import Left, left_of, level_number
from .parameters import Categorical, Continuous, Ordinal, Parameter
from .records import Setting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
else:
    Array = Any  # the nouns do without NumPy until they are asked for numbers

TOLERANCE = 1e-9  # of a constraint, relative to the size of its margin over the space
INWARD = 1e-7  # the same of a forbidden region: how far a search keeps away from its edge
Limits = tuple[tuple[str, float, float], ...]  # name, lowest and highest value


@dataclass(frozen=True)
class Space:
    """The settings that a source may be asked for.

    Arrays are in the unit cube: X of shape (n, n_columns), a categorical parameter one-hot.
    """

    parameters: Mapping[str, Parameter]
    constraints: tuple[Constraint, ...] = field(default=())
    limits: Limits = ()
    forbidden: tuple[Constraint, ...] = ()  # no setting where one of them holds

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Parameter names in order."""
        return tuple(self.parameters)

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
    def continuous_columns(self) -> tuple[int, ...]:
        """The columns in which a gradient makes sense."""
        return tuple(self.columns[n].start for n, p in self.parameters.items() if isinstance(p, Continuous))

    @property
    def is_cut(self) -> bool:
        """Whether some rows of the cube are no settings of it."""
        return bool(self.constraints or self.limits or self.forbidden)

    @property
    def is_empty(self) -> bool:
        """Whether the limits leave nothing of a parameter."""
        return None in self._left.values()

    @cached_property
    def bounds(self) -> list[tuple[float, float]]:
        """Of each column, as the limits leave it."""
        found = [(0.0, 1.0)] * self.n_columns
        for name, left in self._left.items():
            if left is not None:
                found[self.columns[name].start] = (left.low, left.high)
        return found

    @cached_property
    def _left(self) -> dict[str, Left | None]:
        return {name: left_of(self.parameters[name], low, high) for name, low, high in self.limits}

    def within(self, limits: Mapping[str, tuple[float, float]], forbidden: tuple[Constraint, ...] = ()) -> Space:
        """This space, cut down further; it may be empty."""
        own = {name: (low, high) for name, low, high in self.limits}
        for name, (low, high) in limits.items():
            before = own.get(name, (low, high))
            own[name] = (max(low, before[0]), min(high, before[1]))
        cut = tuple((name, low, high) for name, (low, high) in own.items())
        return Space(self.parameters, self.constraints, cut, (*self.forbidden, *forbidden))

    def encode(self, setting: Setting) -> Array:
        """The row of a setting, shape (n_columns,)."""
        import numpy as np

        return np.array([u for n, p in self.parameters.items() for u in p.encode(setting[n])])

    def decode(self, row: Any) -> Setting:
        """The setting nearest to a row."""
        return {n: p.decode(row[self.columns[n]]) for n, p in self.parameters.items()}

    def check(self, setting: Mapping[str, Any]) -> Setting:
        """The setting, whole and within the space.

        Raises:
            CampaignError: naming each parameter that is missing, unknown or outside, or the constraint, limit or
                forbidden region that it breaks.
        """
        if unknown := sorted(set(setting) - set(self.parameters)):
            raise CampaignError(
                f"setting has {', '.join(unknown)}, which is no parameter; known: {', '.join(self.names)}"
            )
        if missing := [n for n in self.names if n not in setting]:
            raise CampaignError(f"setting lacks {', '.join(missing)}; give every parameter a value")
        checked: Setting = {}
        for name, p in self.parameters.items():
            try:
                checked[name] = p.check(setting[name])
            except ValueError as error:
                raise CampaignError(f"{name}={setting[name]!r}: {error}") from error
        for c in self.constraints:
            if self._margin(c, checked) < 0:
                raise CampaignError(f"setting {checked} breaks the constraint {c.text!r}; change one of its values")
        if words := self.refusal(checked):
            raise CampaignError(words)
        return checked

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
            Q: (n, n_parameters) in [0, 1).

        Returns:
            (n, n_columns) within the limits: a discrete parameter takes each of its values with equal weight.
        """
        import numpy as np

        X = np.zeros((len(Q), self.n_columns))
        for j, (name, p) in enumerate(self.parameters.items()):
            place = self.columns[name]
            left = self._left.get(name)
            if left is not None:
                X[:, place.start] = left.from_quantiles(Q[:, j])
                continue
            if isinstance(p, Continuous):
                X[:, place.start] = Q[:, j]
                continue
            k = np.minimum((Q[:, j] * p.n_values).astype(int), p.n_values - 1)
            if isinstance(p, Categorical):
                X[np.arange(len(Q)), place.start + k] = 1.0
            else:
                X[:, place.start] = k / (p.n_values - 1)
        return X

    def round(self, X: Array) -> Array:
        """The nearest valid rows within the limits, shape (n, n_columns)."""
        import numpy as np

        rounded = np.clip(X, 0.0, 1.0)
        for name, p in self.parameters.items():
            place = self.columns[name]
            if isinstance(p, Categorical):
                rounded[:, place] = np.eye(p.n_columns)[rounded[:, place].argmax(axis=1)]
            elif not isinstance(p, Continuous):
                rounded[:, place] = np.round(rounded[:, place] * (p.n_values - 1)) / (p.n_values - 1)
        for name, left in self._left.items():
            if left is not None:
                rounded[:, self.columns[name].start] = left.nearest(X[:, self.columns[name].start])
        return rounded

    def margins(self, X: Any, *, lib: Any) -> list[Any]:
        """Each constraint's margin, >= 0 where it holds; then how far each forbidden region is away.

        Args:
            X: (..., n_columns), an array of ``lib``.
            lib: NumPy or torch.

        Returns:
            One array of shape (...) a constraint, scaled to about one over the space.
        """
        values = self._values(X, lib=lib)
        kept = [c.margin(values, lib=lib) / s for c, s in zip(self.constraints, self._scales, strict=True)]
        if not self.forbidden:
            return kept
        numbers = {**values, **self._levels(X, lib=lib)}
        scales = self._scales_of_forbidden
        away = [-c.margin(numbers, lib=lib) / s - INWARD for c, s in zip(self.forbidden, scales, strict=True)]
        return kept + away

    def is_feasible(self, X: Array) -> NDArray[np.bool_]:
        """Which rows keep every constraint and limit and lie in no forbidden region, shape (n,)."""
        import numpy as np

        ok = np.ones(len(X), dtype=bool)
        for name, left in self._left.items():
            ok &= False if left is None else left.holds(X[:, self.columns[name].start])
        with np.errstate(all="ignore"):
            for margin in self.margins(X, lib=np)[: len(self.constraints)]:
                ok &= np.asarray(margin >= -TOLERANCE)  # a margin that is NaN does not hold
        if self.forbidden:
            for k in np.flatnonzero(ok):
                ok[k] = not self.refusal(self.decode(X[k]))
        return ok

    @cached_property
    def _scales(self) -> tuple[float, ...]:
        """The usual size of each constraint's margin, so that one tolerance fits all."""
        import numpy as np

        grid = self._grid
        return _sizes(self.constraints, self._values(grid, lib=np))

    @cached_property
    def _scales_of_forbidden(self) -> tuple[float, ...]:
        import numpy as np

        return _sizes(self.forbidden, {**self._values(self._grid, lib=np), **self._levels(self._grid, lib=np)})

    @cached_property
    def _grid(self) -> Array:
        import numpy as np

        whole = Space(self.parameters)  # the same for all spaces of a campaign
        return whole.from_quantiles(np.random.default_rng(0).random((64, len(self.parameters))))

    def _values(self, X: Any, *, lib: Any) -> dict[str, Any]:
        """The numbers that stand in constraints: of an ordinal parameter the place of its level."""
        return {
            n: p.from_unit(X[..., self.columns[n].start], lib=lib)
            for n, p in self.parameters.items()
            if not isinstance(p, Categorical)
        }

    def _levels(self, X: Any, *, lib: Any) -> dict[str, Any]:
        """The levels of ordinal parameters as a guard reads them; NaN for labels."""
        found = {}
        for name, p in self.parameters.items():
            if isinstance(p, Ordinal):
                k = lib.round(X[..., self.columns[name].start] * (p.n_values - 1))
                found[name] = 0.0 * k
                for i, level in enumerate(p.levels):
                    found[name] = lib.where(k == i, found[name] + level_number(level), found[name])
        return found

    def _margin(self, constraint: Constraint, setting: Setting) -> float:
        numbers = {
            n: self.parameters[n].levels.index(v) if self.parameters[n].kind == "ordinal" else v  # type: ignore[union-attr]
            for n, v in setting.items()
        }
        scale = self._scales[self.constraints.index(constraint)]
        margin = float(constraint.margin(numbers)) / scale
        return 0.0 if abs(margin) <= TOLERANCE else margin


def _sizes(constraints: tuple[Constraint, ...], values: Mapping[str, Any]) -> tuple[float, ...]:
    import numpy as np

    with np.errstate(all="ignore"):
        sizes = [np.nanmax(np.abs(np.asarray(c.margin(values, lib=np)))) for c in constraints]
    return tuple(float(s) if np.isfinite(s) and s > 0 else 1.0 for s in sizes)
