"""Which two trials a person is asked to compare, where the goal is to please."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .state import State

MAX_ITEMS = 60  # the newest readings; of more the pairs would be too many to weigh


def question_of(state: State) -> tuple[int, int] | None:
    """The numbers of the two trials whose comparison helps most; None where there is nothing to ask."""
    goal = state.campaign.goal
    own = state.evidence.of(state.campaign.target)
    if goal.kind != "prefer" or len(own) < 2:  # there is no pair
        return None
    from .belief.preference import question

    told = {n for pair in state.answers for n in pair}
    kept = [k for k in range(len(own)) if own.trials[k] in told or k >= len(own) - MAX_ITEMS]
    place = {own.trials[k]: j for j, k in enumerate(kept)}
    answers = [(place[a], place[b]) for a, b in state.answers if a in place and b in place]
    columns = [state.evidence.responses.index(name) for name in goal.wanted]
    found = question(own.Y[kept][:, columns], np.array(answers, dtype=int).reshape(-1, 2))
    return None if found is None else (own.trials[kept[found[0]]], own.trials[kept[found[1]]])
