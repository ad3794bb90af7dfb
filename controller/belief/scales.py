"""The units of the assimilated simulator: each response standardised, by its logarithm where that fits.

Law: ``backward(forward(Y)) == Y`` to rounding, for every Y within the range of the logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BeliefError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..space import Array

MAX_EXPONENT = 600.0
LARGEST = 1e150  # a square of what is larger is not finite


@dataclass(frozen=True)
class Scales:
    """Of m responses: y = link^-1(centre + size * standardised), the link a logarithm or nothing."""

    is_log: tuple[bool, ...]
    centre: tuple[float, ...]
    size: tuple[float, ...]
    floor: tuple[float, ...]  # a logarithm is not taken of less

    @classmethod
    def of(cls, runs: Sequence[Array], is_log: NDArray[np.bool_]) -> Scales:
        """From what a simulator answered.

        Args:
            runs: each (N, m), the responses of all members at one setting.
            is_log: of each response.

        Raises:
            BeliefError: where a response is too large to be squared.
        """
        lowest = np.min([Y.min(axis=0) for Y in runs], axis=0)  # (m,)
        if max(float(np.abs(Y).max()) for Y in runs) > LARGEST:
            raise BeliefError(f"a response exceeds {LARGEST:g}; give it in a larger unit")
        floor = np.where(is_log, np.maximum(0.1 * lowest, 1e-250), 0.0)
        linked = [_link(Y, is_log, floor) for Y in runs]
        means = np.array([Y.mean(axis=0) for Y in linked])  # (n, m)
        between = means.var(axis=0, ddof=1 if len(runs) > 1 else 0)
        size = np.sqrt(between + np.mean([Y.var(axis=0) for Y in linked], axis=0))
        centre = means.mean(axis=0)
        smallest = 1e-9 * np.abs(centre)
        size = np.where(size > smallest, size, np.where(smallest > 0, smallest, 1.0))
        return cls(tuple(map(bool, is_log)), *(tuple(map(float, a)) for a in (centre, size, floor)))

    @classmethod
    def load(cls, dump: Mapping[str, Any]) -> Scales:
        """The inverse of ``dump``."""
        return cls(*(tuple(dump[k]) for k in ("is_log", "centre", "size", "floor")))

    def dump(self) -> dict[str, Any]:
        """Plain data."""
        return {k: list(getattr(self, k)) for k in ("is_log", "centre", "size", "floor")}

    def forward(self, Y: Array) -> Array:
        """(..., m) to standardised."""
        linked = _link(Y, self.is_log, np.array(self.floor))
        standard: Array = (linked - np.array(self.centre)) / np.array(self.size)
        return standard

    def backward(self, Z: Array) -> Array:
        """(..., m) standardised to the units of the responses."""
        linked = np.array(self.centre) + np.array(self.size) * Z
        exponent = np.clip(np.where(self.is_log, linked, 0.0), -MAX_EXPONENT, MAX_EXPONENT)
        return np.where(self.is_log, np.exp(exponent), linked)

    def slope(self, Y: Array) -> Array:
        """(..., m): change of the response per standardised unit, where the response is Y."""
        return np.asarray(np.where(self.is_log, np.maximum(Y, self.floor), 1.0) * np.array(self.size))


def _link(Y: Array, is_log: Sequence[bool] | NDArray[np.bool_], floor: Array) -> Array:
    linked: Array = np.where(is_log, np.log(np.where(is_log, np.maximum(Y, floor), 1.0)), Y)
    return linked


def may_be_log(runs: Sequence[Array], readings: Array) -> NDArray[np.bool_]:
    """(m,): whether each response is positive wherever it is known."""
    lowest = np.min([*(Y.min(axis=0) for Y in runs), *readings], axis=0)
    return np.asarray(lowest > 0)
