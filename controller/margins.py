"""How far rows of the cube are from what a space forbids, and which of them it allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .cube import applying, keeps_mixtures, levels_of, values_of

if TYPE_CHECKING:
    from .expressions import Constraint
    from .records import Setting
    from .space import Array, Space

N_GRID = 64
FREE = 1.0  # the margin of a constraint where it does not apply


def margins(space: Space, X: Any, *, lib: Any) -> list[Any]:
    """Each constraint's margin, >= 0 where it holds; then how far forbidden regions and derived limits are away."""
    from .space import INWARD

    values = values_of(space, X, lib=lib)
    sizes, forbidden_sizes, _ = space.scales
    applies = applying(space, X, {c.text: space.base_names(c.names) for c in space.constraints})
    kept = [
        _where(applies.get(c.text), c.margin(values, lib=lib) / s, lib=lib)
        for c, s in zip(space.constraints, sizes, strict=True)
    ]
    if space.forbidden:
        numbers = {**values, **levels_of(space, X, lib=lib)}
        kept += [
            -c.margin(numbers, lib=lib) / s - INWARD for c, s in zip(space.forbidden, forbidden_sizes, strict=True)
        ]
    for name, low, high in derived_limits(space):
        scale = _scale_of(low, high)
        kept += [(high - values[name]) / scale - INWARD] if math.isfinite(high) else []
        kept += [(values[name] - low) / scale - INWARD] if math.isfinite(low) else []
    return kept


def derived_limits(space: Space) -> list[tuple[str, float, float]]:
    """The limits on what is worked out from other parameters."""
    return [(name, low, high) for name, low, high in space.limits if name not in space.varied]


def _scale_of(low: float, high: float) -> float:
    size = max(abs(x) for x in (low, high) if math.isfinite(x))
    return size if size > 0 else 1.0


def ties(space: Space, X: Any, *, lib: Any) -> list[Any]:
    """How far equalities and totals are from being met, relative to their sides; 0 where one does not apply."""
    values = values_of(space, X, lib=lib)
    sizes = space.scales[2]
    applies = applying(space, X, {e.text: space.base_names(e.names) for e in space.equalities})
    found = [
        _where(applies.get(e.text), e.margin(values, lib=lib) / s, lib=lib, otherwise=0.0)
        for e, s in zip(space.equalities, sizes, strict=True)
    ]
    for mixture in space.mixtures:
        total = values[mixture.of[0]]
        for name in mixture.of[1:]:
            total = total + values[name]
        found.append(total / mixture.total - 1.0)
    return found


def _where(applies: Any, values: Any, *, lib: Any, otherwise: float = FREE) -> Any:
    if applies is None:
        return values
    mask = lib.as_tensor(applies) if hasattr(lib, "as_tensor") else applies
    return lib.where(mask, values, lib.zeros_like(values) + otherwise)


def scales(space: Space) -> tuple[tuple[float, ...], ...]:
    """The usual sizes of margins over the whole cube: the same for all spaces of a campaign."""
    import numpy as np

    from .space import Space

    whole = Space(space.parameters)
    X = whole.from_quantiles(np.random.default_rng(0).random((N_GRID, whole.n_quantiles)))
    values = values_of(space, X, lib=np)
    numbers = {**values, **levels_of(space, X, lib=np)} if space.forbidden else values
    with np.errstate(all="ignore"):
        sides = [np.nanmax(np.asarray(e.size(values, lib=np)), initial=0.0) for e in space.equalities]
    return (
        _sizes(space.constraints, values),
        _sizes(space.forbidden, numbers),
        tuple(float(s) if np.isfinite(s) and s > 0 else 1.0 for s in sides),
    )


def _sizes(constraints: tuple[Constraint, ...], values: Mapping[str, Any]) -> tuple[float, ...]:
    import numpy as np

    with np.errstate(all="ignore"):
        sizes = [np.nanmax(np.abs(np.asarray(c.margin(values, lib=np)))) for c in constraints]
    return tuple(float(s) if np.isfinite(s) and s > 0 else 1.0 for s in sizes)


def feasible(space: Space, X: Array, *, is_in_table: bool = False) -> Any:
    """Which rows keep every constraint, limit, equality, total and predicate, and lie in no forbidden region, (n,).

    Args:
        space: of the rows.
        X: (n, c)
        is_in_table: whether the rows are known to stand in the table of candidates, if there is one.
    """
    import numpy as np

    from .space import TOLERANCE

    ok = np.ones(len(X), dtype=bool)
    for name, left in space.left.items():
        if space.table is not None and name in space.table.numbers:
            continue  # a candidate's own numbers are held against the limits, see ``Table.allowed``
        ok &= False if left is None else left.holds(X[:, space.columns[name].start])
    for columns, code in space.pins:
        ok &= (np.abs(X[:, columns] - code) <= TOLERANCE).all(axis=1)
    with np.errstate(all="ignore"):
        for margin in margins(space, X, lib=np)[: len(space.constraints)]:
            ok &= np.asarray(margin >= -TOLERANCE)  # a margin that is NaN does not hold
        for residual in ties(space, X, lib=np)[: len(space.equalities)] if space.equalities else ():
            ok &= np.asarray(np.abs(residual) <= TOLERANCE)
        if space.mixtures:
            ok &= keeps_mixtures(space, X, TOLERANCE)
        if space.derivations:
            values = values_of(space, X, lib=np)
            for name in space.derivations:
                ok &= np.isfinite(values[name])
    if space.table is not None and not is_in_table:
        ok &= space.table.holds(space, X)
    if space.forbidden or derived_limits(space) or space.predicates:
        for k in np.flatnonzero(ok):
            setting = space.decode(X[k])
            ok[k] = not space.refusal(setting) and not fault_of_predicates(space, setting)
    return ok


def fault_of_predicates(space: Space, setting: Setting) -> str:
    """Which predicate does not allow a setting; empty: all do."""
    return next((p.target for p in space.predicates if not p.allows(setting)), "")


def breach(space: Space, setting: Setting) -> str:
    """The first demand that a setting, whole and on its parameters' values, does not keep, in words; empty: none."""
    from .space import TOLERANCE

    numbers = _numbers(space, setting)
    sizes, _, sides = space.scales
    for c, size in zip(space.constraints, sizes, strict=True):
        if c.names <= set(numbers) and not c.margin(numbers) / size >= -TOLERANCE:
            return f"breaks the constraint {c.text!r}; change one of its values"
    for e, size in zip(space.equalities, sides, strict=True):
        if e.names <= set(numbers) and not abs(e.margin(numbers) / size) <= TOLERANCE:
            off = abs(e.margin(numbers))
            return f"breaks the constraint {e.text!r} (its sides differ by {off:.3g}); change one of its values"
    return _breach_of_mixture(space, setting)


def _breach_of_mixture(space: Space, setting: Setting) -> str:
    from .space import TOLERANCE

    for mixture in space.mixtures:
        amounts = {n: float(setting[n]) for n in mixture.of}
        slack = TOLERANCE * mixture.total
        used = {n: x for n, x in amounts.items() if x > slack}
        if abs(math.fsum(amounts.values()) - mixture.total) > slack:
            return f"breaks {mixture.text!r} (the sum is {math.fsum(amounts.values()):.6g}); change one of its values"
        if not mixture.min_components <= len(used) <= mixture.most:
            allowed = f"{mixture.min_components} to {mixture.most}"
            return f"uses {len(used)} components of {', '.join(mixture.of)}, not {allowed}; set others to 0"
        if low := [n for n, x in used.items() if x < mixture.least - slack]:
            return f"uses less of {low[0]} than min_share {mixture.min_share:g} allows; set it to 0 or use more"
    return ""


def _numbers(space: Space, setting: Setting) -> dict[str, Any]:
    """What a constraint reads of a setting: of an ordinal parameter the place of its level."""
    found: dict[str, Any] = {}
    for name, value in setting.items():
        p: Any = space.parameters[name]
        found[name] = p.levels.index(value) if p.kind == "ordinal" else value
    return {n: v for n, v in found.items() if not isinstance(v, str)}
