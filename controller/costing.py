"""What a trial is expected to cost: as declared, until a source's reports differ from that; then as learned from them.

Laws:
    * A source that reports no cost, or the declared one, costs what is declared.
    * Nothing is learned before ``MIN_COSTS`` reports, and never of ``trials``: a trial is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .belief.cost import MIN_COSTS, CostModel
from .records import Cost, Setting
from .switching import cost_with_switching, switching_cost, travel_of, way_to

if TYPE_CHECKING:
    from .space import Array
    from .state import State

N_SPREAD = 64  # settings over which the cheapest is sought
SAME = 1e-9  # relative: a report that near to what is declared says nothing new

Costs = Mapping[str, Mapping[str, CostModel]]  # by source and resource


def learned_costs(state: State) -> dict[str, dict[str, CostModel]]:
    """The models of all sources whose reports differ from what is declared; see ``State.learned_costs``."""
    found = {}
    for source in state.campaign.sources:
        if state.n_readings(source) >= MIN_COSTS and (models := _kept(state, source)):
            found[source] = models
    return found


def _kept(state: State, source: str) -> dict[str, CostModel]:
    """The models, kept beside the readings that they were learned from: these change once a trial, a state oftener."""
    kept: dict[str, dict[str, CostModel]] = state.readings[source].__dict__.setdefault("_costs", {})
    campaign = state.campaign
    declared = repr((campaign.cost_of(source), sorted(campaign.budget_amounts), campaign.sources[source].switching))
    if declared not in kept:  # an amendment may change what is declared, and leaves the readings as they are
        kept[declared] = _models(state, source)
    return kept[declared]


def _models(state: State, source: str) -> dict[str, CostModel]:
    observations, declared = state.readings[source].observations, state.campaign.cost_of(source)
    rows: dict[str, list[tuple[int, float]]] = {}
    is_news: set[str] = set()
    for k, number in enumerate(observations.trials):
        known = state.trials[number]
        reported = known.reading.cost if known.reading is not None else {}
        done_before = observations.trials[k - 1] if k else None
        way = _way_there(state, source, number, done_before) if reported else {}
        for resource, amount in reported.items():
            if resource == "trials" or resource not in state.campaign.budget_amounts:
                continue
            own = max(amount - way.get(resource, 0.0), 0.0)
            rows.setdefault(resource, []).append((k, own))
            if abs(own - declared.get(resource, 0.0)) > SAME * max(own, declared.get(resource, 0.0)):
                is_news.add(resource)
    models = {}
    for resource, told in rows.items():
        if resource in is_news and len(told) >= MIN_COSTS:
            places, costs = np.array([k for k, _ in told]), np.array([c for _, c in told])
            models[resource] = CostModel.learn(np.array(observations.X_set[places]), places, costs)
    return models


def _way_there(state: State, source: str, number: int, done_before: int | None) -> Cost:
    """What the change to the setting of a trial is declared to cost; it is no part of what is learned."""
    if not state.campaign.sources[source].switching:
        return {}
    if not state.trials[number].is_ours:  # handed out in an order of its own
        before = None if done_before is None else state.trials[done_before].trial.setting
        return switching_cost(state.campaign, source, before, state.trials[number].trial.setting)
    before = next(
        (
            t.trial.setting
            for n in range(number - 1, 0, -1)
            if (t := state.trials[n]).trial.source == source and t.status != "cancelled"
        ),
        None,
    )
    return switching_cost(state.campaign, source, before, state.trials[number].trial.setting)


def expected_cost(state: State, source: str, setting: Setting) -> Cost:
    """What the next trial is expected to cost at a setting, the way there with it."""
    total = cost_with_switching(state, source, setting)
    models = state.learned_costs.get(source)
    if not models:
        return total
    row = state.campaign.space.encode(setting)[None, :]
    learned = {r: float(m.at(row, state.n_readings(source))[0]) for r, m in models.items()}
    way = way_to(state, source, setting)
    return {**total, **{r: amount + way.get(r, 0.0) for r, amount in learned.items()}}


def usual_cost(state: State, source: str) -> Cost:
    """What the next trial is expected to cost at a setting as were asked for, the way there apart."""
    models = state.learned_costs.get(source)
    if not models:
        return state.campaign.cost_of(source)
    asked, n = state.readings[source].observations.X_set, state.n_readings(source)
    return {**state.campaign.cost_of(source), **{r: float(np.median(m.at(asked, n))) for r, m in models.items()}}


def cheapest_cost(state: State, source: str) -> Cost:
    """The least that the next trial may cost, the way there apart."""
    if not state.learned_costs.get(source):
        return state.campaign.cost_of(source)
    return min((cost for _, cost in _spread(state, source)), key=lambda cost: share_of(state, cost))


def share_of(state: State, cost: Mapping[str, float]) -> float:
    """A cost as a fraction of the budget, summed over its resources."""
    return sum(cost.get(r, 0.0) / limit for r, limit in state.campaign.budget_amounts.items())


def way_of(state: State, source: str, usual: float, *, floor: float) -> Callable[[Array], float] | None:
    """From a row of the cube to what a trial there costs beyond the usual, as a share of the budget.

    Infinite where the budget holds no trial there; None where all settings cost the same.

    Args:
        state: of the decision.
        source: who would be asked.
        usual: the share that its usual trial costs.
        floor: the least share that counts as a cost.
    """
    if not state.learned_costs.get(source):
        return travel_of(state, source)

    def beyond(row: Array) -> float:
        cost = expected_cost(state, source, state.campaign.space.decode(row))
        return max(share_of(state, cost), floor) - usual if state.can_afford(cost) else float("inf")

    return beyond


def affordable(state: State, source: str, setting: Setting) -> Setting:
    """The setting itself; where the budget holds no trial there by the learned cost, the nearest where it does."""
    if not state.learned_costs.get(source) or state.can_afford(expected_cost(state, source, setting)):
        return setting
    row = state.campaign.space.encode(setting)
    near = [x for x, cost in _spread(state, source) if state.can_afford(cost)]
    if not near:
        return setting
    nearest: Array = min(near, key=lambda x: float(((x - row) ** 2).sum()))
    return state.campaign.space.decode(nearest)


def cost_words(state: State, source: str, setting: Setting) -> tuple[str, dict[str, float]]:
    """The learned cost of a trial in words and figures; nothing where the declared one holds."""
    models = state.learned_costs.get(source, {})
    if not models:
        return "", {}
    expected, declared = expected_cost(state, source, setting), cost_with_switching(state, source, setting)
    unit = {r: "s of time" if r == "time" else r for r in models}
    words = ", ".join(f"{expected[r]:.3g} {unit[r]} (declared {declared.get(r, 0.0):.3g})" for r in models)
    return f"; expected to cost {words}", {f"expected_{r}": expected[r] for r in models}


def _spread(state: State, source: str) -> list[tuple[Array, Cost]]:
    """Settings all over the space, and what the next trial is expected to cost there, the way apart."""
    from .design.initial import spread_settings

    models, n = state.learned_costs[source], state.n_readings(source)
    space = state.spaces[source]
    X = np.array(spread_settings(space, N_SPREAD, start=0, seed=state.campaign.seed))
    X = X if len(X) else np.array(state.readings[source].observations.X_set)
    learned = {r: m.at(X, n) for r, m in models.items()}
    declared = state.campaign.cost_of(source)
    return [(x, {**declared, **{r: float(c[k]) for r, c in learned.items()}}) for k, x in enumerate(X)]
