"""The strategy to please: what a person's answers say is liked takes the place of the objective.

Lin, Astudillo, Frazier & Bakshy 2022. Before the first answer the responses themselves are learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..belief.preference import Liking
from .best import Best
from .learning import Learn
from .objective import Objective

if TYPE_CHECKING:
    from .strategy import Situation, Strategy


@dataclass(frozen=True)
class Liked(Objective):
    """How much responses are liked, by the answers so far, as an objective."""

    liking: Liking | None = None
    columns: tuple[int, ...] = ()  # of the responses that are judged

    def _raw(self, Y: Any, *, lib: Any) -> Any:
        assert self.liking is not None
        return self.liking.mean(Y[..., list(self.columns)]) + 0.0 * Y[..., 0]


class Please(Best):
    """See ``Strategy``."""

    measure = "log_ei_of_liking"

    def __init__(self, s: Situation) -> None:
        own = s.evidence.of(s.evidence.target)
        columns = tuple(s.names.index(name) for name in s.goal.wanted)
        judged = own.Y[:, list(s.used)][:, list(columns)]
        liking = Liking.learn(judged, places_of(s))
        raw = liking.mean(judged)
        sizes = Objective.margins_of(s.goal, s.names, s.readings)
        self._s = s
        self.scale = float(raw.std()) or 1.0
        self.objective = Liked(s.goal, s.names, float(raw.mean()), self.scale, sizes, liking=liking, columns=columns)


def please(s: Situation) -> Strategy:
    """By the answers; by what is not known of the responses while there are none."""
    return Please(s) if len(places_of(s)) else Learn(s)


def places_of(s: Situation) -> Any:
    """(k, 2): the answers, by the places of their readings among the target's."""
    place = {trial: k for k, trial in enumerate(s.evidence.of(s.evidence.target).trials)}
    known = [(place[a], place[b]) for a, b in s.evidence.answers if a in place and b in place]
    return np.array(known, dtype=int).reshape(-1, 2)
