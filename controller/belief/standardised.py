"""Evidence as the multi-source model takes it: a bounded number of readings, standardised, and what noise to expect."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import BeliefError
from .multi_source_prior import Data
from .subset import newest_and_spread

if TYPE_CHECKING:
    from ..space import Array, Space
    from .evidence import Evidence

MIN_FOR_SCALE = 4  # readings of the target from which its own spread is the scale
FAR = 1e4  # scales; from there on a reading of another source says only "far off", and a noise that it says nothing
ROUNDING = 1e-13  # of the size of the responses: what it leaves of a constant's spread
SMALLEST = 1e-150  # of a scale: the square of a smaller one is 0
WILD = 10.0  # interquartile ranges beyond the median: there a reading stands whose distance cannot be squared


def n_readings(evidence: Evidence, sources: Sequence[str]) -> int:
    """Of these sources together."""
    return sum(len(evidence.of(s)) for s in sources)


def tamed(evidence: Evidence) -> Evidence:
    """The evidence itself, unless a source's readings spread beyond what float64 can square.

    Then its wild readings are drawn in (Winsor) to where they still say "far off": one of them must not keep a belief
    from learning of all others. It stays as it was read in the ledger.
    """
    wild = {s: o for s, o in evidence.observations.items() if len(o) and not np.isfinite(_spread(o.Y)).all()}
    if not wild:
        return evidence
    drawn_in = {s: replace(o, Y=_drawn_in(o.Y)) for s, o in wild.items()}
    return replace(evidence, observations={**evidence.observations, **drawn_in})


def _spread(Y: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        spread: Array = Y.std(axis=0)
    return spread


def _drawn_in(Y: Array) -> Array:
    """Only the responses that need it."""
    low, middle, high = np.quantile(Y / 4.0, (0.25, 0.5, 0.75), axis=0) * 4.0
    with np.errstate(over="ignore"):  # where a quarter of the readings is wild nothing is drawn in
        range_ = WILD * (high - low)
        bound = np.where(range_ > 0, range_, np.where(middle != 0, WILD * np.abs(middle), WILD))
    drawn_in = np.clip(Y, middle - bound, middle + bound)
    bounded: Array = np.where(np.isfinite(_spread(Y)), Y, drawn_in)
    return bounded


def standardisation(evidence: Evidence, sources: Sequence[str]) -> tuple[Array, Array]:
    """Centre and scale (m,) of the responses: the target's own, or everybody's while it has few readings.

    Raises:
        BeliefError: where the readings' spread is beyond float64.
    """
    known = [evidence.of(s).Y for s in sources if len(evidence.of(s))]
    own = evidence.of(sources[0]).Y
    with np.errstate(over="ignore", invalid="ignore"):
        center = (own if len(own) else known[0]).mean(axis=0)
        spread = own if len(own) >= MIN_FOR_SCALE else np.concatenate([Y - Y.mean(axis=0) for Y in known])
        scale = spread.std(axis=0, ddof=1)
    if not np.isfinite(scale).all():
        names = ", ".join(r for r, s in zip(evidence.responses, scale, strict=True) if not np.isfinite(s))
        raise BeliefError(f"the readings of {names} spread beyond what float64 can square; leave out the wild ones")
    size = np.maximum(np.abs(center), np.abs(spread).max(axis=0))
    is_constant = scale <= ROUNDING * size
    scale = np.where(is_constant, np.where(size > 0, size, 1.0), scale)
    if (scale < SMALLEST).any():
        names = ", ".join(r for r, s in zip(evidence.responses, scale, strict=True) if s < SMALLEST)
        raise BeliefError(f"the readings of {names} spread by less than {SMALLEST:g}; give them in a smaller unit")
    return center, scale


def data_of(
    evidence: Evidence,
    sources: Sequence[str],
    instruments: Collection[str],
    *,
    center: Array,
    scale: Array,
    n_max: int,
) -> Data:
    """The readings, at most ``n_max``: of instruments at achieved settings, of simulators at those asked for."""
    n_each = shares([len(evidence.of(s)) for s in sources], n_max)
    parts = []
    for k, source in enumerate(sources):
        o = evidence.of(source)
        settings = o.X if source in instruments else o.X_set
        kept = newest_and_spread(settings, n_each[k])
        Y = (o.Y[kept] - center) / scale
        Y = np.clip(Y, -FAR, FAR) if k else Y
        with np.errstate(over="ignore"):
            V = np.minimum(np.nan_to_num(o.sd[kept]) / scale, FAR) ** 2
        parts.append((torch.tensor(settings[kept]), torch.tensor(Y.T.copy()), torch.tensor(V.T.copy())))
    return Data.of(parts, groups(evidence.space))


def groups(space: Space) -> tuple[int, ...]:
    """The number of the lengthscale of each column: one a parameter, one a descriptor."""
    return space.groups


def is_quiet(evidence: Evidence, source: str, instruments: Collection[str]) -> bool:
    """Whether a source has little noise beyond what it tells: a simulator, or an instrument that gives an sd."""
    observations = evidence.of(source)
    return source not in instruments or (len(observations) > 0 and bool(np.isfinite(observations.sd).all()))


def shares(n: list[int], n_max: int) -> list[int]:
    """How many readings of each source are kept: all, or the small ones whole and the rest shared evenly."""
    kept = [0] * len(n)
    left = n_max
    for place, k in enumerate(sorted(range(len(n)), key=lambda k: n[k])):
        kept[k] = min(n[k], left // (len(n) - place))
        left -= kept[k]
    return kept
