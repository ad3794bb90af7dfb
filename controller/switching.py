"""What a change of setting costs: charged with the trial, weighed against its gain, kept short in batches.

A number is the cost of one unit of the parameter, in its own unit; for a parameter without numbers, of any change.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .parameters import Categorical
from .records import Cost, Setting, Trial

if TYPE_CHECKING:
    from .campaign import Campaign
    from .space import Array
    from .state import State

MAX_EXACT = 5  # trials under way of which every order is tried
ENDED = ("observed", "late", "failed", "invalid", "unknown")  # it was, or may have been, there


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


def stands_at(state: State, source: str) -> Setting | None:
    """The setting that a source was sent to last, in the order of what was done; None where it stood nowhere yet."""
    if places := state.places.get(source):
        return places[0]
    ended = (state.trials[n] for n in range(len(state.trials), 0, -1))  # of a simulator nobody keeps the place
    return next((t.trial.setting for t in ended if t.trial.source == source and t.status in ENDED), None)


def way_to(state: State, source: str, setting: Setting) -> Cost:
    """What a trial here adds to the cheapest way through all that is under way, by resource.

    What the agent carries out itself is done in the order of its numbers; what a session handed out, along this way.
    """
    if not state.campaign.sources[source].switching:
        return {}
    begin, stops = _under_way(state, source)
    if not stops:
        return switching_cost(state.campaign, source, begin, setting)
    before = _cost_along(state, source, begin, _route(state, source, begin, stops))
    after = _cost_along(state, source, begin, _route(state, source, begin, [*stops, setting]))
    return {r: max(x - before.get(r, 0.0), 0.0) for r, x in after.items()}


def cost_with_switching(state: State, source: str, setting: Setting) -> Cost:
    """What a trial at this setting costs, the way there with it."""
    total = dict(state.campaign.cost_of(source))
    for resource, amount in way_to(state, source, setting).items():
        total[resource] = total.get(resource, 0.0) + amount
    return total


def travel_of(state: State, source: str) -> Callable[[Array], float] | None:
    """From a row of the cube to the share of the budget that the way there costs; infinite where it holds no more.

    None for a source whose setting changes for nothing.
    """
    campaign = state.campaign
    if not campaign.sources[source].switching:
        return None

    def share(row: Array) -> float:
        setting = campaign.space.decode(row)
        if not state.can_afford(cost_with_switching(state, source, setting)):
            return float("inf")
        way, limits = way_to(state, source, setting), campaign.budget_amounts
        return sum(amount / limits[r] for r, amount in way.items() if r in limits)

    return share


def in_order(state: State, source: str, trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Of a state that knows them, trials of a session along the way that they were charged for."""
    if not state.campaign.sources[source].switching:
        return tuple(trials)
    begin, stops = _under_way(state, source)
    places = [id(stop) for stop in _route(state, source, begin, stops)]
    settings = {t.number: state.trials[t.number].trial.setting for t in trials}
    return tuple(sorted(trials, key=lambda t: places.index(id(settings[t.number]))))


def _under_way(state: State, source: str) -> tuple[Setting | None, list[Setting]]:
    """Where the source will be once the agent's own trials are done, and what a session has handed out beside them."""
    begin, stops = stands_at(state, source), []
    for number in sorted({*state.waiting, *state.running}):
        known = state.trials[number]
        if known.trial.source != source:
            continue
        if known.is_ours:
            begin = known.trial.setting
        else:
            stops.append(known.trial.setting)
    return begin, stops


def _route(state: State, source: str, begin: Setting | None, stops: Sequence[Setting]) -> list[Setting]:
    """The stops along the cheapest way: exact for the first few, the others put in where they add least."""
    far = _distances(state, source, [begin, *stops])

    def length(order: Iterable[int]) -> float:
        return sum(far[a][b] for a, b in itertools.pairwise((0, *order)))

    n_exact = min(len(stops), MAX_EXACT)
    route = list(min(itertools.permutations(range(1, n_exact + 1)), key=length))
    for k in range(n_exact + 1, len(stops) + 1):
        route = min(([*route[:i], k, *route[i:]] for i in range(len(route) + 1)), key=length)
    return [stops[k - 1] for k in route]


def _distances(state: State, source: str, places: Sequence[Setting | None]) -> list[list[float]]:
    """Between each two places, what the change costs as a share of the budget."""
    limits = state.campaign.budget_amounts

    def far(a: Setting | None, b: Setting | None) -> float:
        way = switching_cost(state.campaign, source, a, b) if b is not None else {}
        return sum(x / limits.get(r, 1.0) for r, x in way.items())

    return [[far(a, b) for b in places] for a in places]


def _cost_along(state: State, source: str, begin: Setting | None, route: Sequence[Setting]) -> Cost:
    total: Cost = {}
    for a, b in itertools.pairwise((begin, *route)):
        for resource, amount in switching_cost(state.campaign, source, a, b or {}).items():
            total[resource] = total.get(resource, 0.0) + amount
    return total
