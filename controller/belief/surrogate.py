"""The surrogate belief: a Gaussian process over settings x source, its hyperparameters the learned numbers.

A simulator's readings count at the settings asked for, an instrument's at those it achieved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ..errors import BeliefError
from . import (
    Prediction,
    one_thread,  # noqa: F401 - before any tensor is worked on
)
from .actuation import Actuation
from .failures import as_belief_errors
from .multi_source import MultiSourceGP
from .multi_source_fit import N_FIT, Prior, fit, other_starts, priors, start
from .multi_source_prior import Data, tensors
from .recalled import helpful
from .standardised import data_of, is_quiet, n_readings, standardisation, tamed

if TYPE_CHECKING:
    from ..campaign import Campaign
    from ..space import Array
    from .evidence import Evidence

MIN_READINGS = 2
MIN_JUDGED = 3  # readings of now, before an earlier campaign is left out: fewer are what any constant explains
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
    recalled: tuple[str, ...] = ()  # of ``sources``, those that are earlier campaigns
    ignored: tuple[str, ...] = ()  # of these, those without which the readings of now were likelier

    @classmethod
    def prior(cls, campaign: Campaign) -> Surrogate:
        """Before any reading."""
        others = tuple(s for s in campaign.sources if s != campaign.target)
        recalled = tuple(campaign.warm_start)  # read at achieved settings, as instruments are
        return cls((campaign.target, *others, *recalled), (*campaign.instruments, *recalled), recalled=recalled)

    @classmethod
    def load(cls, dump: Mapping[str, Any]) -> Surrogate:
        """The inverse of ``dump``."""
        numbers = dump["numbers"]
        if numbers is not None:
            theta = {k: tuple(map(tuple, v)) for k, v in numbers["theta"].items()}
            numbers = Numbers(tuple(numbers["center"]), tuple(numbers["scale"]), theta, numbers["n_cold"])
        actuation = Actuation.load(dump["actuation"])
        recalled, ignored = tuple(dump.get("recalled", ())), tuple(dump.get("ignored", ()))
        return cls(tuple(dump["sources"]), tuple(dump["instruments"]), numbers, actuation, recalled, ignored)

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
            **({"recalled": list(self.recalled), "ignored": list(self.ignored)} if self.recalled else {}),
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
        n -= n_readings(evidence, self.recalled)  # of now: these tell whether the last mode still holds
        is_cold = old is None or n < FEW or n >= ANEW * old.n_cold
        anew = [cold, *other_starts(cold, self._is_recalled)]
        starts = [*(anew if is_cold else []), *([_rescaled(old, center, scale)] if old is not None else [])]

        @cache
        def fitted(places: frozenset[int]) -> dict[str, Array]:
            some = data if len(places) == len(self.sources) else data.only(places)
            try:
                return fit(starts, some, table, max_iterations=COLD if is_cold else WARM if n < MANY else HOT)
            except BeliefError:
                if is_cold:
                    raise
                return fit(anew, some, table, max_iterations=COLD)  # the last mode led nowhere

        places = [s for s, is_recalled in enumerate(self._is_recalled) if is_recalled]
        kept = helpful(data, places, fitted) if places and n >= MIN_JUDGED else places
        believed = frozenset(range(len(self.sources))) - {*places} | {*kept}
        return replace(
            self,
            numbers=_numbers(center, scale, fitted(believed), n if old is None or is_cold else old.n_cold),
            actuation=Actuation.learn(evidence.space, evidence.of(self.sources[0])),
            ignored=tuple(self.sources[s] for s in places if s not in kept),
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
        """The posterior under these numbers; a decision asks for it several times, so the last ones are kept."""
        with_pending = with_pending and any(map(len, evidence.pending.values()))
        kept: dict[bool, tuple[Evidence, MultiSourceGP | None]] = self.__dict__.setdefault("_kept", {})
        if with_pending not in kept or kept[with_pending][0] is not evidence:
            kept[with_pending] = (evidence, self._worked_out(evidence, with_pending=with_pending))
        return kept[with_pending][1]

    def _worked_out(self, evidence: Evidence, *, with_pending: bool) -> MultiSourceGP | None:
        """The same, without a fit; under the prior's numbers where there are none."""
        if n_readings(evidence, self.sources) < MIN_READINGS:
            return None
        evidence = tamed(evidence)
        numbers = self.numbers or self._prior_numbers(evidence)
        center, scale = np.array(numbers.center), np.array(numbers.scale)
        data = self._data(self._believed(evidence), center, scale, n_max=N_MODEL)
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

    def _reached(self, source: str, X: Any) -> Any:
        """The setting that ``source`` is expected to achieve when asked for X (..., c)."""
        return self.actuation.achieved(X) if source == self.sources[0] and source in self.instruments else X

    def _data(self, evidence: Evidence, center: Array, scale: Array, *, n_max: int) -> Data:
        return data_of(evidence, self.sources, self.instruments, center=center, scale=scale, n_max=n_max)

    def _believed(self, evidence: Evidence) -> Evidence:
        """Less the earlier campaigns that are left out."""
        known = {s: o for s, o in evidence.observations.items() if s not in self.ignored}
        return replace(evidence, observations=known) if self.ignored else evidence

    def _priors(self, evidence: Evidence) -> dict[str, Prior]:
        quiet = [is_quiet(evidence, s, self.instruments) for s in self.sources]
        return priors(evidence.space.n_groups, quiet, self._is_recalled)

    @property
    def _is_recalled(self) -> list[bool]:
        return [s in self.recalled for s in self.sources]


def _rescaled(old: Numbers, center: Array, scale: Array) -> dict[str, Array]:
    """The old hyperparameters under a new standardisation."""
    ratio = np.array(old.scale) / scale
    theta = {k: np.array(v).reshape(len(ratio), -1) for k, v in old.theta.items()}
    for k in ("signal", "bias", "offset", "noise"):
        theta[k] = theta[k] + 2.0 * np.log(ratio)[:, None]
    mean = np.array(old.center)[:, None] + np.array(old.scale)[:, None] * theta["mean"]
    return {**theta, "mean": (mean - center[:, None]) / scale[:, None]}


def _numbers(center: Array, scale: Array, theta: Mapping[str, Array], n_cold: int) -> Numbers:
    floats = {k: tuple(tuple(row) for row in np.asarray(v).tolist()) for k, v in theta.items()}
    return Numbers(tuple(center.tolist()), tuple(scale.tolist()), floats, n_cold)
