"""Noisy, constrained log expected improvement in closed form, for goals that are linear in the responses.

Ament, Daulton, Eriksson, Balandat & Bakshy 2023 (LogEI and its numerics); Letham, Karrer, Ottoni & Bakshy 2019: where
readings are noisy or pending, the improvement is averaged over samples of the response at the best settings so far and
at those pending, each sample taken as known. Gelbart, Snoek & Adams 2014: times the probability of being feasible.
It is exact where qLogNEI is a Monte Carlo estimate, and some twenty times cheaper with its gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erfcx, log_ndtr, logsumexp, ndtr

from .utility import normal_draws

if TYPE_CHECKING:
    from ..belief.posterior import Moments, ResponsePosterior, TargetPosterior
    from ..belief.success import Success
    from ..space import Array
    from .objective import Objective

N_DRAWS = 16
MAX_KNOWN = 40  # settings whose samples are taken as known
NOISY = 0.01  # of the objective's spread: an incumbent known better than this is taken at its mean
FAR = 1e3  # of the readings' range
LINEAR = 1e-9  # departure from a plane, of the objective's spread
HARDLY = 0.1  # probability of being feasible of the best setting, below which feasibility is searched for first
LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True, eq=False)
class Plane:
    """level + slope . responses."""

    slope: Array  # (m,)
    level: float

    @classmethod
    def through(cls, f: object, Y: Array) -> Plane | None:
        """The plane that f, from (n, m) to (n,), is over the range of the readings Y (n, m); None where it is none."""
        centre, size = Y.mean(axis=0), np.maximum(np.ptp(Y, axis=0), 1e-300)
        m = Y.shape[1]
        near = [np.zeros((1, m)), np.eye(m), -2.0 * np.eye(m), _corners(m)]
        probes = np.concatenate([*near, FAR * np.eye(m), -FAR * np.eye(m)])  # a bend may lie beyond the readings
        values = f(centre + size * probes)  # type: ignore[operator]
        if not np.isfinite(values).all():
            return None
        slope = values[1 : 1 + m] - values[0]
        rest = values - values[0] - probes @ slope
        if np.abs(rest).max() > LINEAR * max(1.0, float(np.abs(values).max())):
            return None
        slope = slope / size
        return cls(slope, float(values[0] - centre @ slope))


def _corners(m: int) -> Array:
    """Some points in which more than one response differs."""
    corners: Array = 1.0 - 3.0 * np.random.default_rng(0).random((4, m))
    return corners


def planes_of(objective: Objective, Y: Array) -> tuple[Plane, ...] | None:
    """The objective and the margins as planes in responses of their own; None where they are not.

    Args:
        objective: the goal.
        Y: (n, m) readings, over whose range they are tried.
    """
    if objective.aim.way not in ("maximize", "minimize"):
        return None
    found = [Plane.through(lambda y: objective.values(y, lib=np), Y)]
    for k in range(len(objective.margin_scales)):
        found.append(Plane.through(lambda y, k=k: objective.margin(k, y, lib=np), Y))
    planes = tuple(plane for plane in found if plane is not None)
    is_shared = any(sum(bool(plane.slope[j]) for plane in planes) > 1 for j in range(Y.shape[1]))
    return None if len(planes) < len(found) or is_shared else planes


class AnalyticAcquisition:
    """Log expected improvement of the scaled objective, or, while hardly a setting seems feasible, of feasibility.

    Args:
        posterior: of the responses that the goal names, in the objective's order.
        objective: the goal.
        planes: the objective and the margins as planes.
        baseline: (b, c) settings that were asked for, the most promising first.
        pending: (k, c) settings in flight.
        success: of a trial, where some failed.
    """

    how = "by log expected improvement in closed form"

    def __init__(
        self,
        posterior: TargetPosterior,
        planes: tuple[Plane, ...],
        baseline: Array,
        pending: Array,
        *,
        success: Success | None = None,
    ) -> None:
        self._posterior, self._planes, self._success = posterior, planes, success
        self._responses: tuple[ResponsePosterior, ...] = posterior.responses
        base = self._forms(baseline, gradient=False)
        feasible = np.prod([np.ones(len(baseline)), *(ndtr(f.mean[:, 0] / f.sd) for f in base[1:])], axis=0)
        self.is_improvement = not base[1:] or bool(feasible.max() >= HARDLY)
        is_noisy = float(base[0].sd.max()) > NOISY or any(float(f.sd.max()) > NOISY for f in base[1:])
        known = np.concatenate([baseline, pending])[: MAX_KNOWN + len(pending)] if is_noisy else pending
        if len(known):
            self._suppose(known)
        self._best = self._incumbents(base, known, with_baseline=not is_noisy)

    def _suppose(self, known: Array) -> None:
        """Take samples of the responses at these settings as known."""
        b, posterior = len(known), self._posterior
        width = b * len(self._responses)
        draws = normal_draws(N_DRAWS, width) if self.is_improvement else np.zeros((1, width))
        X = posterior.achieved(known)
        self._responses = tuple(r.knowing(X, draws[:, j * b : (j + 1) * b]) for j, r in enumerate(posterior.responses))

    def _incumbents(self, base: list[Form], known: Array, *, with_baseline: bool) -> Array:
        """(k,) the best feasible objective under each hypothesis; far below all where none is feasible."""
        objectives, margins = [], []
        if with_baseline:
            objectives.append(base[0].mean)
            margins.append([f.mean for f in base[1:]])
        if len(known):
            forms = self._forms(known, gradient=False)
            objectives.append(forms[0].mean)
            margins.append([f.mean for f in forms[1:]])
        k = max(o.shape[1] for o in objectives)
        values = np.concatenate([np.broadcast_to(o, (len(o), k)) for o in objectives])
        worst = values.min(axis=0) - 1.0  # one spread of the readings below
        for row in zip(*margins, strict=True):
            margin = np.concatenate([np.broadcast_to(g, (len(g), k)) for g in row])
            values = np.where(margin >= -1e-9, values, -np.inf)
        best: Array = np.maximum(values.max(axis=0), worst)
        return best

    def _forms(self, X: Array, *, gradient: bool) -> list[Form]:
        """The objective and the margins at X (N, c)."""
        found = [
            self._posterior.at(j, X, r, gradient=gradient) if any(p.slope[j] for p in self._planes) else None
            for j, r in enumerate(self._responses)
        ]
        return [Form.of(plane, found, gradient=gradient) for plane in self._planes]

    def value_and_gradient(self, X: Array) -> tuple[Array, Array]:
        """Log values (N,) and their gradients (N, c)."""
        return self._worked_out(X, gradient=True)

    def values(self, X: Array) -> Array:
        """Log values (N,); -inf where there is none."""
        values, _ = self._worked_out(X, gradient=False)
        return np.where(np.isfinite(values), values, -np.inf)

    def _worked_out(self, X: Array, *, gradient: bool) -> tuple[Array, Array]:
        forms = self._forms(X, gradient=gradient)
        terms = [form.log_feasible(gradient=gradient) for form in forms[1:]]
        if self.is_improvement:
            terms.append(forms[0].log_improvement(self._best, gradient=gradient))
        by_hypothesis = np.asarray(sum(value for value, _ in terms))  # (N, k)
        values = logsumexp(by_hypothesis, axis=1) - math.log(by_hypothesis.shape[1])
        if not gradient:
            return self._with_success(X, values, np.empty(0))
        share = np.exp(by_hypothesis - values[:, None] - math.log(by_hypothesis.shape[1]))  # (N, k)
        d = np.asarray(sum((share[:, :, None] * d_value).sum(axis=1) for _, d_value in terms))
        return self._with_success(X, values, d)

    def _with_success(self, X: Array, values: Array, gradients: Array) -> tuple[Array, Array]:
        if self._success is None:
            return values, gradients
        log_p, d_log_p = self._success.log_probability_and_gradient(X)
        return values + log_p, gradients + d_log_p if gradients.size else gradients


@dataclass(frozen=True, eq=False)
class Form:
    """A plane's value at N settings under k hypotheses: normal, with gradients."""

    mean: Array  # (N, k)
    sd: Array  # (N,)
    d_mean: Array  # (N, k, c)
    d_sd: Array  # (N, c)

    @classmethod
    def of(cls, plane: Plane, found: list[Moments | None], *, gradient: bool) -> Form:
        """From the moments of independent responses."""
        used = [(a, m) for a, m in zip(plane.slope, found, strict=True) if a and m is not None]
        mean = plane.level + sum(a * m.mean for a, m in used)
        sd = np.sqrt(sum((a * m.sd) ** 2 for a, m in used))
        if not gradient:
            return cls(mean, sd, np.empty(0), np.empty(0))
        d_mean = sum(a * m.d_mean for a, m in used)
        d_sd = sum((a * a) * m.sd[:, None] * m.d_sd for a, m in used) / sd[:, None]
        return cls(mean, sd, d_mean, d_sd)

    def log_improvement(self, best: Array, *, gradient: bool) -> tuple[Array, Array]:
        """Log E[max(value - best, 0)] (N, k) and its gradient (N, k, c)."""
        sd = self.sd[:, None]
        z = (self.mean - best) / sd
        log_h = log_ei(z)
        value = np.log(sd) + log_h
        if not gradient:
            return value, np.empty(0)
        ratio = np.exp(log_ndtr(z) - log_h)  # of h: its slope by itself
        d = (ratio / sd)[:, :, None] * (self.d_mean - z[:, :, None] * self.d_sd[:, None])
        return value, d + (self.d_sd / sd)[:, None]

    def log_feasible(self, *, gradient: bool) -> tuple[Array, Array]:
        """Log P(value >= 0) (N, k) and its gradient (N, k, c)."""
        sd = self.sd[:, None]
        z = self.mean / sd
        value = log_ndtr(z)
        if not gradient:
            return value, np.empty(0)
        ratio = np.exp(-0.5 * z * z - LOG_SQRT_2PI - value)
        d = (ratio / sd)[:, :, None] * (self.d_mean - z[:, :, None] * self.d_sd[:, None])
        return value, d


def log_ei(z: Array) -> Array:
    """log(phi(z) + z Phi(z)), without cancellation (Ament et al. 2023, eq. 9)."""
    near = np.maximum(z, -1.0)
    plain = np.log(np.exp(-0.5 * near * near - LOG_SQRT_2PI) + near * ndtr(near))
    far = np.minimum(z, -1.0)
    w = -erfcx(-far / math.sqrt(2.0)) * far * math.sqrt(0.5 * math.pi)  # in (0, 1), towards 1 far away
    rest = np.where(far < -1e3, 1.0 / (far * far), 1.0 - w)  # 1 - w ~ 1 / z^2
    tail = -0.5 * far * far - LOG_SQRT_2PI + np.log(np.maximum(rest, 1e-300))
    value: Array = np.where(z > -1.0, plain, tail)
    return value
