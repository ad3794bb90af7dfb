"""What is believed of the sources: learned numbers only, corrected by readings, never mutated.

Laws:
    * ``load(dump(b)) == b``, and a dump is plain JSON data.
    * A belief holds no readings: those come in as ``Evidence``, so that a dump stays small.
    * Same belief and same evidence, same prediction.
    * A forecast is finite or None; ``predict`` raises nothing for the sake of data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

if TYPE_CHECKING:
    from botorch.models.model import Model

    from ..campaign import Campaign
    from ..space import Array
    from .evidence import Evidence


@dataclass(frozen=True)
class Prediction:
    """What is expected of readings at n settings."""

    mean: Array  # (n, m) in the units of the responses
    sd: Array  # (n, m) of a reading: belief, model error and noise together

    def if_finite(self) -> Prediction | None:
        """This, or None where a number overflowed."""
        return self if bool(np.isfinite(self.mean).all() and np.isfinite(self.sd).all()) else None


class Belief(Protocol):
    """What the mind asks of any belief."""

    kind: ClassVar[str]

    def correct(self, evidence: Evidence, fresh: tuple[int, ...], rng: np.random.Generator) -> Belief:
        """The belief after the readings of the trials ``fresh``, which ``evidence`` holds already."""

    def predict(self, evidence: Evidence, source: str, X: Array) -> Prediction | None:
        """What ``source`` would answer at requested settings X of shape (n, c).

        None while nothing is known, for a source that is not modelled, and where the readings are beyond float64
        (then ``target_model`` and ``influence`` raise BeliefError, which says why).
        """

    def unknowns(self, source: str) -> dict[str, tuple[float, ...]]:
        """What a run of ``source`` should be given: each unknown's value per member; empty for most."""

    def dump(self) -> dict[str, Any]:
        """Plain data, ``kind`` among it."""


class Decider(Belief, Protocol):
    """A belief that can carry a model-based decision."""

    def target_model(self, evidence: Evidence, responses: Sequence[int] | None = None) -> Model | None:
        """A BoTorch model of the noise-free responses of the target source over requested settings.

        Its posterior takes (..., q, c) in the unit cube and gives (..., q, m) in the units of the responses;
        ``responses`` are the places of those that are wanted, all by default.
        Pending trials do not enter it. None while there is too little evidence.
        """

    def influence(self, evidence: Evidence, source: str, X: Array, X_ref: Array) -> Array:
        """How a reading of ``source`` at X would move the forecast mean of the target at X_ref.

        Args:
            evidence: pending trials count as read, for they soon will be.
            source: who would be asked.
            X: (n, c) settings that might be asked for.
            X_ref: (r, c) settings of the target.

        Returns:
            (n, r, m): the standard deviation, with its sign, of the change of the mean.
        """


def prior_belief(campaign: Campaign) -> Belief:
    """The belief before any reading."""
    return _class_of(campaign.belief_kind).prior(campaign)  # type: ignore[no-any-return]


def load_belief(dump: Mapping[str, Any]) -> Belief:
    """The inverse of ``Belief.dump``."""
    return _class_of(dump["kind"]).load(dump)  # type: ignore[no-any-return]


def _class_of(kind: str) -> Any:
    # Each kind is loaded on its own: climatology needs no torch, and a status page needs none at all.
    match kind:
        case "climatology":
            from .climatology import Climatology

            return Climatology
        case "surrogate":
            from .surrogate import Surrogate

            return Surrogate
        case "ensemble" | "hybrid":
            from .hybrid import Ensemble, Hybrid

            return Hybrid if kind == "hybrid" else Ensemble
        case _:
            raise ValueError(f"belief {kind!r} is unknown")
