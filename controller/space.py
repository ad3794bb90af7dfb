"""What may be set: parameters and constraints, and the way from a setting to the unit cube and back.

Law: ``decode(encode(s)) == s`` for every setting that ``check`` or ``decode`` gave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .errors import CampaignError
from .expressions import Constraint
from .parameters import Categorical, Continuous, Parameter
from .records import Setting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
else:
    Array = Any  # the nouns do without NumPy until they are asked for numbers

TOLERANCE = 1e-9  # of a constraint, relative to the size of its margin over the space


@dataclass(frozen=True)
class Space:
    """The settings that a source may be asked for.

    Arrays are in the unit cube: X of shape (n, n_columns), a categorical parameter one-hot.
    """

    parameters: Mapping[str, Parameter]
    constraints: tuple[Constraint, ...] = field(default=())

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
            CampaignError: naming each parameter that is missing, unknown or outside, or the broken constraint.
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
        return checked

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
            (n, n_columns): a discrete parameter takes each of its values with equal weight.
        """
        import numpy as np

        X = np.zeros((len(Q), self.n_columns))
        for j, (name, p) in enumerate(self.parameters.items()):
            place = self.columns[name]
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
        """The nearest valid rows, shape (n, n_columns)."""
        import numpy as np

        rounded = np.clip(X, 0.0, 1.0)
        for name, p in self.parameters.items():
            place = self.columns[name]
            if isinstance(p, Categorical):
                rounded[:, place] = np.eye(p.n_columns)[rounded[:, place].argmax(axis=1)]
            elif not isinstance(p, Continuous):
                rounded[:, place] = np.round(rounded[:, place] * (p.n_values - 1)) / (p.n_values - 1)
        return rounded

    def margins(self, X: Any, *, lib: Any) -> list[Any]:
        """Each constraint's margin, >= 0 where it holds.

        Args:
            X: (..., n_columns), an array of ``lib``.
            lib: NumPy or torch.

        Returns:
            One array of shape (...) a constraint, scaled to about one over the space.
        """
        values = {
            n: p.from_unit(X[..., self.columns[n].start], lib=lib)
            for n, p in self.parameters.items()
            if not isinstance(p, Categorical)
        }
        return [c.margin(values, lib=lib) / s for c, s in zip(self.constraints, self._scales, strict=True)]

    def is_feasible(self, X: Array) -> NDArray[np.bool_]:
        """Which rows keep every constraint, shape (n,)."""
        import numpy as np

        ok = np.ones(len(X), dtype=bool)
        with np.errstate(all="ignore"):
            for margin in self.margins(X, lib=np):
                ok &= np.asarray(margin >= -TOLERANCE)  # a margin that is NaN does not hold
        return ok

    @cached_property
    def _scales(self) -> tuple[float, ...]:
        """The usual size of each constraint's margin, so that one tolerance fits all."""
        import numpy as np

        grid = self.from_quantiles(np.random.default_rng(0).random((64, len(self.parameters))))
        values = {
            n: p.from_unit(grid[:, self.columns[n].start], lib=np)
            for n, p in self.parameters.items()
            if not isinstance(p, Categorical)
        }
        with np.errstate(all="ignore"):
            sizes = [np.nanmax(np.abs(np.asarray(c.margin(values, lib=np)))) for c in self.constraints]
        return tuple(float(s) if np.isfinite(s) and s > 0 else 1.0 for s in sizes)

    def _margin(self, constraint: Constraint, setting: Setting) -> float:
        numbers = {
            n: self.parameters[n].levels.index(v) if self.parameters[n].kind == "ordinal" else v  # type: ignore[union-attr]
            for n, v in setting.items()
        }
        scale = self._scales[self.constraints.index(constraint)]
        margin = float(constraint.margin(numbers)) / scale
        return 0.0 if abs(margin) <= TOLERANCE else margin
