"""What is left to gain, read off a state: the course so far, what decisions promised, and what the belief says.

Laws:
    * Nothing here draws from a global generator: the settings that are looked at follow from seed and readings.
    * Where the belief cannot say, nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np

from .errors import BeliefError
from .records import Proposed, Trial
from .state import State, TrialState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .belief import Decider
    from .belief.evidence import Evidence
    from .campaign import Campaign
    from .space import Array

N_DRAWS, N_FEW = 1024, 16  # of the responses at a setting; to find the settings that matter
N_KNOWN = 64  # settings that were read and are looked at more closely
N_CONFIRMED = 8  # of them settings of which is asked what the other readings say
N_SEARCH = (1024, 256, 256)  # settings looked at for a better one; after the first, half of them near the best so far
NO_MODEL = 2.0  # of a decision's figure ``fallback``: the model had no say in it


@dataclass(frozen=True)
class Course:
    """The best objective after each reading of the target; None before the first that keeps the constraints."""

    best: tuple[float | None, ...]
    is_chosen: tuple[bool, ...]  # whether the belief asked for the reading

    @property
    def n_chosen(self) -> int:
        """How many the belief asked for."""
        return sum(self.is_chosen)

    @property
    def now(self) -> float | None:
        """The best so far."""
        return self.best[-1] if self.best else None

    def before(self, n: int) -> float | None:
        """The best before the last ``n`` readings that the belief asked for."""
        chosen = [k for k, is_chosen in enumerate(self.is_chosen) if is_chosen]
        first = chosen[-n] if len(chosen) >= n else 0
        return self.best[first - 1] if first else None


def course_of(state: State) -> Course:
    """The target's readings in the order of their trials."""
    best: list[float | None] = []
    is_chosen = []
    for known in state.observed(state.campaign.target):
        x, last = _objective(state.campaign, known), best[-1] if best else None
        best.append(last if x is None else x if last is None else max(x, last))
        is_chosen.append(known.trial.why.gain is not None or state.campaign.belief_kind == "climatology")
    return Course(tuple(best), tuple(is_chosen))


def spread_of(state: State) -> float | None:
    """The standard deviation of the objective over the target's readings; None where there is none."""
    found = [_objective(state.campaign, t, is_strict=False) for t in state.observed(state.campaign.target)]
    values = [x for x in found if x is not None]
    spread = float(np.std(values)) if len(values) > 1 else 0.0
    return spread if spread > 0 and math.isfinite(spread) else None


def _objective(campaign: Campaign, known: TrialState, *, is_strict: bool = True) -> float | None:
    """The objective of a reading; None where it has none, or where ``is_strict`` and a constraint is broken."""
    values = known.reading.values if known.reading else {}
    try:
        if is_strict and not campaign.goal.is_feasible(values):
            return None
        x = float(campaign.goal.objective(values))
    except (ArithmeticError, ValueError, TypeError):
        return None
    return x if math.isfinite(x) else None


@dataclass(frozen=True)
class Promise:
    """What each source promised at one decision: its highest expected gain."""

    gains: Mapping[str, float]

    @property
    def gain(self) -> float:
        """Of the best of them."""
        return max(self.gains.values())


def promises(state: State, proposed: Proposed | None, n: int) -> list[Promise]:
    """Of the last ``n`` decisions of the model, the one to come last; fewer where there are no more in a row."""
    if proposed is None:
        return []
    found: list[Promise] = []
    for trial in (proposed.trial, *(state.trials[k].trial for k in range(len(state.trials), 0, -1))):
        if len(found) == n or trial.why.figures.get("fallback", 0.0) >= NO_MODEL:
            break
        if trial.why.gain is not None:
            found.append(_promise(trial))
        elif trial is proposed.trial:
            break
    return found[::-1]


def _promise(trial: Trial) -> Promise:
    gains = {trial.source: trial.why.gain or 0.0}
    for other in trial.alternatives:
        gains[other.source] = max(other.gain, gains.get(other.source, 0.0))
    return Promise(gains)


@dataclass(frozen=True)
class Attained:
    """What is believed of one setting."""

    row: Array  # (c,) in the unit cube
    probability: float
    expected: float  # the goal's expression, or the distance to what is wanted


def attained(state: State, value: float) -> Attained | None:
    """The setting that was read and most probably is beyond ``value`` without its noise, constraints kept.

    The best of many noisy readings is flattered by its noise, most of all where the noise is not known yet. So what
    the other readings say of a setting counts as well: the lesser of both probabilities.
    """
    known = _believed(_Key(state))
    if known is None:
        return None
    is_beyond = _is_beyond(state, known, value)
    first = is_beyond.mean(axis=1)
    found: list[Attained] = []
    for k in np.argsort(-first, kind="stable")[:N_CONFIRMED]:
        if found and first[k] <= found[-1].probability:
            break
        alone = _at(state, known.X[k : k + 1], N_DRAWS, _without(state.evidence, known.X[k]))
        p = 0.0 if alone is None else float(_is_beyond(state, alone, value).mean())
        expected = state.campaign.goal.in_words(float(np.nanmean(known.objective[k])))
        found.append(Attained(known.X[k], min(float(first[k]), p), expected))
        found.sort(key=lambda a: a.probability)
    return found[-1]


def _is_beyond(state: State, known: _Believed, value: float) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        beyond: NDArray[np.bool_] = (known.objective >= state.campaign.goal.aim.floor(value)) & known.is_feasible
    return beyond


def _without(evidence: Evidence, row: Array) -> Evidence:
    """The evidence without the first reading of the target at a setting; one that was repeated keeps the others."""
    own = evidence.of(evidence.target)
    out = int(np.abs(evidence.asked_now(evidence.target) - row).max(axis=1).argmin())
    kept = [k for k in range(len(own)) if k != out]
    left = replace(
        own,
        trials=[own.trials[k] for k in kept],
        X_set=own.X_set[kept],
        X=own.X[kept],
        Y=own.Y[kept],
        sd=own.sd[kept],
        members=[own.members[k] for k in kept],
    )
    return replace(evidence, observations={**evidence.observations, evidence.target: left})


def bound_of_regret(state: State, probability: float) -> float | None:
    """How much better another setting may be than the best known one, by bounds of this probability at each setting.

    Makarova, Shen, Perrone, Klein, Faddoul, Krause, Seeger & Archambeau 2022: the highest upper bound over the space
    less the highest lower bound over what was read; settings that hardly keep the constraints do not count above,
    and those that may not keep them do not count below. None before the belief's first own reading.
    """
    known, course = _believed(_Key(state)), course_of(state)
    if known is None or not course.n_chosen:
        return None
    low = _bound(known, 1.0 - probability, at_least=probability)
    if not np.isfinite(low).any():
        return None
    high = float(_bound(known, probability, at_least=1.0 - probability).max())
    for found in _searched(state, known, probability):
        high = max(high, float(_bound(found, probability, at_least=1.0 - probability).max()))
    return max(high - float(low.max()), 0.0)


@dataclass(frozen=True)
class _Believed:
    """The objective and the constraints as believed at n settings of the target, in F draws."""

    X: Array  # (n, c)
    objective: Array  # (n, F) without noise; NaN where it has no value
    is_feasible: NDArray[np.bool_]  # (n, F)


def _bound(known: _Believed, q: float, *, at_least: float) -> Array:
    """(n,): the q-quantile of the objective; -inf where the constraints are kept with less probability."""
    values = np.where(np.isfinite(known.objective), known.objective, -np.inf)
    bound = np.quantile(values, q, axis=1, method="nearest")
    return np.where(known.is_feasible.mean(axis=1) >= at_least, bound, -np.inf)


class _Key:
    """A state, equal to another one that knows the same: decisions between two readings share what they look at."""

    def __init__(self, state: State) -> None:
        self.state = state

    def __eq__(self, other: object) -> bool:
        one, two = self.state, other.state if isinstance(other, _Key) else None
        return (
            two is not None
            and all(
                a is b
                for a, b in (
                    (one.campaign, two.campaign),
                    (one.belief_dump, two.belief_dump),
                    (one.readings, two.readings),
                )
            )
            and one.context == two.context
        )

    def __hash__(self) -> int:
        return hash((id(self.state.campaign), id(self.state.belief_dump), id(self.state.readings)))


@lru_cache(maxsize=2)
def _believed(key: _Key) -> _Believed | None:
    """At the settings that were read and are the best by what is expected of them."""
    from .design.safeguard import usable

    state = key.state
    evidence = state.evidence
    X = np.unique(usable(evidence.space_of(evidence.target), evidence.asked_now(evidence.target)), axis=0)
    found = _at(state, X, N_FEW) if len(X) else None
    if found is None:
        return None
    with np.errstate(invalid="ignore"):
        merit = np.where(found.is_feasible & np.isfinite(found.objective), found.objective, -np.inf).max(axis=1)
    return _at(state, X[np.argsort(-merit, kind="stable")[:N_KNOWN]], N_DRAWS)


def _at(state: State, X: Array, n_draws: int, evidence: Evidence | None = None) -> _Believed | None:
    """What the belief says at X, of all the evidence or of another."""
    from .design.utility import moments, normal_draws

    evidence, goal = evidence or state.evidence, state.campaign.goal
    belief = state.belief
    if belief is None or not hasattr(belief, "target_model"):
        return None
    used = [j for j, name in enumerate(evidence.responses) if name in goal.names]
    try:
        model = cast("Decider", belief).target_model(evidence, used)
    except BeliefError:
        return None
    if model is None:
        return None
    mean, sd = moments(model, X)
    Y = mean[:, None, :] + sd[:, None, :] * normal_draws(n_draws, len(used))
    values = {evidence.responses[j]: Y[..., k] for k, j in enumerate(used)}
    with np.errstate(all="ignore"):
        objective = goal.objective(values, lib=np) + np.zeros(Y.shape[:2])
        margins = [m + np.zeros(Y.shape[:2]) for m in goal.margins(values, lib=np)]
        is_feasible = np.all([m >= 0 for m in margins], axis=0) if margins else np.ones(Y.shape[:2], dtype=bool)
    return _Believed(X, objective, is_feasible)


def _searched(state: State, known: _Believed, probability: float) -> list[_Believed]:
    """What is believed elsewhere: spread over the space, then twice around the highest upper bounds."""
    from .design.candidates import raw_candidates

    evidence, campaign = state.evidence, state.campaign
    rng = np.random.default_rng([campaign.seed, len(evidence.of(evidence.target))])
    near, found = known.X[:8], []
    for n in N_SEARCH:
        X = raw_candidates(evidence.space_of(evidence.target), near, n=n, seed=campaign.seed, rng=rng)
        here = _at(state, X, N_DRAWS // 4)
        if here is None:
            break
        found.append(here)
        high = _bound(here, probability, at_least=1.0 - probability)
        near = X[np.argsort(-high, kind="stable")[:8]]
    return found
