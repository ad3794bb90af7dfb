"""The setting to go on with, by what is believed at the target source; worked out only where somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from .belief import Decider
    from .design.recommend import Recommended
    from .state import State


def recommended_of(state: State) -> Recommended | None:
    """The recommendation of a campaign as it stands.

    None for a trade-off, whose answer is its front; where no best setting is sought; and before a belief that
    decides has learned.
    """
    belief = state.belief
    if belief is None or belief.kind == "climatology" or state.campaign.goal.kind not in ("optimise", "prefer"):
        return None
    from .design.recommend import recommended

    return recommended(cast("Decider", belief), state.evidence, state.campaign)
