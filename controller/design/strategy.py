"""What a goal asks of a decision: where to look, and what a reading is worth; one strategy a kind of goal.

Laws:
    * Every strategy names settings of the target, and gives any action of any source a gain in one currency.
    * A gain is never negative, and what moves nothing gains nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..belief.success import Success
from .candidates import distinct

if TYPE_CHECKING:
    from botorch.models.model import Model

    from ..belief import Decider
    from ..belief.evidence import Evidence
    from ..goal import Goal
    from ..method import Method
    from ..space import Array, Space
    from .searching import Found

N_REPEATS = 4  # settings that may be asked for again


@dataclass(frozen=True, eq=False)
class Situation:
    """What a decision is made from."""

    belief: Decider
    model: Model  # of the used responses at the target
    evidence: Evidence
    goal: Goal
    method: Method
    used: tuple[int, ...]  # places of the goal's responses
    avoid: Array  # (k, c) settings not to be asked for
    is_constant: bool  # whether all readings of the target are equal
    seed: int  # the campaign's
    rng: np.random.Generator  # of this decision

    @property
    def names(self) -> tuple[str, ...]:
        """The used responses."""
        return tuple(self.evidence.responses[j] for j in self.used)

    @property
    def space(self) -> Space:
        """What the target may be asked for."""
        return self.evidence.space_of(self.evidence.target)

    @cached_property
    def readings(self) -> Array:
        """(n, m): the target's, or everybody's while it has none or one."""
        own = self.evidence.of(self.evidence.target).Y
        rows = own if len(own) > 1 else np.concatenate([o.Y for o in self.evidence.observations.values() if len(o)])
        return rows[:, self.used]

    @cached_property
    def success(self) -> Success | None:
        """Of the target's trials; None where none ever failed."""
        return Success.of(self.evidence, self.evidence.target)

    @property
    def pending(self) -> Array:
        """(k, c): settings asked of the target and not answered."""
        return distinct(self.evidence.pending_at(self.evidence.target))

    def p_success(self, X: Array) -> Array | None:
        """(n,): that a trial of the target succeeds."""
        return None if self.success is None else self.success.probability(X)

    def influence(self, source: str, X: Array, X_ref: Array) -> Array:
        """(n, r, m): how a reading of ``source`` would move what is believed of the used responses."""
        return self.belief.influence(self.evidence, source, X, X_ref)[..., self.used]


class View(Protocol):
    """What is believed at settings of the target, and what a change of it is worth."""

    @property
    def X(self) -> Array:  # noqa: N802 - a matrix
        """(r, c): settings whose forecasts count."""

    @property
    def sd(self) -> Array:
        """(r, m): of the noise-free responses there."""

    @property
    def asked(self) -> Array:
        """(k, c): those of them that another source might be asked for."""

    def gains(self, influence: Array) -> Array:
        """(n,) >= 0: of n actions that move the means at X by influence (n, r, m) times standard normal numbers."""

    def figures(self) -> dict[str, float]:
        """What is believed of the whole, for the figures of the decision."""


class Strategy(Protocol):
    """How one kind of goal is pursued."""

    measure: str  # what the values of the found settings are called among a decision's figures
    scale: float  # of a gain: a millionth of it is rounding

    def find(self) -> Found:
        """Settings of the target, the best first."""

    def view(self, found: Found) -> View:
        """For the gains of these settings and of all other actions."""

    def rivals(self) -> Array:
        """(k, c): settings of the target that were read and may be worth another reading, the best first."""


class Recommender(Strategy, Protocol):
    """A strategy that seeks one setting."""

    def worth(self, X: Array) -> Array:
        """(n,): what is expected of the settings X (n, c), the larger the better."""

    def feasibility(self, mean: Array, sd: Array) -> Array:
        """(n,): probability of keeping the outcome constraints where the used responses are believed so."""


def strategy_of(s: Situation) -> Strategy:
    """The strategy for the goal."""
    return _makers()["risk" if s.goal.risk else s.goal.kind](s)


def _makers() -> dict[str, Callable[[Situation], Strategy]]:
    from .best import Best
    from .front import ForFront
    from .learning import Learn
    from .liked import please
    from .region import Map
    from .risk import Robust

    return {"optimise": Best, "trade_off": ForFront, "learn": Learn, "map": Map, "risk": Robust, "prefer": please}
