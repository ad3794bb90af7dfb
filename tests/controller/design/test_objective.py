"""The goal as the acquisition functions see it: the same in NumPy and torch, of any scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from closedloop.controller.design.objective import BAD, Objective
from closedloop.controller.design.utility import expected, utility
from closedloop.controller.goal import Goal

Y = np.random.default_rng(0).random((20, 2)) + 0.5
GOALS = [
    Goal(maximize="a"),
    Goal(minimize="a * b"),
    Goal(target="log(a) + b", value=1.0),
    Goal(maximize="a - 0.1 * b", subject_to=("b <= 1", "a + b >= 1.2")),
]


@pytest.mark.parametrize("goal", GOALS)
def test_numpy_and_torch_agree_and_order_as_the_goal_does(goal: Goal) -> None:
    o = Objective.fit(goal, ("a", "b"), Y)
    values = o.values(Y, lib=np)
    np.testing.assert_allclose(o.values(torch.tensor(Y), lib=torch).numpy(), values, rtol=1e-12)
    raw = [float(goal.objective({"a": a, "b": b})) for a, b in Y]
    assert np.array_equal(np.argsort(values), np.argsort(raw))
    np.testing.assert_allclose(values * o.scale + o.center, raw)
    mc, constraints = o.for_botorch()
    np.testing.assert_allclose(mc(torch.tensor(Y)).numpy(), values)
    is_feasible = np.array([goal.is_feasible({"a": a, "b": b}) for a, b in Y])
    is_negative = [(c(torch.tensor(Y)) <= 0).numpy() for c in constraints or []]
    assert np.array_equal(np.all(is_negative, axis=0) if is_negative else np.ones(20, bool), is_feasible)


@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
def test_the_unit_of_a_response_does_not_matter(factor: float) -> None:
    goal = Goal(maximize="a", subject_to=(f"b <= {factor}",))
    o = Objective.fit(goal, ("a", "b"), Y * factor)
    reference = Objective.fit(Goal(maximize="a", subject_to=("b <= 1",)), ("a", "b"), Y)
    np.testing.assert_allclose(o.values(Y * factor, lib=np), reference.values(Y, lib=np), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(o.margins(Y * factor, lib=np), reference.margins(Y, lib=np), rtol=1e-6, atol=1e-9)


def test_what_has_no_value_is_bad_and_infeasible() -> None:
    o = Objective.fit(Goal(maximize="log(a)", subject_to=("sqrt(b) <= 1",)), ("a", "b"), Y)
    assert o.values(np.array([-1.0, 0.5]), lib=np) == BAD
    assert o.margins(np.array([1.0, -0.5]), lib=np)[0] < 0


@pytest.mark.parametrize("readings", [np.full((3, 2), 2.0), np.zeros((2, 2)), np.full((2, 2), -1.0)])
def test_constant_readings_give_a_scale(readings: np.ndarray) -> None:
    o = Objective.fit(Goal(maximize="log(a)", subject_to=("b <= 1",)), ("a", "b"), readings)
    assert o.scale > 0 and all(s > 0 for s in o.margin_scales)


def test_utility_is_the_expected_objective_discounted_by_feasibility() -> None:
    o = Objective(Goal(maximize="a", subject_to=("b <= 1",)), ("a", "b"), 0.0, 1.0, (1.0,))
    mean, sd = np.array([[3.0, 1.0], [3.0, 0.0]]), np.array([[0.5, 0.2], [0.5, 0.2]])
    values, feasible = expected(o, mean, sd)
    np.testing.assert_allclose(values, 3.0, atol=1e-9)  # linear: mirrored draws make it exact
    np.testing.assert_allclose(feasible, [0.5, 1.0], atol=1e-3)
    np.testing.assert_allclose(utility(o, mean, sd, 1.0), [1.0, 2.0], atol=5e-3)


def test_a_band_of_outcome_constraints_is_kept_as_often_as_its_response_is_inside() -> None:
    mean, sd = np.array([[3.0, 1.5]]), np.array([[0.5, 1.0]])
    o = Objective(Goal(maximize="a", subject_to=("b >= 1", "b <= 2")), ("a", "b"), 0.0, 1.0, (1.0, 1.0))
    np.testing.assert_allclose(expected(o, mean, sd)[1], 0.38292, atol=1e-4)
    # not linear, and the one says what the other says: log(b) <= log(2) for b > 0
    o = Objective(Goal(maximize="a", subject_to=("b >= 1", "exp(b) <= 7.389")), ("a", "b"), 0.0, 1.0, (1.0, 1.0))
    alone = Objective(Goal(maximize="a", subject_to=("exp(b) <= 7.389",)), ("a", "b"), 0.0, 1.0, (1.0,))
    assert 0 <= expected(o, mean, sd)[1][0] < 0.8 * expected(alone, mean, sd)[1][0]
