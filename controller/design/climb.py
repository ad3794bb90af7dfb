"""Batched L-BFGS-B of an acquisition function from several settings at once, where only bounds cut the space.

Each start has its own history and step, and all are evaluated in one call (``botorch.optim.batched_lbfgs_b``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from botorch.optim.batched_lbfgs_b import fmin_l_bfgs_b_batched

from ..errors import BeliefError

if TYPE_CHECKING:
    from ..space import Array, Space

MAX_ITERATIONS = 30
MAX_CALLS = 200  # counted, for a clock would make a decision that does not replay
TOLERANCE = 1e-6  # of a log acquisition: nobody can tell the difference
GRADIENT = 1e-5
WORST = 1e10


def with_gradient(acquisition: Any) -> Callable[[Array], tuple[Array, Array]]:
    """From rows (n, c) to values (n,) and gradients (n, c).

    Its own ``value_and_gradient`` where it has one, else by autograd of what it gives for a tensor.
    """
    own: Callable[[Array], tuple[Array, Array]] | None = getattr(acquisition, "value_and_gradient", None)
    if own is not None:
        return own

    def by_autograd(X: Array) -> tuple[Array, Array]:
        rows = torch.tensor(X, requires_grad=True)
        values = acquisition(rows)
        (gradient,) = torch.autograd.grad(values.sum(), rows)
        return values.detach().numpy(), gradient.numpy()

    return by_autograd


def climb(acquisition: Any, space: Space, starts: Array) -> Array:
    """Better settings, within the bounds; discrete columns keep their values.

    Args:
        acquisition: see ``with_gradient``.
        space: where settings live.
        starts: (n, c), valid.

    Returns:
        (n, c), continuous columns not yet rounded.

    Raises:
        BeliefError: where the evaluations allowed are spent.
    """
    columns = list(space.continuous_columns)
    if not columns or not len(starts):
        return starts
    f, n_calls = with_gradient(acquisition), 0

    def loss(x: Array, batch_indices: Any) -> tuple[Array, Array]:
        nonlocal n_calls
        n_calls += 1
        if n_calls > MAX_CALLS:
            raise BeliefError(f"no end after {MAX_CALLS} evaluations")
        X = starts[np.asarray(batch_indices)].copy()
        X[:, columns] = x
        values, gradients = f(X)
        is_sound = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
        return np.where(is_sound, -values, WORST), np.where(is_sound[:, None], -gradients[:, columns], 0.0)

    ends, _, _ = fmin_l_bfgs_b_batched(
        loss,
        starts[:, columns],
        bounds=[space.bounds[k] for k in columns],
        factr=None,
        ftol=TOLERANCE,
        pgtol=GRADIENT,
        maxiter=MAX_ITERATIONS,
        pass_batch_indices=True,
    )
    X = starts.copy()
    X[:, columns] = np.where(np.isfinite(ends), ends, starts[:, columns])
    return X
