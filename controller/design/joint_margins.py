"""The probability that several margins are all kept, where some of them hang on the same response.

A margin is normal: its mean plus its loads times independent standard normal numbers Z, one a response. Margins that
share no response are independent; those on one response bound its Z from both sides, which is exact; of others one
response is integrated exactly and the rest over draws that are the same ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from .utility import normal_draws

if TYPE_CHECKING:
    from ..space import Array

N_DRAWS = 16
SURE = 1e12  # standard deviations at which a margin counts as certain


def all_kept(margin: Array, load: Array) -> Array:
    """Probability that every margin is >= 0, (...).

    Args:
        margin: (..., k) means.
        load: (..., k, m) by how much each margin moves with each response's Z.
    """
    hangs = (load != 0.0).any(axis=tuple(range(load.ndim - 2)))  # (k, m)
    kept = np.ones(np.broadcast_shapes(margin.shape[:-1], load.shape[:-2]))
    for rows in _together(hangs):
        columns = np.flatnonzero(hangs[rows].any(axis=0))
        kept = kept * _kept(margin[..., rows], load[..., rows, :][..., columns])
    return np.asarray(kept)


def _together(hangs: Array) -> list[list[int]]:
    """The margins by groups that share no response."""
    groups: list[tuple[list[int], Array]] = []
    for k, own in enumerate(hangs):
        met = [g for g in groups if (g[1] & own).any()]
        rows = sorted([k, *(row for g in met for row in g[0])])
        groups = [g for g in groups if not (g[1] & own).any()]
        groups.append((rows, np.any([own, *(g[1] for g in met)], axis=0)))
    return [rows for rows, _ in groups]


def _kept(margin: Array, load: Array) -> Array:
    """Of one group: margin (..., k), load (..., k, m)."""
    if margin.shape[-1] == 1:
        return np.asarray(ndtr(margin[..., 0] / _size(margin[..., 0], np.sqrt((load[..., 0, :] ** 2).sum(axis=-1)))))
    if load.shape[-1] == 1:
        return _between(margin, load[..., 0])
    own = int((load != 0.0).sum(axis=tuple(range(load.ndim - 1))).argmax())  # the response that most hang on
    others = np.delete(load, own, axis=-1)
    Z = normal_draws(N_DRAWS, others.shape[-1])
    moved = margin[..., None, :] + np.einsum("...km,sm->...sk", others, Z)
    return np.asarray(_between(moved, load[..., None, :, own]).mean(axis=-1))


def _between(margin: Array, load: Array) -> Array:
    """Probability that margin + load Z >= 0 for all k, (...), of one Z for all of them."""
    edge = margin / _size(margin, np.abs(load))
    low = np.where(load > 0, -edge, -np.inf).max(axis=-1)
    high = np.where(load <= 0, edge, np.inf).min(axis=-1)
    is_right = low > 0  # in the right tail differences are taken of what is small
    p = ndtr(np.where(is_right, -low, high)) - ndtr(np.where(is_right, -high, low))
    return np.asarray(np.maximum(p, 0.0))


def _size(margin: Array, sd: Array) -> Array:
    return np.asarray(np.maximum(sd, np.maximum(np.abs(margin), 1e-280) / SURE))
