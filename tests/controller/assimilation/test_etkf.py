"""Laws of the ensemble analysis: exact where all is linear and Gaussian, and never a wider or broken ensemble."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedloop.controller.assimilation.etkf import MAX_INFLATION, analyse, estimate_inflation, inflate
from closedloop.controller.assimilation.mda import analyse_in_steps
from closedloop.controller.errors import BeliefError

SIZES = st.tuples(st.integers(2, 40), st.integers(1, 12), st.integers(1, 20), st.integers(0, 2**32 - 1))


def _case(sizes):
    n, p, k, seed = sizes
    rng = np.random.default_rng(seed)
    H = rng.normal(size=(k, p))
    return rng.normal(size=(n, p)) + 1.0, H, rng.normal(size=k), rng.uniform(0.1, 3.0, size=k)


def _posterior(E, H, y, R):
    """The textbook update of the ensemble's own mean and covariance."""
    P = np.cov(E, rowvar=False).reshape(E.shape[1], -1)
    K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
    mean = E.mean(axis=0)
    return mean + K @ (y - H @ mean), P - K @ H @ P


@settings(deadline=None, max_examples=60)
@given(SIZES, st.booleans())
def test_linear_analysis_is_the_exact_posterior(sizes, is_full):
    E, H, y, R = _case(sizes)
    full = np.diag(R) + 0.05 * np.ones((len(R), len(R))) if is_full else np.diag(R)
    mean, P = _posterior(E, H, y, full)
    analysed = analyse(E, E @ H.T, y, full if is_full else R)
    np.testing.assert_allclose(analysed.mean(axis=0), mean, atol=1e-7, rtol=1e-6)
    np.testing.assert_allclose(np.cov(analysed, rowvar=False).reshape(P.shape), P, atol=1e-7)


@settings(deadline=None, max_examples=40)
@given(SIZES)
def test_the_spread_of_no_direction_grows(sizes):
    E, H, y, R = _case(sizes)
    before, after = np.cov(E, rowvar=False), np.cov(analyse(E, E @ H.T, y, R), rowvar=False)
    assert np.linalg.eigvalsh(np.atleast_2d(before - after)).min() > -1e-8


@settings(deadline=None, max_examples=40)
@given(SIZES)
def test_members_may_be_exchanged_and_the_origin_moved(sizes):
    E, H, y, R = _case(sizes)
    analysed = analyse(E, E @ H.T, y, R)
    order = np.random.default_rng(0).permutation(len(E))
    np.testing.assert_allclose(analyse(E[order], E[order] @ H.T, y, R), analysed[order], atol=1e-9)
    np.testing.assert_allclose(analyse(E, E @ H.T + 7.0, y + 7.0, R), analysed, atol=1e-8)


@settings(deadline=None, max_examples=40)
@given(SIZES, st.integers(1, 6))
def test_any_number_of_steps_weighs_a_linear_observation_once(sizes, n_steps):
    E, H, y, R = _case(sizes)
    in_steps = analyse_in_steps(E, lambda E: E @ H.T, y, R, n_steps=n_steps)
    np.testing.assert_allclose(in_steps, analyse(E, E @ H.T, y, R), atol=1e-6)


def test_a_large_ensemble_converges_to_the_gaussian_posterior():
    rng = np.random.default_rng(1)
    E = rng.normal(size=(20_000, 2))
    H, y, R = np.array([[1.0, 0.5]]), np.array([1.2]), np.array([0.3])
    K = H.T / (H @ H.T + R)
    analysed = analyse(E, E @ H.T, y, R)
    np.testing.assert_allclose(analysed.mean(axis=0), (K * y)[:, 0], atol=0.02)
    np.testing.assert_allclose(np.cov(analysed, rowvar=False), np.eye(2) - K @ H, atol=0.02)


def test_tempered_steps_follow_a_curved_observation():
    rng = np.random.default_rng(2)
    E = rng.normal(size=(200, 1))
    truth, R = 1.5, np.array([0.01])

    def observe(E):
        return np.exp(E)

    one, many = (analyse_in_steps(E, observe, np.exp([truth]), R, n_steps=n).mean() for n in (1, 8))
    assert abs(many - truth) < 0.05 < abs(one - truth)


def test_infinite_error_changes_nothing():
    E, H, y, _ = _case((10, 3, 4, 0))
    np.testing.assert_array_equal(analyse(E, E @ H.T, y, np.full(4, np.inf)), E.mean(axis=0) + (E - E.mean(axis=0)))


def test_a_collapsed_ensemble_stays_as_it_is():
    E = np.tile([1.0, 2.0], (8, 1))
    np.testing.assert_array_equal(analyse(E, E, np.array([5.0, 5.0]), np.ones(2)), E)
    assert estimate_inflation(E, np.array([5.0, 5.0]), np.ones(2), previous=1.1) == 1.1


@pytest.mark.parametrize("spoil", ["forecast", "observation", "error", "covariance"])
def test_what_is_not_finite_is_refused(spoil):
    E, H, y, R = _case((10, 3, 4, 0))
    HE = E @ H.T
    if spoil == "forecast":
        HE[0, 0] = np.nan
    elif spoil == "observation":
        y[0] = np.inf
    else:
        R = -R if spoil == "error" else -np.eye(4)
    with pytest.raises(BeliefError):
        analyse(E, HE, y, R)


def test_inflation_answers_to_the_innovation_and_is_bounded():
    HE = np.random.default_rng(3).normal(size=(500, 2))
    R = np.full(2, 0.1)
    assert estimate_inflation(HE, HE.mean(axis=0), R) == 1.0
    grown = 1.0
    for _ in range(50):
        grown = estimate_inflation(HE, HE.mean(axis=0) + 10.0, R, previous=grown)
    assert 1.15 < grown <= MAX_INFLATION
    np.testing.assert_allclose(inflate(HE, grown).std(axis=0), grown * HE.std(axis=0))
