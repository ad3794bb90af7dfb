"""What a change of setting costs: charged with the trial, weighed against its gain, kept short in batches.

A number is the cost of one unit of the parameter, in its own unit; for a parameter without numbers, of any change.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .parameters import Categorical
from .records import Cost, Setting, Trial

if TYPE_CHECKING:
    from .campaign import Campaign
    from .space import Array
    from .state import State

MAX_EXACT = 7  # trials of a batch up to which every order is tried


def rates(campaign: Campaign, source: str) -> dict[str, Cost]:
    """By parameter what a unit of change costs, by resource."""
    declared = campaign.sources[source].switching
    only = next((r for r in campaign.budget if r != "trials"), "trials")  # checked: there is one, where it counts
    return {p: dict(c) if isinstance(c, dict) else {only: c} for p, c in declared.items()}


def switching_cost(campaign: Campaign, source: str, before: Setting | None, after: Setting) -> Cost:
    """What the change costs, by resource; nothing where the source stood nowhere yet."""
    total: Cost = {}
    for name, rate in rates(campaign, source).items() if before is not None else ():
        a, b = (before or {}).get(name), after.get(name)
        if a is None or b is None or a == b:
            continue
        is_choice = isinstance(campaign.parameters[name], Categorical) or isinstance(a, str) or isinstance(b, str)
        far = 1.0 if is_choice else abs(float(b) - float(a))
        for resource, amount in rate.items():
            total[resource] = total.get(resource, 0.0) + amount * far
    return total


def place_of(state: State, source: str) -> Setting | None:
    """The setting that a source will stand at when the next trial begins; None where it stood nowhere yet."""
    for number in range(len(state.trials), 0, -1):
        known = state.trials[number]
        if known.trial.source == source and known.status != "cancelled":
            return known.trial.setting
    return None


def cost_with_switching(state: State, source: str, setting: Setting) -> Cost:
    """What a trial at this setting costs, the way there with it."""
    total = dict(state.campaign.cost_of(source))
    if state.campaign.sources[source].switching:
        for resource, amount in switching_cost(state.campaign, source, place_of(state, source), setting).items():
            total[resource] = total.get(resource, 0.0) + amount
    return total


def travel_of(state: State, source: str) -> Callable[[Array], float] | None:
    """From a row of the cube to the share of the budget that the way there costs; infinite where it holds no more.

    None for a source whose setting changes for nothing.
    """
    campaign = state.campaign
    if not campaign.sources[source].switching:
        return None
    before, limits = place_of(state, source), campaign.budget_amounts

    def share(row: Array) -> float:
        setting = campaign.space.decode(row)
        if not state.can_afford(cost_with_switching(state, source, setting)):
            return float("inf")
        way = switching_cost(campaign, source, before, setting)
        return sum(amount / limits[r] for r, amount in way.items() if r in limits)

    return share


def in_order(state: State, source: str, trials: Sequence[Trial], before: Setting | None) -> tuple[Trial, ...]:
    """The trials of a batch along the way that costs least, beginning where the source stands."""
    campaign = state.campaign
    if not campaign.sources[source].switching or not trials:
        return tuple(trials)

    def step(a: Setting | None, b: Setting) -> float:
        limits = campaign.budget_amounts
        return sum(x / limits.get(r, 1.0) for r, x in switching_cost(campaign, source, a, b).items())

    def length(order: Sequence[Trial]) -> float:
        settings = [before, *(t.setting for t in order)]
        return sum(step(a, b) for a, b in itertools.pairwise(settings) if b is not None)

    if len(trials) <= MAX_EXACT:
        return min(itertools.permutations(trials), key=length)
    left, order, at = list(trials), [], before
    while left:
        nearest = min(left, key=lambda t: step(at, t.setting))
        left.remove(nearest)
        order.append(nearest)
        at = nearest.setting
    return tuple(order)
