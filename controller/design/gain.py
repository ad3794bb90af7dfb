"""One currency for all actions: the expected gain towards the goal per share of the budget.

The instrument is asked at the optimum of its acquisition function; a simulator where it would teach most about the
settings that may be the best.

Laws:
    * A gain is never negative, and a source that says nothing about the target gains nothing.
    * A gain is that of a reading times the probability that there will be one.
    * Whatever the model does, there is a proposal; where it was not the model's, words and figures say so.
    * Between two readings of the target, other sources spend no more than one such reading costs: if the belief
      trusts a simulator too much, the campaign pays at most twice for it, and the next reading sets the belief right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..belief.failures import described
from ..belief.standardised import ROUNDING, tamed
from ..belief.success import Success
from ..errors import BeliefError
from .candidates import as_asked, distinct, without
from .choice import Choice, Option, chosen
from .initial import spread_settings
from .knowledge import Outlook
from .logei import Found, best_settings, likely_best
from .objective import Objective
from .safeguard import fault_of, is_hopeless, space_filling, usable
from .utility import moments, utility

if TYPE_CHECKING:
    from botorch.models.model import Model

    from ..belief import Decider
    from ..belief.evidence import Evidence
    from ..campaign import Campaign
    from ..space import Array

N_REFERENCES = 40
N_BEST = 15  # of them settings that were asked for already
N_SPREAD = 128  # screened for the rest by what is expected of them
N_SIMULATED = 16  # settings weighed of each other source
NOISE_FREE = 1e-2  # noise below this share of the readings' spread makes a repeat worthless


def choose(
    belief: Decider,
    evidence: Evidence,
    campaign: Campaign,
    costs: Mapping[str, float],
    allowed: Collection[str],
    rng: np.random.Generator,
    *,
    spent: float = 0.0,
) -> Choice | None:
    """The action with the highest expected gain per cost.

    Args:
        belief: corrected by all of ``evidence``.
        evidence: readings and pending settings.
        campaign: for its goal and seed.
        costs: of one trial of every source, as a share of the budget, > 0.
        allowed: sources that are free and can be paid for.
        rng: of this decision.
        spent: share of the budget for which the other sources were asked since the target's last reading.

    Returns:
        None where waiting is best: the target is not allowed, and the others have spent their part.
    """
    target, evidence = evidence.target, tamed(evidence)
    try:
        used = [j for j, name in enumerate(evidence.responses) if name in campaign.goal.names]
        model = belief.target_model(evidence, used)
        if model is None:
            raise BeliefError("there are fewer than two readings")
        names = tuple(evidence.responses[j] for j in used)
        objective = Objective.fit(campaign.goal, names, _readings(evidence)[:, used])
        avoid = _avoided(belief, model, evidence, used)
        is_constant = _is_constant(evidence, used)
        found = best_settings(
            model, evidence, objective, avoid=avoid, seed=campaign.seed, rng=rng, is_constant=is_constant
        )
        options = _weighed(belief, model, evidence, objective, found, costs, allowed, campaign.seed, used)
        options, replaced = _sound(options, evidence)
        if not any(o.source == target for o in options):
            raise BeliefError(f"every setting that it chose {replaced}")
    except Exception as error:  # whatever it is: the loop never dies of the model, and the decision says so
        return _without_model(evidence, campaign, costs, allowed, described(error))
    others = [o for o in options if o.source != target and o.source in allowed]
    is_spent = spent >= costs[target] * (1 - 1e-9)  # a sum of many small costs
    candidates = [o for o in options if o.source == target and target in allowed][:1] + ([] if is_spent else others)
    if not candidates:
        return None
    choice = chosen(candidates, options, found, target, scale=objective.scale, is_spent=is_spent and bool(others))
    return choice.with_replaced(replaced) if replaced else choice


def _sound(options: list[Option], evidence: Evidence) -> tuple[list[Option], str]:
    """The options that may be proposed, and what was wrong with the others; the first of the target is the best."""
    faults = [fault_of(o.setting, evidence, o.source) for o in options]
    sound = [o for o, fault in zip(options, faults, strict=True) if not fault]
    firsts = [k for k, o in enumerate(sound) if o.source == evidence.target][:1]
    sound = [replace(o, note="") if k in firsts else o for k, o in enumerate(sound)]
    return sound, ", ".join(sorted({fault for fault in faults if fault}))


def _weighed(
    belief: Decider,
    model: Model,
    evidence: Evidence,
    objective: Objective,
    found: Found,
    costs: Mapping[str, float],
    allowed: Collection[str],
    seed: int,
    used: Sequence[int],
) -> list[Option]:
    """Every action with its gain: the target's in the order of the acquisition, others by falling gain."""
    X_ref = references(model, evidence, objective, found, seed=seed)
    target = evidence.target
    success = Success.of(evidence, target)
    outlook = Outlook.at(X_ref, model, objective, p_success=None if success is None else success.probability(X_ref))
    gains = outlook.gains(belief.influence(evidence, target, found.X, X_ref)[..., used])
    p = _p_success(success, found.X)
    notes = ["", *("next best setting" for _ in found.X[1:])]
    options = [
        _option(target, x, g, costs[target], p_k, note)
        for x, g, p_k, note in zip(found.X, gains, p, notes, strict=True)
    ]
    for source in sorted(set(allowed) - {target}):
        success = Success.of(evidence, source)
        X = _within(evidence, source, X_ref, seed)
        X = without(without(X, evidence.pending_at(source)), evidence.infeasible_at(source))
        X = X[~is_hopeless(success, X)]
        if not len(X):
            continue
        influence = belief.influence(evidence, source, X, X_ref)[..., used]
        strength = np.abs(influence / np.maximum(outlook.sd.max(axis=0), 1e-300)).sum(axis=(1, 2))
        strongest = np.argsort(-strength, kind="stable")[:N_SIMULATED]
        gains = outlook.gains(influence[strongest])
        p = _p_success(success, X[strongest])
        found_here = [_option(source, x, g, costs[source], q) for x, g, q in zip(X[strongest], gains, p, strict=True)]
        options += sorted(found_here, key=lambda o: -o.gain)
    return options


def _within(evidence: Evidence, source: str, X: Array, seed: int) -> Array:
    """The references that a source may be asked for; where its guard leaves few of them, a spread beside them."""
    space = evidence.space_of(source)
    kept = usable(space, X)
    if len(kept) >= min(N_SIMULATED, len(X)):
        return kept
    return distinct(np.concatenate([kept, as_asked(space, spread_settings(space, N_SIMULATED, start=0, seed=seed))]))


def _option(source: str, setting: Array, gain: float, cost: float, p: float | None, note: str = "") -> Option:
    """Its gain is that of a reading, if there is one."""
    return Option(source, setting, float(gain if p is None else gain * p), cost, note, p)


def _p_success(success: Success | None, X: Array) -> list[float] | list[None]:
    return [None] * len(X) if success is None else success.probability(X).tolist()


def references(model: Model, evidence: Evidence, objective: Objective, found: Found, *, seed: int) -> Array:
    """Settings of which one may turn out best, (<= N_REFERENCES, c).

    Those of the acquisition, the best that were asked for, and of a spread those with the highest utility.
    """
    best = likely_best(model, evidence, objective)[:N_BEST]
    spread = spread_settings(evidence.space_of(evidence.target), N_SPREAD, start=0, seed=seed)
    if len(spread):
        mean, sd = moments(model, spread)
        worst = float(objective.values(mean, lib=np).min())
        spread = spread[np.argsort(-utility(objective, mean, sd, worst), kind="stable")]
    return distinct(np.concatenate([found.X, best, spread]))[:N_REFERENCES]


def _readings(evidence: Evidence) -> Array:
    """(n, m): the target's, or everybody's while it has none or one."""
    own = evidence.of(evidence.target).Y
    return own if len(own) > 1 else np.concatenate([o.Y for o in evidence.observations.values() if len(o)])


def _avoided(belief: Decider, model: Model, evidence: Evidence, used: Sequence[int]) -> Array:
    """Settings of the target that are in flight or failed, and those that were read without noise."""
    pending = np.concatenate([evidence.pending_at(evidence.target), evidence.infeasible_at(evidence.target)])
    asked = evidence.of(evidence.target)
    prediction = belief.predict(evidence, evidence.target, asked.X_set[-1:]) if len(asked) > 1 else None
    if prediction is None:
        return pending
    _, sd = moments(model, asked.X_set[-1:])
    noise = np.sqrt(np.maximum(prediction.sd[:, used] ** 2 - sd**2, 0.0))
    is_noise_free = bool((noise <= NOISE_FREE * asked.Y[:, used].std(axis=0)).all()) or _is_constant(evidence, used)
    return distinct(np.concatenate([pending, asked.X_set])) if is_noise_free else pending


def _is_constant(evidence: Evidence, used: Sequence[int]) -> bool:
    """Whether several settings of the target gave the very same readings, to rounding."""
    own = evidence.of(evidence.target)
    Y = own.Y[:, used]
    return len(distinct(own.X_set)) > 1 and bool((np.ptp(Y, axis=0) <= ROUNDING * np.abs(Y).max(axis=0)).all())


def _without_model(
    evidence: Evidence, campaign: Campaign, costs: Mapping[str, float], allowed: Collection[str], reason: str
) -> Choice | None:
    """The target at the next Sobol point."""
    target = evidence.target
    if target not in allowed:
        return None
    row = space_filling(evidence, target, seed=campaign.seed)
    text = f"{target}: next Sobol point, since the belief cannot decide: {reason}"
    return Choice(target, row, 0.0, costs[target], text, figures={"fallback": 2.0})
