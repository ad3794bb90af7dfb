"""The probability that a trial succeeds: what failures teach, and what they must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from closedloop.controller.belief.evidence import Evidence, Observations
from closedloop.controller.belief.success import P0, Success
from closedloop.controller.campaign import Campaign

Array = np.ndarray
NOWHERE = np.empty((0, 2))


def evidence(answered: Array, failed: Array) -> Evidence:
    d, n = failed.shape[1], len(answered)
    c = Campaign(
        name="t",
        parameters={f"x{i}": {"low": 0, "high": 1} for i in range(d)},
        responses=["y"],
        sources={"lab": {"instrument": "x:Lab", "cost": {"money": 1}}},
        goal={"maximize": "y"},
        budget={"money": 9},
    )
    Y = np.zeros((n, 1))
    o = Observations(tuple(range(n)), answered, answered, Y, Y, (None,) * n)
    return Evidence(c.space, ("y",), "lab", {"lab": o}, infeasible={"lab": failed})


def success(answered: Array, failed: Array) -> Success:
    model = Success.of(evidence(answered, failed), "lab")
    assert model is not None
    return model


def test_without_a_failure_there_is_no_model() -> None:
    assert Success.of(evidence(np.random.default_rng(0).random((5, 2)), NOWHERE), "lab") is None


def test_each_failure_at_a_place_makes_success_there_less_likely_and_three_make_it_unlikely() -> None:
    place = np.array([[0.7, 0.7]])
    p = [success(NOWHERE, np.repeat(place, n, axis=0)).probability(place)[0] for n in (1, 2, 3, 10)]
    assert 0.3 < p[0] < 0.5 and p[2] < 0.25 and p[3] < 0.1
    assert (np.diff(p) < 0).all()


def test_a_failure_says_little_of_what_is_far_and_nothing_good_of_what_is_near() -> None:
    model = success(NOWHERE, np.array([[1.0, 1.0]]))
    far, near = model.probability(np.array([[0.0, 0.0], [0.9, 0.9]]))
    assert near < far <= P0
    assert far > 0.7


def test_failures_among_successes_are_taken_for_chance() -> None:
    X = np.random.default_rng(0).random((50, 2))
    assert success(X, X[:10]).probability(X).min() > 0.5


@pytest.mark.parametrize("d", [1, 2, 6])
def test_a_limit_on_one_parameter_is_found(d: int) -> None:
    rng = np.random.default_rng(0)
    X, T = rng.random((40, d)), rng.random((500, d))
    works, expected = X[:, 0] < 0.6, T[:, 0] < 0.6
    p = success(X[works], X[~works]).probability(T)
    assert ((p > 0.5) == expected).mean() > 0.93


def test_it_is_differentiable_and_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    answered, failed = rng.random((20, 2)), rng.random((6, 2))
    X = torch.tensor(rng.random((4, 2)), requires_grad=True)
    log_p = success(answered, failed).log_probability(X)
    (slope,) = torch.autograd.grad(log_p.sum(), X)
    step = torch.tensor([[1e-6, 0.0]])
    again = success(answered, failed)
    with torch.no_grad():
        assert torch.equal(again.log_probability(X), log_p)
        difference = (again.log_probability(X + step) - again.log_probability(X - step)) / 2e-6
    torch.testing.assert_close(difference, slope[:, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("n", [1, 3000])
def test_any_number_of_failures_at_one_place_has_finite_probabilities(n: int) -> None:
    failed = np.full((n, 2), 0.5)
    p = success(np.full((n, 2), 0.5 + 1e-12), failed).probability(np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert ((p > 0) & (p < 1)).all()
