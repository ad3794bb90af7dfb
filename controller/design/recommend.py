"""What to do in the end: the setting that is believed best at the target source, whatever single readings said.

Noise flatters the best of many readings, and a cheap source may be wrong; so the recommendation goes by the posterior
mean at the target, among all settings that were asked of any source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ..belief.failures import as_belief_errors
from ..belief.standardised import tamed
from ..errors import BeliefError
from ..records import Setting
from .candidates import distinct
from .gain import situation_of
from .liked import places_of
from .safeguard import is_hopeless, usable
from .strategy import strategy_of
from .utility import moments

if TYPE_CHECKING:
    from ..belief import Decider
    from ..belief.evidence import Evidence
    from ..campaign import Campaign
    from ..space import Array
    from .strategy import Recommender


@dataclass(frozen=True)
class Recommended:
    """A setting, and what is believed of the noise-free responses there."""

    setting: Setting
    mean: Mapping[str, float]  # by response, of those that the goal names
    sd: Mapping[str, float]
    trials: tuple[int, ...]  # of the target that read it; perhaps none
    p_feasible: float  # probability that the outcome constraints hold


def recommended(belief: Decider, evidence: Evidence, campaign: Campaign) -> Recommended | None:
    """The best setting by the belief; None where no single one is sought, and where the belief cannot say."""
    if campaign.goal.kind not in ("optimise", "prefer"):
        return None
    try:
        return _recommended(belief, evidence, campaign)
    except BeliefError:
        return None


@as_belief_errors("the recommendation")
def _recommended(belief: Decider, evidence: Evidence, campaign: Campaign) -> Recommended | None:
    target = evidence.target
    s = situation_of(belief, tamed(evidence), campaign, np.random.default_rng(campaign.seed))
    X = s.space.at_context(np.concatenate([o.X_set for o in evidence.observations.values() if len(o)]))
    X = distinct(usable(s.space, X))
    X = X[~is_hopeless(s.success, X)]
    if not len(X):
        return None
    if campaign.goal.kind == "prefer" and not len(places_of(s)):
        return None  # nobody said yet what is liked
    strategy = cast("Recommender", strategy_of(s))
    worth = strategy.worth(X)
    row: Array = X[[int(worth.argmax())]]
    mean, sd = moments(s.model, row)
    feasible = strategy.feasibility(mean, sd)
    own = evidence.of(target)
    is_same = np.abs(evidence.asked_now(target) - row).max(axis=1, initial=0.0) < 1e-9
    return Recommended(
        setting=campaign.space.decode(row[0]),
        mean=dict(zip(s.names, mean[0].tolist(), strict=True)),
        sd=dict(zip(s.names, sd[0].tolist(), strict=True)),
        trials=tuple(own.trials[int(k)] for k in np.flatnonzero(is_same)),
        p_feasible=float(feasible[0]),
    )
