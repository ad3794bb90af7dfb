"""The surrogate belief: a Gaussian process over settings x source, its hyperparameters the learned numbers.

A simulator's readings count at the settings asked for, an instrument's at those it achieved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import BeliefError
from . import (
    Prediction,
    one_thread,  # noqa: F401 - before any tensor is worked on
)
from .actuation import Actuation
from .failures import as_belief_errors
from .multi_source import MultiSourceGP
from .multi_source_fit import N_FIT, Prior, fit, other_starts, priors, start
from .multi_source_prior import Data, Theta, tensors
from .standardised import data_of, is_quiet, n_readings, standardisation, tamed

if TYPE_CHECKING:
    from ..campaign import Campaign
    from ..space import Array
    from .evidence import Evidence

MIN_READINGS = 2
FEW = 10  # readings below which each fit starts anew: the posterior has several modes and costs little
N_MODEL = 800  # readings at most in a model
ANEW = 1.5  # growth of the readings after which a fit starts anew: the last mode may not be the best any more
COLD, WARM, HOT = 60, 20, 10  # iterations of a fit: anew, from the last one on, and so with many readings
MANY = 100


@dataclass(frozen=True)
class Numbers:
    """What was learned: the standardisation, and the hyperparameters under it, each m x width."""

    center: tuple[float, ...]
    scale: tuple[float, ...]
    theta: Mapping[str, tuple[tuple[float, ...], ...]]
    n_cold: int  # readings at the last fit that started anew


@dataclass(frozen=True)
class Surrogate:
    """A BoTorch model of all sources. ``sources`` names them, the target first."""

    kind: ClassVar[str] = "surrogate"

    sources: tuple[str, ...]
    instruments: tuple[str, ...]
    numbers: Numbers | None = None
    actuation: Actuation = field(default_factory=Actuation)  # of the target

    @classmethod
    def prior(cls, campaign: Campaign) -> Surrogate:
        """Before any reading."""
        others = tuple(s for s in campaign.sources if s != campaign.target)
        return cls((campaign.target, *others), campaign.instruments)

    @classmethod
    def load(cls, dump: Mapping[str, Any]) -> Surrogate:
        """The inverse of ``dump``."""
        numbers = dump["numbers"]
        if numbers is not None:
            theta = {k: tuple(map(tuple, v)) for k, v in numbers["theta"].items()}
            numbers = Numbers(tuple(numbers["center"]), tuple(numbers["scale"]), theta, numbers["n_cold"])
        actuation = Actuation.load(dump["actuation"])
        return cls(tuple(dump["sources"]), tuple(dump["instruments"]), numbers, actuation)

    def dump(self) -> dict[str, Any]:
        """Plain data; all hyperparameters but mean and rho are logarithms."""
        numbers = None
        if self.numbers is not None:
            numbers = {
                "center": list(self.numbers.center),
                "scale": list(self.numbers.scale),
                "theta": {k: [list(row) for row in v] for k, v in self.numbers.theta.items()},
                "n_cold": self.numbers.n_cold,
            }
        return {
            "kind": self.kind,
            "sources": list(self.sources),
            "instruments": list(self.instruments),
            "numbers": numbers,
            "actuation": self.actuation.dump(),
        }

    @as_belief_errors("the fit of the surrogate")
    def correct(self, evidence: Evidence, fresh: tuple[int, ...], rng: np.random.Generator) -> Surrogate:
        """The hyperparameters most probable under all readings, from the last ones on where there are any.

        Raises:
            BeliefError: if no finite fit exists.
        """
        evidence = tamed(evidence)
        n = n_readings(evidence, self.sources)
        if n < MIN_READINGS:
            return self
        center, scale = standardisation(evidence, self.sources)
        data = self._data(evidence, center, scale, n_max=N_FIT)
        table = self._priors(evidence)
        cold = start(table, len(center))
        old = self.numbers
        is_cold = old is None or n < FEW or n >= ANEW * old.n_cold
        starts = [cold, *other_starts(cold)] if is_cold else []
        if old is not None:
            starts.append(_rescaled(old, center, scale))
        max_iterations = COLD if is_cold else WARM if n < MANY else HOT
        fits = _fits(starts, data, table, max_iterations)
        if not fits and not is_cold:  # the last mode led nowhere
            fits = _fits([cold, *other_starts(cold)], data, table, COLD)
        if not fits:
            raise BeliefError("no fit of the surrogate is finite; check the units and scales of the responses")
        theta = _best_of_each(fits)
        return replace(
            self,
            numbers=_numbers(center, scale, theta, n if old is None or is_cold else old.n_cold),
            actuation=Actuation.learn(evidence.space, evidence.of(self.sources[0])),
        )

    def predict(self, evidence: Evidence, source: str, X: Array) -> Prediction | None:
        """What a reading of ``source`` at requested settings X (n, c) would be, its noise included."""
        if source not in self.sources:
            return None
        try:
            return self._predict(evidence, source, X)
        except BeliefError:  # ``target_model`` raises it again, where a decision can say why
            return None

    @as_belief_errors("the forecast of the surrogate")
    def _predict(self, evidence: Evidence, source: str, X: Array) -> Prediction | None:
        gp = self._model(evidence)
        if gp is None:
            return None
        s = self.sources.index(source)
        with torch.no_grad():
            mean, variance = gp.marginal(s, self._reached(source, torch.tensor(X)))
            sd = torch.sqrt(variance + gp.noise(s))
        return Prediction((gp.center + gp.scale * mean.T).numpy(), (gp.scale * sd.T).numpy()).if_finite()

    def unknowns(self, source: str) -> dict[str, tuple[float, ...]]:
        """None: a surrogate knows nothing of a simulator's inside."""
        return {}

    def target_model(self, evidence: Evidence, responses: Sequence[int] | None = None) -> MultiSourceGP | None:
        """The posterior of the target's noise-free responses; see ``Decider``."""
        gp = self._model(evidence)
        return gp if gp is None or responses is None else gp.of_responses(list(responses))

    def influence(self, evidence: Evidence, source: str, X: Array, X_ref: Array) -> Array:
        """How a reading would move the target's mean: cov(f_target(x_ref), y) / sd(y); see ``Decider``."""
        gp = self._model(evidence, with_pending=True) if source in self.sources else None
        if gp is None:
            return np.zeros((len(X), len(X_ref), len(evidence.responses)))
        s = self.sources.index(source)
        with torch.no_grad():
            A, B = self._reached(source, torch.tensor(X)), self._reached(self.sources[0], torch.tensor(X_ref))
            _, variance = gp.marginal(s, A)
            moved = gp.covariance_with_target(s, A, B) / torch.sqrt(variance + gp.noise(s)).unsqueeze(-1)
        return (gp.scale * moved.permute(1, 2, 0)).numpy()

    def _model(self, evidence: Evidence, *, with_pending: bool = False) -> MultiSourceGP | None:
        """The posterior under these numbers, without a fit; under the prior's where there are none."""
        if n_readings(evidence, self.sources) < MIN_READINGS:
            return None
        evidence = tamed(evidence)
        numbers = self.numbers or self._prior_numbers(evidence)
        center, scale = np.array(numbers.center), np.array(numbers.scale)
        data = self._data(evidence, center, scale, n_max=N_MODEL)
        if with_pending:
            asked = {s: evidence.pending_at(name) for s, name in enumerate(self.sources)}
            asked = {s: X for s, X in asked.items() if len(X)}
            data = data.with_settings({s: self._reached(self.sources[s], torch.tensor(X)) for s, X in asked.items()})
        with torch.no_grad():
            return MultiSourceGP(
                tensors(numbers.theta),
                data,
                center=center,
                scale=scale,
                achieved=lambda X: self._reached(self.sources[0], X),
            )

    def _prior_numbers(self, evidence: Evidence) -> Numbers:
        center, scale = standardisation(evidence, self.sources)
        table = self._priors(evidence)
        return _numbers(center, scale, start(table, len(center)), 0)

    def _reached(self, source: str, X: Tensor) -> Tensor:
        """The setting that ``source`` is expected to achieve when asked for X (..., c)."""
        return self.actuation.achieved(X) if source == self.sources[0] and source in self.instruments else X

    def _data(self, evidence: Evidence, center: Array, scale: Array, *, n_max: int) -> Data:
        return data_of(evidence, self.sources, self.instruments, center=center, scale=scale, n_max=n_max)

    def _priors(self, evidence: Evidence) -> dict[str, Prior]:
        quiet = [is_quiet(evidence, s, self.instruments) for s in self.sources]
        return priors(len(evidence.space.parameters), quiet)


def _rescaled(old: Numbers, center: Array, scale: Array) -> dict[str, Array]:
    """The old hyperparameters under a new standardisation."""
    ratio = np.array(old.scale) / scale
    theta = {k: np.array(v).reshape(len(ratio), -1) for k, v in old.theta.items()}
    for k in ("signal", "bias", "offset", "noise"):
        theta[k] = theta[k] + 2.0 * np.log(ratio)[:, None]
    mean = np.array(old.center)[:, None] + np.array(old.scale)[:, None] * theta["mean"]
    return {**theta, "mean": (mean - center[:, None]) / scale[:, None]}


def _fits(
    starts: Sequence[Theta], data: Data, table: dict[str, Prior], max_iterations: int
) -> list[tuple[dict[str, Array], Array]]:
    """Those that are finite: one start that leads nowhere must not cost the others."""
    fits = []
    for start_ in starts:
        with contextlib.suppress(BeliefError):
            fits.append(fit(start_, data, table, max_iterations=max_iterations))
    return fits


def _best_of_each(fits: list[tuple[dict[str, Array], Array]]) -> dict[str, Array]:
    """For each response the most probable hyperparameters of several fits."""
    best = np.argmax([value for _, value in fits], axis=0)
    return {k: np.stack([fits[b][0][k][j] for j, b in enumerate(best)]) for k in fits[0][0]}


def _numbers(center: Array, scale: Array, theta: Mapping[str, Array], n_cold: int) -> Numbers:
    floats = {k: tuple(tuple(row) for row in np.asarray(v).tolist()) for k, v in theta.items()}
    return Numbers(tuple(center.tolist()), tuple(scale.tolist()), floats, n_cold)
