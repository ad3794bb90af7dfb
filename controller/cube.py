"""The unit cube of a space, by whole arrays: values of its columns, valid rows, sampling.

Law: what these give out is the same however the rows are cut into blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .choices import Categorical, Ordinal
from .limits import level_number
from .mixtures import drawn, nearest, supports
from .parameters import Continuous, Fixed
from .projecting import Box, Moves, jacobian, projected

if TYPE_CHECKING:
    from .mixtures import Mixture
    from .space import Array, Space


def values_of(space: Space, X: Any, *, lib: Any) -> dict[str, Any]:
    """The numbers that stand in constraints: of an ordinal parameter the place of its level.

    Args:
        space: of the rows.
        X: (..., c), an array of NumPy or torch.
        lib: which of the two.
    """
    values: dict[str, Any] = {}
    for name, p in space.varied.items():
        if not isinstance(p, Categorical):
            values[name] = p.from_unit(X[..., space.columns[name].start], lib=lib)
    if space.has_constants:
        zero = 0.0 * X[..., 0]
        for name, p in space.parameters.items():
            if isinstance(p, Fixed) and not isinstance(p.value, str):
                values[name] = zero + p.value
        levels = levels_of(space, X, lib=lib)
        for name, expression in space.derivations.items():
            values[name] = expression.evaluate({**values, **levels}, lib=lib) + zero
    return values


def levels_of(space: Space, X: Any, *, lib: Any) -> dict[str, Any]:
    """The levels of ordinal parameters as a guard reads them; NaN for labels."""
    found = {}
    for name, p in space.varied.items():
        if isinstance(p, Ordinal):
            k = lib.round(X[..., space.columns[name].start] * (p.n_values - 1))
            found[name] = 0.0 * k
            for i, level in enumerate(p.levels):
                found[name] = lib.where(k == i, found[name] + level_number(level), found[name])
    return found


def discrete_values(space: Space, X: Array, names: frozenset[str]) -> dict[str, Any]:
    """The values of discrete parameters, as conditions compare them: (n,) arrays of numbers or labels."""
    import numpy as np

    found: dict[str, Any] = {}
    for name in names:
        p: Any = space.parameters[name]
        if isinstance(p, Fixed):
            found[name] = np.full(len(X), p.value, dtype=object)
        elif isinstance(p, Categorical):
            found[name] = np.array(p.choices, dtype=object)[places_of(p, X[:, space.columns[name]])]
        elif isinstance(p, Ordinal):
            k = np.round(np.clip(X[:, space.columns[name].start], 0, 1) * (p.n_values - 1)).astype(int)
            found[name] = np.array(p.levels, dtype=object)[k]
        else:
            found[name] = np.array([p.decode([u]) for u in X[:, space.columns[name].start]])
    return found


def places_of(p: Categorical, U: Array) -> Any:
    """(n,) the place of the choice nearest to each row of its columns (n, k)."""
    import numpy as np

    if not p.descriptors:
        return U.argmax(axis=1)
    codes = np.array(p.codes)
    return (-2.0 * U @ codes.T + (codes**2).sum(axis=1)).argmin(axis=1)


def activity(space: Space, X: Array) -> dict[str, Any]:
    """By conditional parameter: in which rows it is active, (n,) of bool."""
    import numpy as np

    found: dict[str, Any] = {}
    for name, condition in space.conditions.items():  # parents first
        is_active = np.asarray(condition.holds(discrete_values(space, X, condition.names)), dtype=bool)
        for parent in condition.names & set(found):
            is_active &= found[parent]
        found[name] = is_active
    return found


def sampled(space: Space, Q: Array) -> Array:
    """Rows from uniform numbers (n, n_quantiles), each parameter for itself and each mixture whole."""
    import numpy as np

    X = np.zeros((len(Q), space.n_columns))
    if space.table is not None:
        X[:, list(space.table.columns)] = space.table.at_quantiles(space, Q[:, 0])
        return X
    places = [name for name, p in space.varied.items() if not p.context]
    for j, name in enumerate(places):
        p, place = space.varied[name], space.columns[name]
        left = space.left.get(name)
        if left is not None:
            X[:, place.start] = left.from_quantiles(Q[:, j])
            continue
        if isinstance(p, Continuous):
            X[:, place.start] = Q[:, j]
            continue
        k = np.minimum((Q[:, j] * p.n_values).astype(int), p.n_values - 1)
        if isinstance(p, Categorical):
            X[:, place] = np.array(p.codes)[k]
        else:
            X[:, place.start] = k / (p.n_values - 1)
    for i, mixture in enumerate(space.mixtures):
        columns, low, high = mixture_columns(space, mixture)
        Qm = Q[:, [*(places.index(name) for name in mixture.of), len(places) + i]]
        X[:, columns] = _to_unit(space, mixture, drawn(mixture, Qm, low, high))
    return X


def on_surface(space: Space, Q: Array) -> Array:
    """Rows that keep the equalities, spread evenly over them: some parameters drawn, the others worked out of these.

    Projected points would crowd at the edges. Rows that come to lie outside the bounds are left out.
    """
    import numpy as np
    from scipy.linalg import qr

    X = settled(space, pinned(space, sampled(space, Q)))
    columns = moves_of(space).continuous
    if not len(X) or not columns:
        return X[:0]
    box = box_of(space, X)
    is_held = (box.lower == box.upper)[:, list(columns)].all(axis=0)
    free = [c for c, held in zip(columns, is_held, strict=True) if not held]
    J = jacobian(space.residuals, X[:1], free)[0] if free else np.zeros((0, 0))
    n_tied = min(J.shape) if J.size and np.isfinite(J).all() else 0
    if not n_tied:
        return X[:0]
    dependent = tuple(free[k] for k in qr(J, mode="r", pivoting=True)[1][:n_tied])
    X = projected(space.residuals, X, Box(box.lower - 1.0, box.upper + 1.0), Moves(dependent))
    inside: Array = X[((X >= box.lower) & (X <= box.upper)).all(axis=1)]
    return inside


def mixture_columns(space: Space, mixture: Mixture) -> tuple[list[int], Array, Array]:
    """The columns of a mixture's components, and the least and largest amount of each, as limits leave them."""
    import numpy as np

    columns = [space.columns[name].start for name in mixture.of]
    ends = [(space.bounds[c][0], space.bounds[c][1]) for c in columns]
    low, high = (
        np.array(
            [float(p.low + (p.high - p.low) * end[k]) for p, end in zip(_parts(space, mixture), ends, strict=True)]
        )
        for k in (0, 1)
    )
    return columns, np.where(low < 1e-12 * mixture.total, 0.0, low), np.minimum(high, mixture.total)


def _parts(space: Space, mixture: Mixture) -> list[Any]:
    return [space.parameters[name] for name in mixture.of]


def _to_unit(space: Space, mixture: Mixture, amounts: Array) -> Array:
    import numpy as np

    parts = _parts(space, mixture)
    low, high = np.array([p.low for p in parts]), np.array([p.high for p in parts])
    unit: Array = (amounts - low) / (high - low)
    return unit


def amounts_of(space: Space, mixture: Mixture, X: Array) -> Array:
    """(n, p) the amounts of a mixture's components."""
    import numpy as np

    return np.stack(
        [
            p.from_unit(X[:, space.columns[n].start], lib=np)
            for n, p in zip(mixture.of, _parts(space, mixture), strict=True)
        ],
        axis=1,
    )


def rounded(space: Space, X: Array) -> Array:
    """The nearest valid rows within limits, mixtures and equalities among what is kept."""
    import numpy as np

    if space.table is not None:
        rows = np.zeros((len(X), space.n_columns))
        rows[:, list(space.table.columns)] = space.table.nearest(space, X)
        return pinned(space, rows)
    rows = pinned(space, on_values(space, X))
    if not space.is_bound:
        return rows
    rows = settled(space, rows)
    box = box_of(space, rows)
    for mixture in space.mixtures:
        columns = [space.columns[name].start for name in mixture.of]
        lower, upper = box.lower[:, columns], box.upper[:, columns]
        low, high = (_amounts_at(space, mixture, U) for U in (lower, upper))
        free = np.clip(amounts_of(space, mixture, rows), low, high)
        rows[:, columns] = _to_unit(space, mixture, nearest(free, low, high, mixture.total))
    if space.mixtures:
        rows = np.clip(on_values(space, rows), box.lower, box.upper)
    if space.is_tied:
        rows = projected(space.residuals, rows, box, moves_of(space))
    return rows


def _amounts_at(space: Space, mixture: Mixture, U: Array) -> Array:
    import numpy as np

    parts = _parts(space, mixture)
    low, high = np.array([p.low for p in parts]), np.array([p.high for p in parts])
    amounts: Array = low + (high - low) * U
    return amounts


def moves_of(space: Space) -> Moves:
    """The columns that may move to keep equalities and totals."""
    named = frozenset().union(*(space.base_names(e.names) for e in space.equalities), *(m.of for m in space.mixtures))
    continuous, steps = [], []
    for name, p in space.varied.items():
        if name not in named or p.context or isinstance(p, Categorical):
            continue
        column = space.columns[name].start
        if isinstance(p, Continuous):
            continuous.append(column)
        else:
            steps.append((column, 1.0 / (p.n_values - 1)))
    return Moves(tuple(continuous), tuple(steps))


def on_values(space: Space, X: Array) -> Array:
    """Each parameter for itself at its nearest value within the limits."""
    import numpy as np

    rows = np.clip(X, 0.0, 1.0)
    for name, p in space.varied.items():
        place = space.columns[name]
        if isinstance(p, Categorical):
            rows[:, place] = np.array(p.codes)[places_of(p, rows[:, place])]
        elif not isinstance(p, Continuous):
            rows[:, place] = np.round(rows[:, place] * (p.n_values - 1)) / (p.n_values - 1)
    for name, left in space.left.items():
        if left is not None:
            rows[:, space.columns[name].start] = left.nearest(X[:, space.columns[name].start])
    return rows


def pinned(space: Space, X: Array) -> Array:
    """X, its context columns as they are given."""
    for columns, code in space.pins:
        X[:, columns] = code
    return X


def settled(space: Space, X: Array) -> Array:
    """X with what is not active at its neutral place, where it says nothing."""
    for name, is_active in activity(space, X).items():
        place = space.columns[name]
        X[~is_active, place] = space.neutral(name)
    return X


def box_of(space: Space, X: Array) -> Box:
    """What each row may become without another support or another choice, (n, c) bounds of its columns."""
    import numpy as np

    lower, upper = (np.tile([end[k] for end in space.bounds], (len(X), 1)) for k in (0, 1))
    for name, is_active in activity(space, X).items():
        place = space.columns[name]
        for ends in (lower, upper):
            ends[~is_active, place] = X[~is_active, place]
    for mixture in space.mixtures:
        columns, low, high = mixture_columns(space, mixture)
        used = supports(mixture, amounts_of(space, mixture, X), low, high)
        lower[:, columns] = _to_unit(space, mixture, np.where(used, _first(space, mixture, low), 0.0))
        upper[:, columns] = _to_unit(space, mixture, np.where(used, high, 0.0))
    for columns, _ in space.pins:
        for ends in (lower, upper):
            ends[:, columns] = X[:, columns]
    return Box(lower, upper)


def _first(space: Space, mixture: Mixture, low: Array) -> Array:
    """The least amount of each component that is used: of a stepped one on its steps."""
    import numpy as np

    least = np.maximum(low, mixture.least)
    for k, p in enumerate(_parts(space, mixture)):
        if not isinstance(p, Continuous):
            step = (p.high - p.low) / (p.n_values - 1)
            n = max(np.ceil((least[k] - p.low) / step - 1e-9), 1.0 if p.low == 0 else 0.0)
            least[k] = p.low + n * step
    return least


def keeps_mixtures(space: Space, X: Array, tolerance: float) -> Any:
    """(n,) whether each mixture adds up, of as many components and such shares as it may have."""
    import numpy as np

    ok = np.ones(len(X), dtype=bool)
    for mixture in space.mixtures:
        amounts = amounts_of(space, mixture, X)
        ok &= keeps(mixture, amounts, tolerance)
    return ok


def keeps(mixture: Mixture, amounts: Any, tolerance: float) -> Any:
    """The same of amounts (n, p)."""
    import numpy as np

    slack = tolerance * mixture.total
    used = amounts > slack
    n_used = used.sum(axis=1)
    ok = np.abs(amounts.sum(axis=1) - mixture.total) <= slack
    ok &= (n_used >= mixture.min_components) & (n_used <= mixture.most)
    ok &= (~used | (amounts >= mixture.least - slack)).all(axis=1)
    return ok


def applying(space: Space, X: Any, names: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    """By constraint that names a conditional parameter: in which rows it applies, (n,) of bool."""
    import numpy as np

    if not space.conditions:
        return {}
    rows = X.detach().numpy() if hasattr(X, "detach") else np.asarray(X)
    active = activity(space, rows.reshape(-1, rows.shape[-1]))
    found = {}
    for text, named in names.items():
        if conditional := named & set(active):
            parts = [active[name] for name in sorted(conditional)]
            found[text] = np.logical_and.reduce(parts).reshape(rows.shape[:-1])
    return found
