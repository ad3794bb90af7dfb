"""The linear part of a space as a mixed-integer programme: exact about what cannot be, and a last way to a setting.

Law: ``is_ruled_out`` is true only where no setting keeps the linear demands; others are left aside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .expressions import Constraint, Equality
from .linear import Linear, linear_form, linear_margin
from .parameters import Categorical, Continuous, Fixed

if TYPE_CHECKING:
    from .space import Array, Space

MAX_NODES = 20_000  # of a search tree; not seconds, which are not the same on every computer
N_TRIED = 4  # directions in which a setting is looked for, for each that is wanted
INFEASIBLE = 2  # as SciPy's milp has it
SLACK = 1e-9  # relative: what a demand may be off


@dataclass
class _Programme:
    """Columns: one a numeric parameter, from 0 to 1 or in steps from 0 on; then one a component that may be unused."""

    names: list[str]
    low: list[float] = field(default_factory=list)
    size: list[float] = field(default_factory=list)
    bounds: list[tuple[float, float]] = field(default_factory=list)
    integers: list[int] = field(default_factory=list)
    rows: list[tuple[list[float], float, float]] = field(default_factory=list)
    n_extra: int = 0

    def row(
        self, coefficients: dict[str, float], low: float, high: float, extra: dict[int, float] | None = None
    ) -> None:
        """``low <= sum(coefficient * parameter) <= high``, scaled to about one."""
        weights = [coefficients.get(n, 0.0) * s for n, s in zip(self.names, self.size, strict=True)]
        shift = sum(coefficients.get(n, 0.0) * x for n, x in zip(self.names, self.low, strict=True))
        weights += [0.0] * self.n_extra
        for k, weight in (extra or {}).items():
            weights[len(self.names) + k] = weight
        scale = max((abs(w) for w in weights), default=0.0) or max(abs(low - shift), 1.0)
        slack = SLACK * max(1.0, abs(shift) / scale)
        self.rows.append(([w / scale for w in weights], (low - shift) / scale - slack, (high - shift) / scale + slack))


def is_ruled_out(space: Space) -> bool:
    """Whether the linear demands alone allow no setting."""
    if space.table is not None or not (space.constraints or space.is_tied):
        return False
    programme = _programme(space)
    if not programme.rows:
        return False
    import numpy as np

    return bool(_solve(programme, np.zeros(len(programme.names) + programme.n_extra)).status == INFEASIBLE)


def solved(space: Space, n: int, *, seed: int) -> Array | None:
    """``n`` rows that keep all demands, found by solving the linear ones in random directions; perhaps repeated.

    Returns:
        (n, n_columns), or None where none was found.
    """
    import numpy as np

    if space.table is not None or not (space.constraints or space.is_tied):
        return None
    programme, rng = _programme(space), np.random.default_rng(seed)
    found: list[Array] = []
    for _ in range(N_TRIED * n):
        direction = rng.standard_normal(len(programme.names) + programme.n_extra)
        answer = _solve(programme, direction)
        if answer.x is None:
            break
        row = _row_of(space, programme, answer.x, rng)
        if space.is_feasible(row[None])[0]:
            found.append(row)
        if len(found) == n:
            break
    return np.stack([found[k % len(found)] for k in range(n)]) if found else None


def _solve(programme: _Programme, direction: Any) -> Any:
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    n = len(programme.names) + programme.n_extra
    ends = np.array([*programme.bounds, *[(0.0, 1.0)] * programme.n_extra]).reshape(n, 2)
    integrality = np.zeros(n, dtype=int)
    integrality[programme.integers] = 1
    integrality[len(programme.names) :] = 1
    if not programme.rows:
        rows: Any = ()
    else:
        A, low, high = (np.array(part, dtype=float) for part in zip(*programme.rows, strict=True))
        rows = LinearConstraint(A, low, high)
    return milp(
        direction,
        constraints=rows,
        integrality=integrality,
        bounds=Bounds(ends[:, 0], ends[:, 1]),
        options={"node_limit": MAX_NODES},
    )


def _programme(space: Space) -> _Programme:
    programme = _Programme([n for n, p in space.varied.items() if not isinstance(p, Categorical)])
    for k, name in enumerate(programme.names):
        p, column = space.varied[name], space.columns[name].start
        first, last = float(p.from_unit(0.0, lib=math)), float(p.from_unit(1.0, lib=math))
        ends = [float(p.from_unit(u, lib=math)) for u in space.bounds[column]]
        steps = 1.0 if isinstance(p, Continuous) else p.n_values - 1.0
        programme.low.append(first)
        programme.size.append((last - first) / steps)
        programme.bounds.append(tuple((x - first) / (last - first) * steps for x in ends))  # type: ignore[arg-type]
        if not isinstance(p, Continuous):
            programme.integers.append(k)
            low, high = programme.bounds[-1]
            programme.bounds[-1] = (round(low), round(high))
    _add_mixtures(space, programme)
    known = known_forms(space)
    numeric = set(programme.names) - set(space.conditions)
    demands: tuple[Constraint | Equality, ...] = (*space.constraints, *space.equalities)
    for demand in demands:
        form = linear_margin(demand, known)
        if form is not None and set(form.coefficients) <= numeric:
            high = -form.constant if isinstance(demand, Equality) else float("inf")
            programme.row(dict(form.coefficients), -form.constant, high)
    return programme


def known_forms(space: Space) -> dict[str, Linear]:
    """The names that stand for numbers or linear expressions: fixed and derived parameters."""
    known = {
        n: Linear(float(p.value))
        for n, p in space.parameters.items()
        if isinstance(p, Fixed) and not isinstance(p.value, str)
    }
    for name, expression in space.derivations.items():
        form = linear_form(expression.tree, known)
        if form is not None and not any(space.parameters[n].kind == "ordinal" for n in form.coefficients):
            known[name] = form
    return known


def _add_mixtures(space: Space, programme: _Programme) -> None:
    limited = [m for m in space.mixtures if m.is_limited]
    programme.n_extra = sum(len(m.of) for m in limited)
    start = 0
    for m in space.mixtures:
        programme.row(dict.fromkeys(m.of, 1.0), m.total, m.total)
        if m not in limited:
            continue
        for k, name in enumerate(m.of):
            high = space.varied[name].high
            programme.row({name: 1.0}, float("-inf"), 0.0, {start + k: -high})  # unused: 0
            programme.row({name: 1.0}, 0.0, float("inf"), {start + k: -m.least})  # used: at least this
        programme.row({}, m.min_components, m.most, {start + k: 1.0 for k in range(len(m.of))})
        start += len(m.of)


def _row_of(space: Space, programme: _Programme, x: Any, rng: Any) -> Array:
    row = space.from_quantiles(rng.random((1, space.n_quantiles)))[0]  # the choices are anybody's
    for name, value, low, size in zip(programme.names, x, programme.low, programme.size, strict=False):
        p = space.varied[name]
        column = space.columns[name].start
        if p.kind == "ordinal":
            row[column] = round(value) / (p.n_values - 1)
        else:
            row[column] = min(max(p.encode(low + size * value)[0], 0.0), 1.0)
    return space.round(row[None])[0]  # type: ignore[no-any-return]
