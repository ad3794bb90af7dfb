"""Mixtures: components that add up to a total, a limited number of them at a time.

A component that is not used is exactly 0; one that is used has at least its least share. Which components a mixture
uses is its support. Settings are drawn evenly over the faces of the simplex: first how many components, then which,
then their shares (Dirichlet with all parameters 1).
"""

from __future__ import annotations

from functools import cached_property
from math import comb
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .records import Finite

if TYPE_CHECKING:
    from .space import Array

MAX_COMPONENTS = 200


class Mixture(BaseModel):
    """Components that add up to ``total``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    of: tuple[str, ...] = Field(min_length=2, max_length=MAX_COMPONENTS)
    total: Annotated[Finite, Field(gt=0)] = 1.0
    min_components: int = Field(default=1, ge=1)
    max_components: int | None = Field(default=None, ge=1)
    min_share: Annotated[Finite, Field(ge=0, le=1)] = 0.0  # of the total, of each component that is used
    unit: str = ""  # of components that are not declared among the parameters

    @field_validator("of", mode="before")
    @classmethod
    def _names(cls, of: Any) -> Any:
        if not isinstance(of, list | tuple) or not all(isinstance(name, str) for name in of):
            raise ValueError(f"of: {of!r} is no list of parameters; write [water, ethanol]")
        if twice := sorted({name for name in of if list(of).count(name) > 1}):
            raise ValueError(f"of: {twice[0]!r} stands there twice; name each component once")
        return list(of)

    @model_validator(mode="after")
    def _counts(self) -> Mixture:
        n, most = len(self.of), self.most
        if most > n or self.min_components > n:
            which = "max_components" if most > n else "min_components"
            raise ValueError(f"{which} {max(most, self.min_components)} is more than the {n} components; lower it")
        if self.min_components > most:
            raise ValueError(f"min_components {self.min_components} is above max_components {most}; exchange them")
        if self.min_components * self.min_share > 1 + 1e-12:
            raise ValueError(
                f"min_share {self.min_share:g} times min_components {self.min_components} is more than the whole; "
                "lower one of them"
            )
        return self

    @property
    def most(self) -> int:
        """How many components may be used."""
        return len(self.of) if self.max_components is None else self.max_components

    @property
    def least(self) -> float:
        """The least amount of a component that is used."""
        return self.min_share * self.total

    @property
    def text(self) -> str:
        """In the words of a constraint."""
        return f"{' + '.join(self.of)} == {self.total:g}"

    @cached_property
    def is_limited(self) -> bool:
        """Whether a mixture may be refused for the number or the shares of its components."""
        return self.min_components > 1 or self.most < len(self.of) or self.min_share > 0


def drawn(mixture: Mixture, Q: Array, low: Array, high: Array) -> Array:
    """Amounts evenly over the faces, from uniform numbers; what exceeds ``high`` is left for the caller to drop.

    Args:
        mixture: of p components.
        Q: (n, p + 1) in [0, 1); the last number chooses the face.
        low: (p,) the least amounts, 0 for a component that may be left out.
        high: (p,)

    Returns:
        (n, p), each row adding up to the total.
    """
    import numpy as np

    E = -np.log1p(-np.clip(Q[:, :-1], 0.0, 1.0 - 1e-12)) + 1e-300
    if mixture.is_limited or (low > 0).any():
        support = _faces(mixture, Q[:, -1], low > 0)
        floor = support * np.maximum(low, mixture.least)
        rest = mixture.total - floor.sum(axis=1, keepdims=True)
        E = E * support
        amounts: Array = floor + np.maximum(rest, 0.0) * E / E.sum(axis=1, keepdims=True)
        return amounts
    amounts = mixture.total * E / E.sum(axis=1, keepdims=True)
    return amounts


def _faces(mixture: Mixture, q: Array, is_needed: Any) -> Array:
    """(n, p) which components each row uses: each number of components alike, then each set of that number."""
    import numpy as np

    optional = np.flatnonzero(~is_needed)
    n_needed = int(is_needed.sum())
    first = max(mixture.min_components, n_needed, 1)
    most = mixture.most
    if mixture.min_share > 0:
        most = min(most, int(1.0 / mixture.min_share + 1e-9))
    sizes = list(range(first, max(most, first) + 1))
    support = np.tile(is_needed, (len(q), 1))
    places = np.minimum((q * len(sizes)).astype(int), len(sizes) - 1)
    for row, place, x in zip(range(len(q)), places, q * len(sizes) - places, strict=True):
        k = min(sizes[place] - n_needed, len(optional))
        support[row, optional[_subset(len(optional), k, float(x))]] = True
    faces: Array = support.astype(float)
    return faces


def _subset(n: int, k: int, x: float) -> list[int]:
    """The subset of size k of range(n) at place x in [0, 1) of all in their order."""
    rank = min(int(x * comb(n, k)), comb(n, k) - 1) if k else 0
    chosen: list[int] = []
    item = 0
    while len(chosen) < k:
        n_with = comb(n - item - 1, k - len(chosen) - 1)
        if rank < n_with:
            chosen.append(item)
        else:
            rank -= n_with
        item += 1
    return chosen


def supports(mixture: Mixture, amounts: Array, low: Array, high: Array) -> Any:
    """Which components each row uses, such that amounts within the bounds can add up to the total.

    The largest amounts are kept. Where they cannot reach the total the roomiest other component comes in, as long as
    the number of components allows it, and instead of the smallest where it does not.

    Args:
        mixture: of p components.
        amounts: (n, p) any numbers.
        low: (p,)
        high: (p,)

    Returns:
        (n, p) of bool.
    """
    import numpy as np

    n, p = amounts.shape
    needed = low > 0
    least = np.maximum(low, mixture.least)
    usable = (high >= least - 1e-12 * mixture.total) & (high > 0)
    key = np.where(needed, np.inf, np.where(usable, amounts, -np.inf))
    order = np.argsort(-key, axis=1, kind="stable")
    rank = np.empty_like(order)
    rank[np.arange(n)[:, None], order] = np.arange(p)
    used = needed | (usable & (amounts >= np.maximum(0.5 * least, 1e-9 * mixture.total)))
    used &= rank < max(mixture.most, int(needed.sum()))
    used |= (rank < mixture.min_components) & usable
    if mixture.min_share > 0 or needed.any():  # no more than the least shares leave room for
        cumulated = np.cumsum(least[order], axis=1)
        fits = np.zeros_like(used)
        fits[np.arange(n)[:, None], order] = cumulated <= mixture.total * (1 + 1e-12)
        used &= fits | needed
    for k in np.flatnonzero((used * high).sum(axis=1) < mixture.total * (1 - 1e-12)):
        used[k] = _widened(mixture, used[k], amounts[k], high, usable, needed)
    return used


def _widened(mixture: Mixture, used: Any, amounts: Any, high: Any, usable: Any, needed: Any) -> Any:
    import numpy as np

    used = used.copy()
    for _ in range(2 * len(used)):
        if (used * high).sum() >= mixture.total * (1 - 1e-12):
            break
        free = np.flatnonzero(usable & ~used)
        if not len(free):
            break
        roomiest = free[np.argmax(high[free])]
        if used.sum() >= mixture.most:
            mine = np.flatnonzero(used & ~needed)
            mine = mine[high[mine] < high[roomiest]]
            if not len(mine):
                break
            used[mine[np.argmin(amounts[mine])]] = False
        used[roomiest] = True
    return used


def nearest(amounts: Array, lower: Array, upper: Array, total: float) -> Array:
    """The nearest amounts within their bounds that add up to the total, by bisection of one shift a row.

    Args:
        amounts: (n, p)
        lower: (n, p)
        upper: (n, p)
        total: of a row; where the bounds do not allow it the row stays at them.
    """
    import numpy as np

    low = (amounts - upper).min(axis=1, keepdims=True)
    high = (amounts - lower).max(axis=1, keepdims=True)
    for _ in range(60):
        middle = (low + high) / 2.0
        is_above = np.clip(amounts - middle, lower, upper).sum(axis=1, keepdims=True) > total
        low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
    found: Array = np.clip(amounts - high, lower, upper)
    room = (found > lower + 1e-9 * total) & (found < upper - 1e-9 * total)
    n_free = room.sum(axis=1, keepdims=True)
    rest = total - found.sum(axis=1, keepdims=True)
    polished: Array = np.clip(found + np.where(room, rest / np.maximum(n_free, 1), 0.0), lower, upper)
    return polished
