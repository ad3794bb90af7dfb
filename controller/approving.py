"""Whether a trial needs a person's approval, by the policy of its source."""

from __future__ import annotations

import numpy as np

from .records import Trial
from .state import State


def asks(state: State, trial: Trial) -> str:
    """Why a person must approve this trial; empty: nobody need be asked."""
    policy = state.campaign.sources[trial.source].approval
    if policy.is_automatic:
        return ""
    if policy.always:
        return f"every trial of {trial.source!r} is to be approved"
    for resource, limit in policy.above.items():
        amount = trial.cost.get(resource, 0.0)
        if amount > limit:
            return f"it costs {amount:g} {resource}, more than {limit:g}"
    if policy.outside_explored is not None:
        return _outside(state, trial, policy.outside_explored)
    return ""


def _outside(state: State, trial: Trial, limit: float) -> str:
    seen = state.evidence.of(trial.source).X
    if not len(seen):
        return f"nothing was measured on {trial.source!r} yet"
    gaps = np.linalg.norm(seen - state.campaign.space.encode(trial.setting), axis=1)
    if gaps.min() <= limit:
        return ""
    return f"its setting is {gaps.min():.2g} from the nearest reading (unit cube), more than {limit:g}"
