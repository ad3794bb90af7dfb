"""A simulator's unknowns: their priors, and members as standard normal deviates z and in physical units.

Law: a priori each z has mean 0 and variance 1, so that one number means the same for every unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import norm, qmc

if TYPE_CHECKING:
    from ..rules import Prior
    from ..space import Array

MAX_Z = 8.0  # standard deviations of the prior; beyond, a logarithm would overflow before it informs
DIGITS = 10


@dataclass(frozen=True)
class Unknowns:
    """The priors of p unknowns."""

    names: tuple[str, ...]
    is_log: tuple[bool, ...]
    centre: tuple[float, ...]  # mean, or logarithm of the median
    sd: tuple[float, ...]

    @classmethod
    def of(cls, priors: Mapping[str, Prior]) -> Unknowns:
        """From the campaign's declaration."""
        pairs = [p.lognormal or p.normal or (0.0, 1.0) for p in priors.values()]
        is_log = tuple(p.is_log for p in priors.values())
        centre = (np.log(c) if log else c for (c, _), log in zip(pairs, is_log, strict=True))
        return cls(tuple(priors), is_log, tuple(float(c) for c in centre), tuple(float(s) for _, s in pairs))

    @classmethod
    def load(cls, dump: Mapping[str, Any]) -> Unknowns:
        """The inverse of ``dump``."""
        return cls(**{k: tuple(v) for k, v in dump.items()})

    def dump(self) -> dict[str, Any]:
        """Plain data."""
        return {k: list(v) for k, v in asdict(self).items()}

    def to_physical(self, Z: Array) -> Array:
        """(N, p) in physical units, to the digits with which a trial is written."""
        values = np.array(self.centre) + np.array(self.sd) * np.clip(Z, -MAX_Z, MAX_Z)
        with np.errstate(over="ignore"):
            values = np.where(self.is_log, np.exp(np.where(self.is_log, values, 0.0)), values)
        return np.array([[float(f"{v:.{DIGITS}g}") for v in row] for row in values]).reshape(values.shape)

    def to_z(self, values: Array) -> Array:
        """The inverse of ``to_physical``, within ``MAX_Z``."""
        tiny = np.finfo(float).tiny
        linear = np.where(self.is_log, np.log(np.where(self.is_log, np.maximum(values, tiny), 1.0)), values)
        Z: Array = np.clip((linear - np.array(self.centre)) / np.array(self.sd), -MAX_Z, MAX_Z)
        return Z

    def draw(self, n_members: int, *, seed: int) -> Array:
        """(N, p) members of the prior: scrambled Sobol points with mean 0 and, where N > 2 p, covariance 1."""
        p = len(self.names)
        points = qmc.Sobol(p, scramble=True, rng=seed % 2**32).random_base2(int(np.ceil(np.log2(n_members))))
        Z = norm.ppf(np.clip(points[:n_members], 1e-9, 1 - 1e-9))
        Z = Z - Z.mean(axis=0)
        if n_members <= 2 * p:  # too few to set p (p + 1) / 2 covariances without distortion
            return np.asarray(Z / Z.std(axis=0, ddof=1))
        L = np.linalg.cholesky(np.cov(Z, rowvar=False).reshape(p, p))
        return np.asarray(np.linalg.solve(L, Z.T).T)
