"""The strategy for one objective under a noisy setting: what a setting is worth is a risk measure over its neighbours.

Cakmak, Astudillo, Frazier & Zhou 2020; Daulton et al. 2022 (input noise). The model is asked for all neighbours of a
setting together, so that the measure is that of one function, and the best setting is a robust one.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.posteriors.posterior_list import PosteriorList
from botorch.sampling.list_sampler import ListSampler
from botorch.sampling.normal import IIDNormalSampler, SobolQMCNormalSampler
from botorch.utils.safe_math import log_fatplus, logmeanexp
from linear_operator.utils.warnings import NumericalWarning

from ..parameters import Continuous
from .best import N_SPREAD
from .candidates import as_asked, distinct
from .initial import spread_settings
from .knowledge import CHUNK, MAX_GAIN
from .logei import likely_best
from .objective import Objective
from .safeguard import usable
from .searching import Found, search
from .utility import expected, moments, normal_draws

if TYPE_CHECKING:
    from ..goal import Risk
    from ..space import Array, Space
    from .strategy import Situation

N_NEIGHBOURS = 32  # at least
N_BAD = 2.5  # neighbours, at least, in the share of the worst that a level speaks of
N_SAMPLES = 32
N_REFERENCES = 12
N_FANTASIES = 32
N_BASELINE = 24
WORST = 2.0  # standard deviations within which the worst case is looked for
SOFT = 1e-2  # temperature of the improvement and of feasibility, in scaled units


@lru_cache(maxsize=8)
def _draws(n: int, measure: str, level: float) -> Array:
    """(w, n) in standard deviations, the same ever; of the worst case the setting itself is among them."""
    if measure != "worst":
        # a power of two, as Sobol points are balanced for
        return _even(normal_draws(max(N_NEIGHBOURS, 2 ** math.ceil(math.log2(N_BAD / (1.0 - level) * (1 - 1e-9)))), n))
    ends = WORST * np.concatenate([np.eye(n), -np.eye(n)])
    z = normal_draws(2 * N_NEIGHBOURS, n)
    length = np.linalg.norm(z, axis=1, keepdims=True)
    z = WORST * z / np.maximum(length, 1e-9) * np.where(np.arange(len(z)) % 3 == 0, 0.5, 1.0)[:, None]
    return np.concatenate([np.zeros((1, n)), ends, z])[: max(N_NEIGHBOURS, 2 * n + 1)]


def _even(z: Array) -> Array:
    """The draws (w, n) moved so that each column holds the middles of w equal shares and none goes with another."""
    from scipy.special import ndtri

    z = np.asarray(ndtri((z.argsort(axis=0).argsort(axis=0) + 0.5) / len(z)))
    if not 1 < z.shape[1] < len(z) // 2:  # mirrored draws span no more
        return z
    return np.asarray(z @ np.linalg.inv(np.linalg.cholesky(np.corrcoef(z.T))).T)


@dataclass(frozen=True)
class Neighbours:
    """The settings that are reached when one is asked for, and the measure over them."""

    risk: Risk
    space: Space

    @property
    def n(self) -> int:
        """How many of each setting."""
        return len(self._draws)

    @property
    def _draws(self) -> Array:
        return _draws(len(self.risk.over), self.risk.measure, self.risk.level)

    def of(self, X: Any) -> Any:
        """(..., w, c): the neighbours of X (..., c) within the bounds, in NumPy or torch."""
        lib: Any = torch if isinstance(X, torch.Tensor) else np
        draws = self._draws
        columns = [X[..., None, k] + 0.0 * _zeros(lib, self.n) for k in range(X.shape[-1])]
        for j, (name, sd) in enumerate(self.risk.over.items()):
            p, k = self.space.parameters[name], self.space.columns[name].start
            assert isinstance(p, Continuous)
            z = torch.tensor(draws[:, j]) if lib is torch else draws[:, j]
            columns[k] = _moved(p, columns[k], sd * z, lib)
        return lib.stack(columns, -1)

    def measure(self, values: Any) -> Any:
        """(...) of values (..., w): the larger the better."""
        lib: Any = torch if isinstance(values, torch.Tensor) else np
        if self.risk.measure == "worst":
            return values.amin(-1) if lib is torch else values.min(axis=-1)
        n_bad = self.n * (1.0 - self.risk.level)
        ordered = lib.sort(values, -1)
        ordered = ordered.values if lib is torch else ordered
        if self.risk.measure == "quantile":  # between the neighbours that stand for the share n_bad / n (Hazen 1914)
            k = math.floor(n_bad - 0.5 + 1e-9)
            share = n_bad - 0.5 - k
            return (1.0 - share) * ordered[..., k] + share * ordered[..., k + 1]
        k = math.floor(n_bad + 1e-9)  # the last of the worst counts by the part that belongs to them
        return (ordered[..., :k].sum(-1) + (n_bad - k) * ordered[..., k]) / n_bad


def _zeros(lib: Any, n: int) -> Any:
    return torch.zeros(n, dtype=torch.double) if lib is torch else np.zeros(n)


def _moved(p: Continuous, u: Any, step: Any, lib: Any) -> Any:
    """The column after a step in the parameter's unit, kept within the bounds."""
    x = p.from_unit(u, lib=lib) + step
    x = x.clamp(p.low, p.high) if lib is torch else np.clip(x, p.low, p.high)
    if p.scale == "linear":
        return (x - p.low) / (p.high - p.low)
    return lib.log(x / p.low) / math.log(p.high / p.low)


class RobustImprovement:
    """Log expected improvement of the risk measure over the best that is expected of a setting that was read."""

    is_improvement = True

    def __init__(self, s: Situation, objective: Objective, near: Neighbours, *, best: float, seed: int) -> None:
        self._s, self._objective, self._near, self._best = s, objective, near, best
        shape = torch.Size([N_SAMPLES])
        with torch.no_grad():
            posterior = s.model.posterior(near.of(torch.tensor(spread_settings(s.space, 1, start=0, seed=s.seed))))
        if isinstance(posterior, PosteriorList):
            n = len(posterior.posteriors)
            self._sampler: Any = ListSampler(*(IIDNormalSampler(shape, seed=seed + k) for k in range(n)))
        else:
            self._sampler = SobolQMCNormalSampler(shape, seed=seed)

    def samples(self, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the measure, (S, n), and the log probability that neighbours keep the constraints, (n,)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BotorchWarning)
            warnings.simplefilter("ignore", NumericalWarning)  # neighbours lie close: a jitter is added
            Y = self._sampler(self._s.model.posterior(self._near.of(X)))
        measured = self._near.measure(self._objective.values(Y, lib=torch))
        margins = self._objective.margins(Y, lib=torch)
        if not margins:
            return measured, torch.zeros(len(X), dtype=torch.double)
        log_kept = sum(torch.nn.functional.logsigmoid(margin / SOFT) for margin in margins)  # of all, in one draw
        log_p = logmeanexp(logmeanexp(torch.as_tensor(log_kept), dim=-1), dim=0)
        return measured, log_p.clamp_min(math.log(1e-30))

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Log values (n,), differentiable."""
        measured, log_p = self.samples(X)
        value: torch.Tensor = logmeanexp(log_fatplus(measured - self._best, tau=SOFT), dim=0) + log_p
        return value if self._s.success is None else value + self._s.success.log_probability(X)

    def values(self, X: Array) -> Array:
        """Log values (n,); -inf where there is none."""
        with torch.no_grad():
            values = self(torch.tensor(X)).numpy()
        return np.where(np.isfinite(values), values, -np.inf)


class Robust:
    """See ``Strategy``."""

    measure = "log_robust_ei"

    def __init__(self, s: Situation) -> None:
        assert s.goal.risk is not None
        self._s = s
        self.objective = Objective.fit(s.goal, s.names, s.readings)
        self.scale = self.objective.scale
        self._near = Neighbours(s.goal.risk, s.space)

    def find(self) -> Found:
        """Where the robust improvement is highest: that setting or the neighbour whose reading tells most of it."""
        s, likely = self._s, self._likely
        worth = self.worth(likely)
        seed = int(s.rng.integers(2**31))
        acquisition = RobustImprovement(s, self.objective, self._near, best=float(worth.max()), seed=seed)
        near = likely[np.argsort(-worth, kind="stable")][:5]
        found = search(
            acquisition,
            s.evidence,
            near=near,
            avoid=s.avoid,
            seed=s.seed,
            rng=s.rng,
            is_constant=s.is_constant,
            method=s.method,
        )
        if found.fallback:
            return found
        beside = usable(s.space, as_asked(s.space, self._near.of(found.X[0])[:9]))
        X = distinct(np.concatenate([found.X, beside]))
        gains = self.view(found).gains(s.influence(s.evidence.target, X, self.view(found).X))
        order = np.argsort(-gains, kind="stable")[: len(found.X)]
        values = acquisition.values(X[order])
        return Found(X[order], values, found.note)

    def view(self, found: Found) -> RobustView:
        """Settings of which one may turn out the most robust, and their neighbours."""
        s = self._s
        spread = spread_settings(s.space, N_SPREAD, start=0, seed=s.seed)
        spread = spread[np.argsort(-self.worth(spread), kind="stable")] if len(spread) else spread
        likely = self._likely[np.argsort(-self.worth(self._likely), kind="stable")]
        X = distinct(np.concatenate([found.X[:3], likely[:6], spread]))[:N_REFERENCES]
        points = self._near.of(X).reshape(-1, X.shape[1])
        mean, sd = moments(s.model, points)
        return RobustView(self.objective, self._near, X, points, mean, sd, s.p_success(X))

    def rivals(self) -> Array:
        """The settings that were read, the most robust first."""
        return self._likely[np.argsort(-self.worth(self._likely), kind="stable")]

    def worth(self, X: Array) -> Array:
        """The measure over what is expected at the neighbours, less what may be infeasible."""
        mean, sd = moments(self._s.model, self._near.of(X).reshape(-1, X.shape[1]))
        shape = (len(X), self._near.n)
        worth = self._near.measure(self.objective.values(mean, lib=np).reshape(shape))
        feasible = self.feasibility(mean, sd).reshape(shape).mean(axis=1)
        p = self._s.p_success(X)
        weight = feasible if p is None else feasible * p
        worst = float(worth.min()) - 1.0
        return np.asarray(weight * (worth - worst) + worst)

    def feasibility(self, mean: Array, sd: Array) -> Array:
        """Of the outcome constraints."""
        return expected(self.objective, mean, sd)[1]

    @cached_property
    def _likely(self) -> Array:
        return likely_best(self._s.model, self._s.evidence, self.objective)[:N_BASELINE]


@dataclass(frozen=True)
class RobustView:
    """The target as believed at r settings and the w neighbours of each; see ``View``."""

    objective: Objective
    near: Neighbours
    asked: Array  # (r, c)
    X: Array  # (r w, c) the neighbours
    mean: Array  # (r w, m)
    sd: Array  # (r w, m)
    p_success: Array | None = None  # (r,)

    def gains(self, influence: Array) -> Array:
        """E[max of the measure after] - max E[measure after], in the units of the objective."""
        Z = normal_draws(N_FANTASIES, self.mean.shape[-1])
        gains = np.zeros(len(influence))
        lowest = self._worth(self.mean[None], self.sd).min() - 1.0
        for start in range(0, len(influence), CHUNK):
            moved = influence[start : start + CHUNK]
            mean = self.mean + moved[:, None] * Z[:, None, :]
            U = self._worth(mean, self.sd) - lowest  # (a, F, r)
            U = U if self.p_success is None else U * self.p_success
            gains[start : start + CHUNK] = U.max(axis=2).mean(axis=1) - U.mean(axis=1).max(axis=1)
        return np.nan_to_num(self.objective.scale * np.maximum(gains, 0.0), nan=0.0, posinf=MAX_GAIN)

    def figures(self) -> dict[str, float]:
        """The best measure that is expected, as the scientist reads it."""
        best = float(self._worth(self.mean[None], self.sd).max())
        raw = self.objective.aim.in_words(self.objective.center + self.objective.scale * best)
        return {"expected_robust": raw} if np.isfinite(raw) else {}

    def _worth(self, mean: Array, sd: Array) -> Array:
        """The measure at each setting, (..., r)."""
        shape = (*mean.shape[:-2], len(self.asked), self.near.n)
        worth = self.near.measure(self.objective.values(mean, lib=np).reshape(shape))
        if self.objective.margin_scales:
            feasible = expected(self.objective, mean, np.broadcast_to(sd, mean.shape))[1].reshape(shape).mean(axis=-1)
            worth = feasible * worth - (1.0 - feasible) * 10.0  # a setting that breaks them is no rival
        return np.asarray(worth)
