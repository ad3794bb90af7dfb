"""What the mind decides about trials that are not well: outliers, doubts, simulations nobody needs, broken sources.

Each function gives the next event, or None. All are pure.
"""

from __future__ import annotations

from .belief.quarantine import is_outlier
from .errors import CampaignError
from .records import Noted, Paused, Quarantined, Refused, Settled
from .state import State

BREAKER = "breaker"  # how it signs
MAX_ATTEMPTS = 3  # of one trial: `on_unknown: rerun` ends here


def quarantine(state: State) -> Quarantined | None:
    """The first fresh reading that lies absurdly far from everything else and from its forecast."""
    for n in state.fresh:
        known = state.trials[n]
        if known.reading is None or known.innovation is not None or known.is_trusted:
            continue
        source = known.trial.source
        z = [
            abs(known.reading.values[r] - mean) / sd
            for r, mean in known.trial.forecast.mean.items()
            if (sd := known.trial.forecast.sd.get(r, 0.0)) > 0
        ]
        reason = is_outlier(state.evidence, source, n, z=max(z, default=None))
        if reason:
            return Quarantined(trial=n, by="agent", reason=reason)
    return None


def settle(state: State) -> Settled | None:
    """What the campaign's rule makes of a trial of which the driver knows nothing."""
    for n in state.doubts:
        known = state.trials[n]
        if known.doubt != "unknown":
            continue
        rule = state.campaign.on_unknown(known.trial.source)
        text = f"on_unknown: {rule}"
        if rule == "rerun" and known.attempt >= MAX_ATTEMPTS:
            rule, text = "abandon", f"{text}, given up after {known.attempt} attempts"
        elif rule == "rerun" and not state.can_afford(known.trial.cost):
            rule, text = "abandon", f"{text}, but the budget does not hold it once more"
        outcomes = {"ask": "asked", "abandon": "abandoned", "rerun": "rerun"}
        return Settled.model_validate({"trial": n, "outcome": outcomes[rule], "by": "rule", "text": text})
    return None


def may_begin(state: State, number: int) -> bool:
    """Whether an approved trial may be carried out at this moment."""
    known = state.trials[number]
    source = known.trial.source
    is_free = state.campaign.is_repeatable(source) or not (state.is_held(source) or _is_acting(state, source))
    return is_free and not state.paused and not why_taken_back(state, number)


def why_taken_back(state: State, number: int) -> str:
    """Why an approved trial will never begin, or nothing."""
    known = state.trials[number]
    if state.ending:
        return f"the campaign is {'aborted' if state.ending.mode == 'abort' else 'stopped'} by {state.ending.by}"
    limits = state.campaign.budget_amounts
    cost = known.trial.cost
    over = [r for r, m in limits.items() if state.spent.get(r, 0.0) + cost.get(r, 0.0) > m * (1 + 1e-9)]
    if over:
        return f"the budget of {limits[over[0]]:g} {over[0]} does not hold it"
    broken = _misfit(state, number)
    return f"the campaign was amended: {broken}" if broken else ""


def cancel(state: State, *, is_over: bool) -> Refused | None:
    """What waits and will never begin, and a simulation in flight that can add nothing any more."""
    for n in (*state.waiting, *state.running):
        known = state.trials[n]
        source = known.trial.source
        is_useless = is_over and state.campaign.is_repeatable(source) and source != state.campaign.target
        is_by_hand = not known.is_ours or state.campaign.sources[source].is_manual
        is_aborted = state.ending is not None and state.ending.mode == "abort"
        if n in state.waiting or (known.status == "approved" and (not is_by_hand or is_aborted)):
            reason = why_taken_back(state, n)
            if reason and (n in state.waiting or not state.campaign.is_repeatable(source) or state.ending):
                return Refused(trial=n, by="agent", reason=reason)
        if is_useless:
            return Refused(trial=n, by="agent", reason="the campaign ends, and this can add nothing any more")
    return None


def trip_breaker(state: State) -> Paused | Noted | None:
    """A pause, once the target source failed too often in a row; another source is left alone."""
    target = state.campaign.target
    for source, n in state.failures_in_a_row.items():
        if n < state.campaign.sources[source].on_failure.breaker or source in state.resting:
            continue
        words = f"{source!r} failed {n} times in a row{_last_words(state, source)}"
        if source != target:
            return Noted(text=f"{words}; it is left alone: mend it, then resume", rests=source)
        if BREAKER not in state.pauses:
            return Paused(by=BREAKER, reason=f"{words}; mend it, then resume")
    return None


def _last_words(state: State, source: str) -> str:
    for k in range(len(state.trials), 0, -1):
        known = state.trials.get(k)
        if known is None or known.trial.source != source:
            continue
        if known.refusal is not None and known.refusal.rule:
            return f", the last time with: {known.refusal.reason}"
        if known.failure is not None:
            return f", the last time with: {known.failure.message}"
    return ""


def _is_acting(state: State, source: str) -> bool:
    trials = (state.trials[n] for n in state.running)
    return any(t.status == "acting" and t.trial.source == source for t in trials)


def _misfit(state: State, number: int) -> str:
    if not state.is_amended:
        return ""
    try:
        state.campaign.space.check(state.trials[number].trial.setting)
    except CampaignError as error:
        return str(error)
    return ""
