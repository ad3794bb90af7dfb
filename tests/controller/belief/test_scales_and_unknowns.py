"""Ways to standardised units and back, and the regression of one run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.controller.belief.kriging import cholesky, matern
from closedloop.controller.belief.regression import Regression
from closedloop.controller.belief.scales import Scales, may_be_log
from closedloop.controller.belief.unknown import Unknowns
from closedloop.controller.errors import BeliefError

UNKNOWNS = Unknowns(("k", "e"), (True, False), (float(np.log(0.3)), 40.0), (0.5, 5.0))


@settings(deadline=None, max_examples=40)
@given(st.floats(-12, 12), st.integers(0, 2**32 - 1))
def test_backward_undoes_forward(decade, seed):
    rng = np.random.default_rng(seed)
    runs = [10.0**decade * rng.lognormal(size=(9, 2)) for _ in range(5)]
    assert may_be_log(runs, runs[0]).all()
    scales = Scales.of(runs, np.array([True, False]))
    for Y in runs:
        np.testing.assert_allclose(scales.backward(scales.forward(Y)), Y, rtol=1e-9)
    assert Scales.load(scales.dump()) == scales


def test_constant_and_nought_responses_have_a_scale():
    for value in (0.0, 3.0, 1e-12, -1e12):
        scales = Scales.of([np.full((8, 1), value)] * 3, np.array([False]))
        np.testing.assert_allclose(scales.backward(scales.forward(np.full((8, 1), value))), value, rtol=1e-12)


def test_what_cannot_be_squared_is_refused():
    with pytest.raises(BeliefError, match="larger unit"):
        Scales.of([np.full((8, 1), 1e200)], np.array([False]))


def test_the_slope_is_the_derivative():
    scales = Scales((True, False), (1.0, 2.0), (0.3, 4.0), (1e-9, 0.0))
    Z, h = np.array([[0.4, -1.0]]), 1e-6
    difference = (scales.backward(Z + h) - scales.backward(Z - h)) / (2 * h)
    np.testing.assert_allclose(scales.slope(scales.backward(Z)), difference, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 130), st.integers(0, 2**63 - 1))
def test_members_come_back_from_physical_units(n_members, seed):
    Z = UNKNOWNS.draw(n_members, seed=seed)
    assert Z.shape == (n_members, 2)
    np.testing.assert_allclose(UNKNOWNS.to_z(UNKNOWNS.to_physical(Z)), Z, atol=1e-8)
    np.testing.assert_allclose(np.cov(Z, rowvar=False), np.eye(2), atol=1e-8)
    assert Unknowns.load(UNKNOWNS.dump()) == UNKNOWNS


def test_a_run_is_reproduced_and_a_polynomial_of_other_members_foretold():
    Z, other = (UNKNOWNS.draw(64, seed=k) for k in (1, 2))

    def answer(Z):
        return np.stack([1.0 + Z[:, 0] - 0.5 * Z[:, 1], 2.0 * Z[:, 0] * Z[:, 1] + Z[:, 1] ** 2], axis=1)

    run = Regression.fit(Z, answer(Z))
    np.testing.assert_array_equal(run.predict(Z)[0], answer(Z))
    near, _ = run.predict(0.5 * other)
    np.testing.assert_allclose(near, answer(0.5 * other), atol=1e-3)


def test_the_variance_of_a_regression_grows_away_from_its_run():
    Z = UNKNOWNS.draw(64, seed=1)
    Y = np.exp(1.5 * Z[:, :1]) + np.sin(3.0 * Z[:, 1:])
    run = Regression.fit(Z, Y)
    grown = [run.predict(0.3 * Z + shift)[1][0] for shift in (0.0, 2.0, 4.0)]
    assert grown[0] < grown[1] < grown[2]


def test_more_unknowns_than_members():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(10, 40))
    values, variance = Regression.fit(Z, Z[:, :1]).predict(rng.normal(size=(10, 40)))
    assert np.isfinite(values).all()
    assert (variance > 0).all()


def test_the_kernel_is_smooth_at_nought_and_one_on_the_diagonal():
    X = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    K = matern(X, X, torch.full((3,), 0.4, dtype=torch.float64))
    torch.testing.assert_close(K.diagonal(), torch.ones(5, dtype=torch.float64))
    (slope,) = torch.autograd.grad(K.sum(), X)
    assert torch.isfinite(slope).all()


def test_a_singular_covariance_is_factorised_and_a_broken_one_refused():
    ones = torch.ones(3, 3, dtype=torch.float64)
    torch.testing.assert_close(cholesky(ones) @ cholesky(ones).mT, ones, atol=1e-3, rtol=0)
    with pytest.raises(BeliefError):
        cholesky(ones * torch.nan)
