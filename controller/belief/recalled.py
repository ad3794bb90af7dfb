"""Which earlier campaigns are worth listening to: those with which the readings of now are likelier than without.

What is compared is the evidence in the readings of now given those of then, p(y_now | y_then, theta), with that without
them, p(y_now | theta'), each at its most probable hyperparameters. An earlier campaign that has to do with something
else is left out, whatever the covariance would make of it; at every correction it is asked anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from .multi_source_prior import Data, Theta, log_evidence, tensors

if TYPE_CHECKING:
    from ..space import Array


def helpful(data: Data, recalled: Sequence[int], fitted: Callable[[frozenset[int]], dict[str, Array]]) -> list[int]:
    """The places of the earlier campaigns that, each alone, make the readings of now likelier.

    Args:
        data: of all sources.
        recalled: the places of the earlier campaigns among them.
        fitted: the most probable hyperparameters given the readings of some sources.
    """
    now = frozenset(range(len(data.rows))) - set(recalled)
    without = _log_evidence(fitted(now), data.only(now))
    kept = []
    for s in recalled:
        theta = fitted(now | {s})
        if _log_evidence(theta, data.only(now | {s})) - _log_evidence(theta, data.only({s})) > without:
            kept.append(s)
    return kept


def _log_evidence(theta: Theta, data: Data) -> float:
    """Of all responses together."""
    with torch.no_grad():
        return float(log_evidence(tensors(theta), data).sum())
