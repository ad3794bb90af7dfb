"""The surrogate belief: laws of a belief, what sources teach about each other, and data that used to break it."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from closedloop.controller.belief.evidence import Evidence, Observations
from closedloop.controller.belief.multi_source_fit import priors, start
from closedloop.controller.belief.multi_source_prior import Data, log_evidence, tensors
from closedloop.controller.belief.subset import newest_and_spread
from closedloop.controller.belief.surrogate import Surrogate
from closedloop.controller.campaign import Campaign
from closedloop.controller.errors import BeliefError

RNG = np.random.default_rng(0)
Array = np.ndarray


def campaign(d: int = 2, m: int = 1, *, simulator: bool = True) -> Campaign:
    sources = {"lab": {"instrument": "x:Lab", "cost": {"money": 10}}}
    if simulator:
        sources["model"] = {"simulator": "x:Model", "cost": {"money": 1}}
    return Campaign(
        name="t",
        parameters={f"x{i}": {"low": 0, "high": 1} for i in range(d)},
        responses=[f"y{j}" for j in range(m)],
        sources=sources,
        goal={"maximize": "y0"},
        budget={"money": 300},
    )


def observed(X: Array, Y: Array, *, first: int = 0, sd: float = np.nan, achieved: Array | None = None) -> Observations:
    n = len(X)
    X_real = X if achieved is None else achieved
    return Observations(tuple(range(first, first + n)), X, X_real, Y, np.full_like(Y, sd), (None,) * n)


def evidence(c: Campaign, **observations: Observations) -> Evidence:
    return Evidence(c.space, tuple(c.responses), "lab", observations)


def corrected(c: Campaign, e: Evidence) -> Surrogate:
    return Surrogate.prior(c).correct(e, (), RNG)


def wave(X: Array) -> Array:
    return np.sin(5 * X[:, :1]) + X[:, 1:2] ** 2


def test_a_dump_is_json_and_loads_to_an_equal_belief_that_predicts_the_same_bits() -> None:
    c = campaign(m=2)
    X = RNG.random((9, 2))
    Y = np.hstack([wave(X), 1e3 * wave(X) ** 2])
    e = evidence(c, lab=observed(X, Y, achieved=X + 0.02), model=observed(X, Y + 0.1))
    belief = corrected(c, e)
    again = Surrogate.load(json.loads(json.dumps(belief.dump())))
    assert again == belief
    for source in ("lab", "model"):
        one, two = (b.predict(e, source, X) for b in (belief, again))
        assert np.array_equal(one.mean, two.mean) and np.array_equal(one.sd, two.sd)
    assert np.array_equal(belief.influence(e, "model", X, X), again.influence(e, "model", X, X))
    assert Surrogate.load(Surrogate.prior(c).dump()) == Surrogate.prior(c)


def test_the_same_evidence_gives_the_same_belief_and_leaves_torch_random_state_alone() -> None:
    c = campaign()
    X = RNG.random((12, 2))
    e = evidence(c, lab=observed(X, wave(X)))
    state = torch.get_rng_state()
    assert corrected(c, e) == corrected(c, e)
    assert torch.equal(state, torch.get_rng_state())


def test_nothing_is_known_of_fewer_than_two_readings() -> None:
    c = campaign()
    X = RNG.random((1, 2))
    e = evidence(c, lab=observed(X, wave(X)))
    belief = corrected(c, e)
    assert belief == Surrogate.prior(c)
    assert belief.predict(e, "lab", X) is None and belief.target_model(e) is None
    assert not belief.influence(e, "lab", X, X).any()


@pytest.mark.parametrize("m", [1, 3])
def test_the_model_of_the_target_is_differentiable_and_agrees_with_the_prediction(m: int) -> None:
    c = campaign(m=m)
    X = RNG.random((10, 2))
    e = evidence(
        c, lab=observed(X, np.hstack([wave(X) * 10**j for j in range(m)])), model=observed(X, np.tile(wave(X), m))
    )
    belief = corrected(c, e)
    X_new = torch.tensor(RNG.random((5, 3, 2)), requires_grad=True)
    posterior = belief.target_model(e).posterior(X_new)
    assert posterior.mean.shape == (5, 3, m)
    prediction = belief.predict(e, "lab", X_new.detach().numpy().reshape(15, 2))
    np.testing.assert_allclose(posterior.mean.detach().numpy().reshape(15, m), prediction.mean, rtol=1e-9)
    assert (posterior.variance.detach().numpy().reshape(15, m) <= prediction.sd**2 * (1 + 1e-6)).all()  # no noise
    assert torch.isfinite(torch.autograd.grad(posterior.mean.sum(), X_new)[0]).all()


def test_rows_that_a_batch_shares_change_nothing() -> None:
    c = campaign(m=2)
    X = RNG.random((10, 2))
    e = evidence(c, lab=observed(X, np.hstack([wave(X), wave(X) ** 2])))
    model = corrected(c, e).target_model(e)
    shared, own = torch.rand(3, 2, dtype=torch.float64), torch.rand(4, 2, 2, dtype=torch.float64)
    batch = model.posterior(torch.cat([shared.expand(4, -1, -1), own], 1)).distribution
    for k in range(4):
        single = model.posterior(torch.cat([shared, own[k]])).distribution
        torch.testing.assert_close(batch.mean[k], single.mean)
        torch.testing.assert_close(batch.covariance_matrix[k], single.covariance_matrix, atol=1e-9, rtol=1e-6)


def test_the_evidence_is_that_of_a_normal_density_over_all_readings() -> None:
    X = torch.tensor(RNG.random((6, 2)))
    data = Data.of(
        [
            (X[:4], torch.ones(1, 4).double(), torch.zeros(1, 4).double()),
            (X[4:], torch.zeros(1, 2).double(), torch.full((1, 2), 0.3, dtype=torch.float64).double()),
        ],
        (0, 1),
    )
    theta = tensors(start(priors(2, [False, True]), 1))

    def k(a: Array, b: Array, ls: Array) -> float:  # Matérn 5/2, Rasmussen & Williams 2006, eq. 4.17
        r = np.sqrt(5 * (((a - b) / ls) ** 2).sum())
        return (1 + r + r**2 / 3) * np.exp(-r)

    t = {name: np.exp(v.numpy()[0]) for name, v in theta.items()}
    A, is_model = X.numpy(), [0, 0, 0, 0, 1, 1]
    K = np.array([[t["signal"][0] * k(a, b, t["lengthscale"]) for b in A] for a in A])
    for i in (4, 5):
        for j in (4, 5):
            K[i, j] += t["bias"][0] * k(A[i], A[j], t["bias_lengthscale"]) + t["offset"][0]
    K += np.diag([t["noise"][s] + 0.3 * s for s in is_model])
    y = np.array([1.0, 1, 1, 1, 0, 0])
    expected = -0.5 * y @ np.linalg.solve(K, y) - 0.5 * np.linalg.slogdet(K)[1] - 3 * np.log(2 * np.pi)
    assert float(log_evidence(theta, data)) == pytest.approx(expected, rel=1e-9)


def error_with(simulate: Callable[[Array], Array] | None) -> float:
    """Of the target's forecast after 8 of its readings and 40 runs of a simulator."""
    c = campaign()
    X, X_sim, X_new = (np.random.default_rng(s).random((n, 2)) for s, n in ((1, 8), (2, 40), (3, 50)))
    observations = {"lab": observed(X, wave(X))}
    if simulate:
        observations["model"] = observed(X_sim, simulate(X_sim))
    e = evidence(c, **observations)
    return float(np.sqrt(((corrected(c, e).predict(e, "lab", X_new).mean - wave(X_new)) ** 2).mean()))


@pytest.mark.parametrize(
    "simulate",
    [lambda X: wave(X) + 0.8 - 0.3 * X[:, :1], lambda X: 1.5 * wave(X), lambda X: wave(X) + 100.0],
    ids=["drifting", "amplified", "shifted"],
)
def test_a_biased_simulator_informs(simulate: Callable[[Array], Array]) -> None:
    assert error_with(simulate) < 0.3 * error_with(None)


def test_a_useless_simulator_is_found_out() -> None:
    assert error_with(lambda X: 3 * np.cos(40 * X[:, :1] * X[:, 1:2])) < 1.3 * error_with(None)


def test_a_reading_moves_the_mean_as_its_influence_says() -> None:
    """The sd of mean(after) - mean(before), found by adding readings drawn from the forecast."""
    c = campaign()
    X, X_ask, X_ref = RNG.random((10, 2)), np.array([[0.4, 0.6]]), RNG.random((4, 2))
    e = evidence(c, lab=observed(X, wave(X)), model=observed(X, wave(X) + 0.2))
    belief = corrected(c, e)
    forecast = belief.predict(e, "model", X_ask)
    before = belief.predict(e, "lab", X_ref).mean
    after = evidence(
        c,
        lab=e.of("lab"),
        model=observed(np.vstack([X, X_ask]), np.vstack([wave(X) + 0.2, forecast.mean + forecast.sd])),
    )
    moved = belief.predict(after, "lab", X_ref).mean - before  # one sd above the forecast: the hyperparameters stay
    np.testing.assert_allclose(belief.influence(e, "model", X_ask, X_ref)[0], moved, rtol=1e-5, atol=1e-9)


def test_a_pending_setting_counts_as_read() -> None:
    c = campaign()
    X, X_ask = RNG.random((10, 2)), np.array([[0.4, 0.6]])
    free = evidence(c, lab=observed(X, wave(X)))
    belief = corrected(c, free)
    busy = Evidence(free.space, free.responses, "lab", free.observations, {"lab": X_ask})
    gain = [float(np.abs(belief.influence(e, "lab", X_ask, X_ask)).max()) for e in (free, busy)]
    assert gain[1] < 0.9 * gain[0]
    assert np.array_equal(belief.predict(free, "lab", X_ask).mean, belief.predict(busy, "lab", X_ask).mean)


def test_the_sd_that_a_source_gives_counts() -> None:
    c = campaign(simulator=False)
    X = RNG.random((8, 2))
    sd = {
        given: corrected(c, e).predict(e, "lab", X[:1]).sd[0, 0]
        for given in (0.01, 0.5)
        if (e := evidence(c, lab=observed(X, wave(X), sd=given)))
    }
    assert sd[0.5] >= 0.5 > sd[0.01]


def test_columns_of_a_choice_share_a_lengthscale() -> None:
    c = Campaign(
        name="t",
        parameters={"kind": {"choices": ["A", "B", "C"]}, "x": {"low": 0, "high": 1}},
        responses=["y"],
        sources={"lab": {"instrument": "x:Lab", "cost": {"money": 10}}},
        goal={"maximize": "y"},
        budget={"money": 300},
    )
    X = c.space.from_quantiles(RNG.random((12, 2)))
    e = evidence(c, lab=observed(X, X @ np.array([[1.0], [0.0], [0.0], [2.0]])))
    belief = corrected(c, e)
    assert np.shape(belief.numbers.theta["lengthscale"]) == (1, 2)
    np.testing.assert_allclose(belief.predict(e, "lab", X).mean, e.of("lab").Y, atol=0.15)


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e12])
@pytest.mark.parametrize("n", [2, 3, 300])
@pytest.mark.parametrize("kind", ["constant", "repeated", "spread"])
def test_bad_data_gives_a_finite_forecast(scale: float, n: int, kind: str) -> None:
    c = campaign()
    X = np.random.default_rng(n).random((n, 2))
    X = np.tile(X[:1], (n, 1)) if kind == "repeated" else X
    Y = np.full((n, 1), scale) if kind == "constant" else scale * wave(X)
    e = evidence(c, lab=observed(X, Y), model=observed(X, 1e6 * Y, first=n))
    belief = corrected(c, e)
    for source in ("lab", "model"):
        p = belief.predict(e, source, X[:2])
        assert np.isfinite(p.mean).all() and np.isfinite(p.sd).all() and (p.sd > 0).all()
    assert np.isfinite(belief.influence(e, "model", X[:2], X[:2])).all()


@pytest.mark.parametrize("wild", [1e160, 1e300, -1e308])
@pytest.mark.parametrize("is_corrected", [False, True])
def test_a_reading_beyond_float64_says_far_off_and_the_others_are_learned_from(wild: float, is_corrected: bool) -> None:
    c = campaign()
    X = np.random.default_rng(0).random((8, 2))
    before = evidence(c, lab=observed(X[:7], wave(X[:7])))
    after = evidence(c, lab=observed(X, np.vstack([wave(X[:7]), [[wild]]])))
    belief = corrected(c, before) if is_corrected else Surrogate.prior(c)
    forecast = belief.correct(after, (), RNG).predict(after, "lab", X)
    assert np.abs(forecast.mean[:7] - wave(X[:7])).max() < 0.5
    assert np.sign(forecast.mean[7, 0] - wave(X[7:])[0, 0]) == np.sign(wild)


@pytest.mark.parametrize("is_corrected", [False, True])
def test_readings_that_spread_beyond_float64_leave_no_forecast_and_a_reason(is_corrected: bool) -> None:
    c = campaign()
    X = np.random.default_rng(0).random((8, 2))
    after = evidence(c, lab=observed(X, 1e200 * wave(X)))
    belief = corrected(c, evidence(c, lab=observed(X[:7], wave(X[:7])))) if is_corrected else Surrogate.prior(c)
    with pytest.raises(BeliefError, match="y0"):
        belief.correct(after, (), RNG)
    forecast = belief.predict(after, "lab", X)
    assert forecast is None or (np.isfinite(forecast.mean).all() and np.isfinite(forecast.sd).all())


def test_a_model_of_many_readings_is_bounded_and_keeps_the_newest() -> None:
    c = campaign(simulator=False)
    X = np.random.default_rng(0).random((1500, 2))
    e = evidence(c, lab=observed(X, wave(X)))
    belief = corrected(c, e)
    assert len(belief.target_model(e).data.X) == 800
    assert np.abs(belief.predict(e, "lab", X).mean - wave(X)).max() < 0.05
    kept = newest_and_spread(X, 100)
    assert len(set(kept.tolist())) == 100 and set(range(1450, 1500)) <= set(kept.tolist())
