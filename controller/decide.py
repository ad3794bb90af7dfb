"""The priorities, in one function: correct, settle, stop, or propose; else wait.

Laws:
    * ``decide`` is pure: same state, same event. Its randomness comes from (campaign seed, seq).
    * Fresh readings are assimilated before anything else is decided.
    * Measuring, simulating and waiting compete in expected gain per unit of cost.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np

from .approving import asks
from .belief import Belief, Decider, prior_belief
from .costing import affordable, cheapest_cost, cost_words, expected_cost, share_of, usual_cost, way_of
from .errors import BeliefError
from .lifecycle import READ
from .reach import within_reach
from .records import Alternative as AlternativeRecord
from .records import (
    Assimilated,
    Forecast,
    Innovation,
    Noted,
    Paused,
    Proposed,
    Quarantined,
    Refused,
    Settled,
    Stopped,
    Trial,
    Why,
)
from .space import Array
from .state import State
from .stopping import Rule, rule_of
from .supervise import cancel, quarantine, settle, trip_breaker

By = Literal["agent", "session"]  # who asked for the proposal
INITIAL_SHARE = 0.25  # of the budget: what the initial design of all sources but the target may cost at most
N_INFORMED = 2  # the same, where a simulator has told something already
MAX_INITIAL = 20  # of the target: in many dimensions a space-filling design fills nothing
MIN_RUNS = 3  # of a simulator with unknowns, before its emulator says anything
MIN_COST_SHARE = 0.01  # of the dearest source: what costs nothing would otherwise be asked for ever


Decision = Quarantined | Assimilated | Settled | Refused | Paused | Noted | Proposed | Stopped


def decide(state: State, *, stop: Rule | None = None) -> Decision | None:
    """The next event of the mind, or None: wait for the world."""
    if state.stopped:
        return None
    if state.fresh:
        return quarantine(state) or assimilate(state)
    stop = stop or rule_of(state.campaign.stop)
    verdict = stop.verdict(state)
    urgent: Decision | None = settle(state) or cancel(state, is_over=_is_over(state, verdict))
    if not urgent and not state.ending:
        urgent = trip_breaker(state)
    if urgent:
        return urgent
    if verdict is not None:
        return None if _is_open(state) else verdict
    proposed = None if state.paused else _next_trial(state)
    verdict = stop.verdict(state, proposed) if proposed else None  # what is not worth its cost is not begun
    if verdict is not None:
        return None if _is_open(state) else verdict
    return proposed


def _is_open(state: State) -> bool:
    """Whether something is waited for before the end: what runs, people's word, and what a driver may still know."""
    is_asked = any(state.trials[n].doubt == "unasked" for n in state.doubts)
    return bool(state.running or state.waiting or is_asked)


def _next_trial(state: State) -> Proposed | None:
    free = [s for s in state.campaign.sources if _has_slot(state, s)]
    asked = [s for s in free if state.n_waiting(s) >= state.campaign.n_slots(s)]
    found = propose(state, free)
    if found is None and asked:  # the best waits for people; the rest need not
        return propose(state, [s for s in free if s not in asked], without=asked)
    return found


def _is_over(state: State, verdict: Stopped | None) -> bool:
    """Whether no further trial of the target can come, whatever becomes of those that are under way."""
    if state.ending is not None:
        return True
    campaign, target = state.campaign, state.campaign.target
    if verdict is None or state.n_running(target) or state.n_waiting(target):
        return False
    cost, spent = cheapest_cost(state, target), state.spent
    return any(
        spent.get(r, 0.0) + cost.get(r, 0.0) > limit * (1 + 1e-9) for r, limit in campaign.budget_amounts.items()
    )


def assimilate(state: State) -> Assimilated:
    """The belief corrected by the fresh readings, with each reading's innovation."""
    belief = current_belief(state)
    note = ""
    try:
        belief = belief.correct(state.evidence, state.fresh, _rng(state))
    except BeliefError as error:  # the decision goes on from the older belief, and the ledger says so
        note = f"not corrected: {error}"
    return Assimilated(
        trials=state.fresh,
        innovations=tuple(i for n in state.fresh if (i := innovation(state, n)) is not None),
        belief=belief.dump(),
        note=note,
    )


def innovation(state: State, number: int) -> Innovation | None:
    """Reading minus forecast of one trial; None where nothing was forecast."""
    known = state.trials[number]
    forecast, reading = known.trial.forecast, known.reading
    if reading is None or not forecast.mean or known.innovation is not None:
        return None
    difference = {r: _in_range(reading.values[r] - forecast.mean[r]) for r in forecast.mean}
    z = {r: _in_range(d / forecast.sd[r]) for r, d in difference.items() if forecast.sd.get(r, 0.0) > 0}
    return Innovation(trial=number, source=known.trial.source, difference=difference, z=z)


def _in_range(x: float) -> float:
    """The number, or the largest there is: a reading of 1e308 is finite, and its distance may not be."""
    return min(max(x, -sys.float_info.max), sys.float_info.max)


def propose(state: State, free: Sequence[str], *, by: By = "agent", without: Sequence[str] = ()) -> Proposed | None:
    """The next trial.

    Args:
        state: with no fresh readings.
        free: the sources that could begin a trial now.
        by: "session" if somebody asked for a suggestion: then a busy source is no reason to wait.
        without: sources that are not weighed.

    Returns:
        None where nothing is free, or where the best action is to wait for a source that is busy.
    """
    affordable = [s for s in state.campaign.sources if is_usable(state, s) and s not in without]
    free = [s for s in free if s in affordable]
    if not free:
        return None
    belief = current_belief(state)
    wanted = initial_source(state, free)
    if wanted is not None:
        return _proposed(state, belief, wanted, _initial_row(state, wanted), _initial_why(state, wanted), by=by)
    if belief.kind == "climatology":
        source = state.campaign.target if state.campaign.target in free else free[0]
        why = Why(text=f"space-filling setting of {source}: this belief does not choose")
        return _proposed(state, belief, source, _initial_row(state, source), why, by=by)
    if by == "agent" and _is_initial_running(state):
        return None
    return _model_based(state, belief, affordable, free, by=by)


def current_belief(state: State) -> Belief:
    """The belief, or the prior where nothing was assimilated yet."""
    return state.belief or prior_belief(state.campaign)


def is_usable(state: State, source: str) -> bool:
    """Whether the budget holds a trial of it, and it has not failed too often in a row."""
    n_failures = state.failures_in_a_row.get(source, 0)
    is_broken = source in state.resting or n_failures >= state.campaign.sources[source].on_failure.breaker
    return not is_broken and state.can_afford(cheapest_cost(state, source))


def cost_share(state: State, source: str) -> float:
    """What a trial of a source is declared to cost, as a fraction of the budget summed over its resources."""
    return _floored({s: share_of(state, state.campaign.cost_of(s)) for s in state.campaign.sources})[source]


def expected_shares(state: State) -> dict[str, float]:
    """The same of every source, as learned where its reports differ from what is declared."""
    return _floored({s: share_of(state, usual_cost(state, s)) for s in state.campaign.sources})


def _floored(shares: dict[str, float]) -> dict[str, float]:
    return {s: max(share, MIN_COST_SHARE * max(shares.values())) for s, share in shares.items()}


def n_initial(state: State, source: str) -> int:
    """How many space-filling trials a source gets before the belief decides."""
    campaign = state.campaign
    d = campaign.space.n_set
    if campaign.belief_kind == "climatology":
        return 0
    if source != campaign.target:
        return _n_initial_elsewhere(state, source)
    is_informed = any(state.n_readings(s) for s in campaign.sources if s != source)
    is_informed = is_informed or bool(set(campaign.warm_start) - set(_ignored(state)))
    most = max(campaign.n_affordable(source) // 2, 1)  # the other half is for what was learned
    return campaign.n_initial or min(most, N_INFORMED if is_informed else min(2 * d, MAX_INITIAL))


def _ignored(state: State) -> tuple[str, ...]:
    """The earlier campaigns that the belief leaves out."""
    return tuple((state.belief_dump or {}).get("ignored", ()))


def _n_initial_elsewhere(state: State, source: str) -> int:
    """As much as one reading of the target would cost, if that is not too few; never most of the budget."""
    campaign, share = state.campaign, cost_share(state, source)
    d = campaign.space.n_set
    wanted = min(8 * d, max(2 * d, int(cost_share(state, campaign.target) / share)))
    n = min(wanted, int(INITIAL_SHARE / (len(campaign.sources) - 1) / share))
    if source != campaign.mechanistic or n >= MIN_RUNS:
        return n
    return MIN_RUNS if MIN_RUNS * share <= 2 * INITIAL_SHARE else 0  # fewer runs would teach an emulator nothing


def initial_source(state: State, free: Sequence[str]) -> str | None:
    """The source whose initial design is not complete; simulators first, for they forecast the rest."""
    target = state.campaign.target
    others = [s for s in state.campaign.sources if s != target]
    for source in others:
        if source in free and state.n_proposed.get(source, 0) < n_initial(state, source):
            return source
    if any(state.n_running(s) and state.n_proposed.get(s, 0) <= n_initial(state, s) for s in others):
        return None  # the first measurement waits until it can be forecast
    if target in free and state.n_proposed.get(target, 0) < n_initial(state, target):
        return target
    return None


def _is_initial_running(state: State) -> bool:
    return any(state.n_running(s) and state.n_proposed.get(s, 0) <= n_initial(state, s) for s in state.campaign.sources)


def _has_slot(state: State, source: str) -> bool:
    return state.n_running(source) < state.campaign.n_slots(source) and not state.is_held(source)


def _initial_row(state: State, source: str) -> Array:
    from .design.initial import initial_setting

    # One sequence for all sources would make the instrument repeat the simulator's settings.
    place = list(state.campaign.sources).index(source)
    return initial_setting(state.spaces[source], state.n_proposed.get(source, 0), state.campaign.seed + place)


def _initial_why(state: State, source: str) -> Why:
    k, n = state.n_proposed.get(source, 0) + 1, n_initial(state, source)
    return Why(text=f"initial design of {source}: point {k} of {n} of a scrambled Sobol sequence")


def _model_based(
    state: State, belief: Belief, affordable: Sequence[str], free: Sequence[str], *, by: By
) -> Proposed | None:
    from .design.gain import choose

    # Busy sources are weighed too: if one of them is worth more, the best action is to wait for it.
    allowed = free if by == "session" else affordable
    costs = expected_shares(state)
    floor = MIN_COST_SHARE * max(costs.values())
    choice = choose(
        cast(Decider, belief),
        state.evidence,
        state.campaign,
        costs,
        allowed,
        _rng(state),
        spent=_spent_elsewhere(state),
        travel={s: way for s in allowed if (way := way_of(state, s, costs[s], floor=floor)) is not None},
    )
    if choice is None and by == "session":
        why = Why(
            text=f"space-filling setting of {free[0]}: it has spent its part until the next reading of the target"
        )
        return _proposed(state, belief, free[0], _initial_row(state, free[0]), why, by=by)
    if choice is None or choice.source not in free:
        return None
    decode = state.campaign.space.decode
    words, figures = cost_words(state, choice.source, decode(choice.setting))
    if left_out := _ignored(state):
        words += f"; {', '.join(left_out)} left out: the readings are likelier without"
    why = Why(text=choice.text + words, gain=choice.gain, cost=choice.cost, figures={**choice.figures, **figures})
    alternatives = tuple(
        AlternativeRecord(source=a.source, setting=decode(a.setting), gain=a.gain, cost=a.cost, note=a.note)
        for a in choice.alternatives
    )
    return _proposed(state, belief, choice.source, choice.setting, why, alternatives, by=by)


def _spent_elsewhere(state: State) -> float:
    """What the other sources were asked for since the target's last reading, as a share of the budget."""
    target, total, shares = state.campaign.target, 0.0, expected_shares(state)
    for number in range(len(state.trials), 0, -1):
        known = state.trials[number]
        if known.trial.source != target:
            total += shares[known.trial.source]
        elif known.status in READ:
            break
    return total


def _proposed(
    state: State,
    belief: Belief,
    source: str,
    row: Array,
    why: Why,
    alternatives: tuple[AlternativeRecord, ...] = (),
    *,
    by: By,
) -> Proposed | None:
    wished = state.campaign.space.decode(row)
    setting = affordable(state, source, wished)
    if setting != wished:
        why = why.model_copy(update={"text": f"{why.text}; as near to it as the budget still holds"})
    nearer = within_reach(state, source, setting)
    if nearer != setting:
        setting, why = nearer, why.model_copy(update={"text": f"{why.text}; as far towards it as the guard lets go"})
    trial = Trial(
        number=len(state.trials) + 1,
        source=source,
        setting=setting,
        forecast=forecast(state, belief, source, state.campaign.space.encode(setting)),
        cost=expected_cost(state, source, setting),
        why=why,
        alternatives=alternatives,
        unknowns=belief.unknowns(source),
        key=state.key,
    )
    reason = asks(state, trial)
    if by == "agent" and reason and state.n_waiting(source) >= state.campaign.n_slots(source):
        return None  # people have enough of this source to look at
    return Proposed(trial=trial, by=by, asks=reason)


def forecast(state: State, belief: Belief, source: str, row: Array) -> Forecast:
    """What the belief expects of one trial; empty while it knows nothing."""
    prediction = belief.predict(state.evidence, source, row[None, :])
    if prediction is None:
        return Forecast()
    if not (np.isfinite(prediction.mean).all() and np.isfinite(prediction.sd).all()):
        return Forecast(basis=f"{belief.kind}: not finite")
    names = state.campaign.responses
    return Forecast(
        mean=dict(zip(names, prediction.mean[0].tolist(), strict=True)),
        sd=dict(zip(names, prediction.sd[0].tolist(), strict=True)),
        basis=belief.kind,
    )


def _rng(state: State) -> np.random.Generator:
    return np.random.default_rng([state.campaign.seed, state.seq])
