"""One currency for all actions: the expected gain towards the goal per share of the budget.

The instrument is asked at the optimum of its acquisition function; a simulator where it would teach most about the
settings that may be the best.

Laws:
    * A gain is never negative, and a source that says nothing about the target gains nothing.
    * Between two readings of the target, other sources spend no more than one such reading costs: if the belief
      trusts a simulator too much, the campaign pays at most twice for it, and the next reading sets the belief right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BeliefError
from .candidates import as_asked, distinct, without
from .choice import Choice, Option, chosen
from .initial import initial_setting, spread_settings
from .knowledge import Outlook
from .logei import FAILURES, Found, best_settings, likely_best
from .objective import Objective
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
    target = evidence.target
    try:
        used = [j for j, name in enumerate(evidence.responses) if name in campaign.goal.names]
        model = belief.target_model(evidence, used)
        if model is None:
            raise BeliefError("there are fewer than two readings")
        names = tuple(evidence.responses[j] for j in used)
        objective = Objective.fit(campaign.goal, names, _readings(evidence)[:, used])
        avoid = _avoided(belief, model, evidence, used)
        found = best_settings(model, evidence, objective, avoid=avoid, seed=campaign.seed, rng=rng)
        options = _weighed(belief, model, evidence, objective, found, costs, allowed, campaign.seed, used)
    except FAILURES as error:
        return _without_model(evidence, campaign, costs, allowed, str(error))
    others = [o for o in options if o.source != target and o.source in allowed]
    is_spent = spent >= costs[target] * (1 - 1e-9)  # a sum of many small costs
    candidates = [o for o in options if o.source == target and target in allowed][:1] + ([] if is_spent else others)
    if not candidates:
        return None
    return chosen(candidates, options, found, target, scale=objective.scale, is_spent=is_spent and bool(others))


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
    outlook = Outlook.at(X_ref, model, objective)
    target = evidence.target
    gains = outlook.gains(belief.influence(evidence, target, found.X, X_ref)[..., used])
    notes = ["", *("next best setting" for _ in found.X[1:])]
    options = [
        Option(target, x, float(g), costs[target], note) for x, g, note in zip(found.X, gains, notes, strict=True)
    ]
    for source in sorted(set(allowed) - {target}):
        X = without(X_ref, evidence.pending_at(source))
        if not len(X):
            continue
        influence = belief.influence(evidence, source, X, X_ref)[..., used]
        strength = np.abs(influence / np.maximum(outlook.sd.max(axis=0), 1e-300)).sum(axis=(1, 2))
        strongest = np.argsort(-strength, kind="stable")[:N_SIMULATED]
        gains = outlook.gains(influence[strongest])
        order = np.argsort(-gains, kind="stable")
        options += [Option(source, X[strongest[k]], float(gains[k]), costs[source]) for k in order]
    return options


def references(model: Model, evidence: Evidence, objective: Objective, found: Found, *, seed: int) -> Array:
    """Settings of which one may turn out best, (<= N_REFERENCES, c).

    Those of the acquisition, the best that were asked for, and of a spread those with the highest utility.
    """
    best = likely_best(model, evidence, objective)[:N_BEST]
    spread = spread_settings(evidence.space, N_SPREAD, start=0, seed=seed)
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
    pending = evidence.pending_at(evidence.target)
    asked = evidence.of(evidence.target)
    prediction = belief.predict(evidence, evidence.target, asked.X_set[-1:]) if len(asked) > 1 else None
    if prediction is None:
        return pending
    _, sd = moments(model, asked.X_set[-1:])
    noise = np.sqrt(np.maximum(prediction.sd[:, used] ** 2 - sd**2, 0.0))
    is_noise_free = bool((noise <= NOISE_FREE * asked.Y[:, used].std(axis=0)).all())
    return distinct(np.concatenate([pending, asked.X_set])) if is_noise_free else pending


def _without_model(
    evidence: Evidence, campaign: Campaign, costs: Mapping[str, float], allowed: Collection[str], reason: str
) -> Choice | None:
    """The target at the next Sobol point."""
    target = evidence.target
    if target not in allowed:
        return None
    k = len(evidence.of(target)) + len(evidence.pending_at(target))
    row = as_asked(evidence.space, initial_setting(evidence.space, k, campaign.seed)[None])[0]
    return Choice(
        target,
        row,
        0.0,
        costs[target],
        f"{target}: next Sobol point, since the belief cannot decide: {reason}",
    )
