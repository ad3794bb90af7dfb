"""One currency for all actions: the expected gain towards the goal per share of the budget.

What the goal's strategy finds at the target, the most promising repeats, and what each other source could be asked
for, all have a gain; the highest for its cost is taken.

Laws:
    * A gain is never negative, and a source that says nothing about the target gains nothing.
    * A gain is that of a reading times the probability that there will be one.
    * Whatever the model does, there is a proposal; where it was not the model's, words and figures say so.
    * Between two readings of the target, other sources spend no more than one such reading costs: if the belief
      trusts a simulator too much, the campaign pays at most twice for it, and the next reading sets the belief right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..belief.failures import described
from ..belief.standardised import ROUNDING, tamed
from ..belief.success import Success
from ..errors import BeliefError
from .candidates import as_asked, distinct, is_among, without
from .choice import REPEAT, Choice, Option, chosen
from .foreign import with_foreign
from .initial import spread_settings
from .safeguard import fault_of, is_hopeless, space_filling, usable
from .strategy import N_REPEATS, Situation, Strategy, View, strategy_of
from .utility import moments

if TYPE_CHECKING:
    from botorch.models.model import Model

    from ..belief import Decider
    from ..belief.evidence import Evidence
    from ..campaign import Campaign
    from ..space import Array
    from .searching import Found

Travel = Callable[[Any], float]  # from a row of the cube to a share of the budget
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
    travel: Mapping[str, Travel] | None = None,
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
        travel: what the way to a setting costs beside, of the sources where it costs something.

    Returns:
        None where waiting is best: the target is not allowed, and the others have spent their part.
    """
    target, evidence = evidence.target, tamed(evidence)
    try:
        situation = situation_of(belief, evidence, campaign, rng)
        strategy = strategy_of(situation)
        found, rivals = _found(strategy, campaign, evidence, rng)
        view = strategy.view(found)
        options = _at_target(situation, view, found, rivals, costs[target])
        for source in sorted(set(allowed) - {target}):
            options += _elsewhere(situation, view, source, costs[source])
        options = _with_travel(options, travel or {})
        options, replaced = _sound(options, evidence)
        is_left = any(o.source == target and not (replaced and o.note == REPEAT) for o in options)
        if not is_left:  # a repeat is weighed beside what was found, and stands for none of it
            raise BeliefError(f"every setting that it chose {replaced or 'costs more than is left'}")
    except Exception as error:  # whatever it is: the loop never dies of the model, and the decision says so
        return _without_model(evidence, campaign, costs, allowed, described(error))
    others = [o for o in options if o.source != target and o.source in allowed]
    is_spent = spent >= costs[target] * (1 - 1e-9)  # a sum of many small costs
    here = [o for o in options if o.source == target and target in allowed]
    is_far = target in (travel or {}) and campaign.designer is None  # then the nearer of two may be worth more
    candidates = [*here[:1], *(o for o in here[1:] if is_far or o.note == REPEAT), *([] if is_spent else others)]
    if not candidates:
        return None
    choice = chosen(
        candidates,
        options,
        found,
        target,
        scale=strategy.scale,
        is_spent=is_spent and bool(others),
        measure=strategy.measure,
    )
    choice = choice.with_figures(view.figures())
    return choice.with_replaced(replaced) if replaced else choice


def _found(strategy: Strategy, campaign: Campaign, evidence: Evidence, rng: np.random.Generator) -> tuple[Found, Array]:
    """Settings of the target, and those worth another reading: none where settings are a designer's to name."""
    found = strategy.find()
    if campaign.designer is None:
        return found, strategy.rivals()
    return with_foreign(found, campaign, evidence, rng), strategy.rivals()[:0]


def situation_of(belief: Decider, evidence: Evidence, campaign: Campaign, rng: np.random.Generator) -> Situation:
    """What a decision is made from.

    Raises:
        BeliefError: if the belief knows too little.
    """
    used = [j for j, name in enumerate(evidence.responses) if name in campaign.goal.names]
    model = belief.target_model(evidence, used)
    if model is None:
        raise BeliefError("there are fewer than two readings")
    avoid = _avoided(belief, model, evidence, used)
    is_constant = _is_constant(evidence, used)
    return Situation(
        belief, model, evidence, campaign.goal, campaign.method, tuple(used), avoid, is_constant, campaign.seed, rng
    )


def _sound(options: list[Option], evidence: Evidence) -> tuple[list[Option], str]:
    """The options that may be proposed, and what was wrong with the others; the first of the target is the best."""
    faults = [fault_of(o.setting, evidence, o.source) for o in options]
    sound = [o for o, fault in zip(options, faults, strict=True) if not fault]
    firsts = [k for k, o in enumerate(sound) if o.source == evidence.target and o.note != REPEAT][:1]
    sound = [replace(o, note="") if k in firsts else o for k, o in enumerate(sound)]
    return sound, ", ".join(sorted({fault for fault in faults if fault}))


def _at_target(s: Situation, view: View, found: Found, rivals: Array, cost: float) -> list[Option]:
    """Settings of the target: in the order of the acquisition, then those worth another reading."""
    target = s.evidence.target
    repeats = without(without(rivals, s.avoid)[: 2 * N_REPEATS], found.X)
    repeats = repeats[~is_among(repeats, s.evidence.pending_at(target))]
    repeats = usable(s.space, repeats[~is_hopeless(s.success, repeats)])[:N_REPEATS]
    asked = s.evidence.of(target).X_set
    X = np.concatenate([found.X, repeats])
    gains = view.gains(s.influence(target, X, view.X))
    again = is_among(X, asked)
    is_found = np.arange(len(X)) < len(found.X)
    notes = ["" if k == 0 else "next best setting" if is_found[k] and not again[k] else REPEAT for k in range(len(X))]
    p = _p_success(s.success, X)
    return [_option(target, x, g, cost, q, note) for x, g, q, note in zip(X, gains, p, notes, strict=True)]


def _with_travel(options: list[Option], travel: Mapping[str, Travel]) -> list[Option]:
    """The options that can be paid for, the way there in their cost."""
    moved = [replace(o, cost=o.cost + travel[o.source](o.setting)) if o.source in travel else o for o in options]
    return [o for o in moved if np.isfinite(o.cost)]


def _elsewhere(s: Situation, view: View, source: str, cost: float) -> list[Option]:
    """What another source could be asked for, by falling gain."""
    success = Success.of(s.evidence, source)
    X = _within(s.evidence, source, view.asked, s.seed)
    X = without(without(X, s.evidence.pending_at(source)), s.evidence.infeasible_at(source))
    X = X[~is_hopeless(success, X)]
    if not len(X):
        return []
    influence = s.influence(source, X, view.X)
    strength = np.abs(influence / np.maximum(view.sd.max(axis=0), 1e-300)).sum(axis=(1, 2))
    strongest = np.argsort(-strength, kind="stable")[:N_SIMULATED]
    gains = view.gains(influence[strongest])
    p = _p_success(success, X[strongest])
    found = [_option(source, x, g, cost, q) for x, g, q in zip(X[strongest], gains, p, strict=True)]
    return sorted(found, key=lambda o: -o.gain)


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
