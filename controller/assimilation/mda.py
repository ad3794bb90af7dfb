"""Multiple data assimilation: one observation taken in through several tempered analyses.

Emerick and Reynolds, Comput. Geosci. 2013, 55, 3. With R inflated by alpha_i, sum 1 / alpha_i = 1, the steps
together weigh the observation once; each looks at H anew, so that a curved H is followed. Here alpha_i = n.

Law: for linear H any number of steps gives the analysis of one step.
"""

from __future__ import annotations

from collections.abc import Callable

from .etkf import Array, analyse


def analyse_in_steps(E: Array, predict: Callable[[Array], Array], y: Array, R: Array, *, n_steps: int = 4) -> Array:
    """The ensemble after an observation of something that is not linear in the members.

    Args:
        E: (N, p) members.
        predict: members (N, p) to what each says is observed (N, k).
        y: (k,) what was observed.
        R: (k, k) or (k,), as for ``analyse``.
        n_steps: how many tempered analyses.

    Returns:
        (N, p).
    """
    for _ in range(n_steps):
        E = analyse(E, predict(E), y, n_steps * R)
    return E
