"""The acquisition in closed form: BoTorch's Monte Carlo estimate tends to it, and its gradient is right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.sampling.normal import SobolQMCNormalSampler
from mpmath import mp

from closedloop.controller.belief.evidence import Evidence, Observations
from closedloop.controller.belief.surrogate import Surrogate
from closedloop.controller.campaign import Campaign
from closedloop.controller.design import logei
from closedloop.controller.design.analytic import AnalyticAcquisition, Plane, log_ei
from closedloop.controller.design.objective import Objective

Array = np.ndarray
RNG = np.random.default_rng(5)


def campaign(**changes: object) -> Campaign:
    return Campaign(
        **{
            "name": "t",
            "parameters": {"a": {"low": 0, "high": 1}, "b": {"low": 0, "high": 1}},
            "responses": ["y", "z"],
            "sources": {"lab": {"instrument": "x:Lab", "cost": {"money": 1}}},
            "goal": {"maximize": "y"},
            "budget": {"money": 50},
            **changes,
        }
    )


def evidence(c: Campaign, *, noise: float, pending: Array | None = None) -> Evidence:
    rng = np.random.default_rng(1)
    X = rng.random((12, 2))
    Y = np.stack([np.sin(5 * X[:, 0]) + X[:, 1], X.sum(axis=1)], axis=1) + noise * rng.standard_normal((12, 2))
    o = Observations(tuple(range(12)), X, X, Y, np.full_like(Y, np.nan), (None,) * 12)
    return Evidence(c.space, tuple(c.responses), "lab", {"lab": o}, {} if pending is None else {"lab": pending})


def both(c: Campaign, e: Evidence) -> tuple[AnalyticAcquisition, qLogNoisyExpectedImprovement, Array]:
    belief = Surrogate.prior(c).correct(e, (), RNG)
    names = tuple(r for r in c.responses if r in c.goal.names)
    model = belief.target_model(e, [e.responses.index(n) for n in names])
    assert model is not None
    objective = Objective.fit(c.goal, names, e.of("lab").Y[:, [e.responses.index(n) for n in names]])
    baseline = logei.likely_best(model, e, objective)
    ours = logei.acquisition_of(model, e, objective, baseline, seed=0)
    mc_objective, constraints = objective.for_botorch()
    theirs = qLogNoisyExpectedImprovement(
        model,
        torch.tensor(baseline),
        sampler=SobolQMCNormalSampler(torch.Size([4096]), seed=0),
        objective=mc_objective,
        constraints=constraints,
        X_pending=torch.tensor(e.pending_at("lab")) if len(e.pending_at("lab")) else None,
        prune_baseline=False,
        eta=1e-4,
    )
    assert isinstance(ours, AnalyticAcquisition)
    X = np.random.default_rng(2).random((2000, 2))
    return ours, theirs, X[np.argsort(-ours.values(X))[:60]]  # where most is promised: elsewhere few samples improve


@pytest.mark.parametrize(
    ("goal", "noise", "pending"),
    [
        ({"maximize": "y"}, 0.0, None),
        ({"minimize": "2 * y - 3"}, 0.0, None),
        ({"maximize": "y + 0.5 * z"}, 0.0, None),
        ({"maximize": "y"}, 0.2, None),
        ({"maximize": "y"}, 0.0, np.array([[0.32, 0.97]])),
        ({"maximize": "y", "subject_to": ["z <= 1.2"]}, 0.0, None),
    ],
)
def test_it_is_what_monte_carlo_tends_to(goal: dict[str, object], noise: float, pending: Array | None) -> None:
    c = campaign(goal=goal)
    ours, theirs, X = both(c, evidence(c, noise=noise, pending=pending))
    with torch.no_grad():
        expected = theirs(torch.tensor(X)[:, None]).numpy()
    found = ours.values(X)
    seen = expected > expected.max() - 3.0
    assert seen.sum() >= 5
    assert np.abs(found - expected)[seen].max() < (0.35 if noise or pending is not None else 0.15)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_its_gradient_is_that_of_its_values(noise: float) -> None:
    c = campaign(goal={"maximize": "y", "subject_to": ["z <= 1.2"]})
    ours, _, _ = both(c, evidence(c, noise=noise, pending=np.array([[0.3, 0.9]])))
    X = np.random.default_rng(3).random((40, 2))
    _, gradient = ours.value_and_gradient(X)
    h = 1e-5 * np.eye(2)
    numeric = np.stack([(ours.values(X + h[k]) - ours.values(X - h[k])) / 2e-5 for k in range(2)], axis=1)
    assert np.allclose(gradient, numeric, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("z", [-1e6, -2e3, -999.0, -50.0, -1.001, -0.999, 0.0, 3.0, 40.0])
def test_the_logarithm_of_the_improvement_keeps_its_digits(z: float) -> None:
    mp.dps = 60
    exact = (
        mp.log(mp.npdf(z) + z * mp.ncdf(z))
        if z > -1e3
        else -(mp.mpf(z) ** 2) / 2 - mp.log(mp.sqrt(2 * mp.pi)) - 2 * mp.log(-z)
    )
    assert float(log_ei(np.array([z]))[0]) == pytest.approx(float(exact), rel=1e-8, abs=1e-9)


def test_a_plane_is_told_from_what_is_none() -> None:
    Y = RNG.random((9, 2)) * [100.0, 1e-3]
    plane = Plane.through(lambda y: 3.0 - 2.0 * y[:, 0] + 1e3 * y[:, 1], Y)
    assert plane is not None and np.allclose(plane.slope, [-2.0, 1e3]) and plane.level == pytest.approx(3.0)
    assert Plane.through(lambda y: y[:, 0] * y[:, 1], Y) is None
    assert Plane.through(lambda y: np.abs(y[:, 0] - 50.0), Y) is None
    assert Plane.through(lambda y: np.where(y[:, 0] > 50, np.nan, y[:, 0]), Y) is None
