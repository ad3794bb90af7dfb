"""The initial design: one sequence a seed, within the constraints, and no dearer at point 10,000."""

from __future__ import annotations

import time

import numpy as np
import pytest

from closedloop.controller.design.initial import initial_setting, spread_settings
from closedloop.controller.expressions import Constraint
from closedloop.controller.parameters import Categorical, Continuous, Integer
from closedloop.controller.space import Space

CUBE = {"a": Continuous(low=0, high=1), "b": Continuous(low=0, high=1)}


def space(*constraints: str) -> Space:
    return Space(CUBE, tuple(Constraint(c) for c in constraints))


def test_points_are_of_their_seed_whatever_was_asked_before() -> None:
    later = [initial_setting(space(), k, 3) for k in (700, 5, 0)]
    again = [initial_setting(space(), k, 3) for k in (0, 5, 700)]
    assert all(np.array_equal(a, b) for a, b in zip(later, again[::-1], strict=True))
    assert not np.array_equal(initial_setting(space(), 0, 3), initial_setting(space(), 0, 4))
    assert np.array_equal(initial_setting(space(), 1, 2**62 + 1), initial_setting(space(), 1, 2**62 + 1))


def test_the_sequence_fills_the_space_evenly() -> None:
    X = spread_settings(space(), 256, start=0, seed=0)
    counts, *_ = np.histogram2d(X[:, 0], X[:, 1], bins=16, range=[[0, 1], [0, 1]])
    assert (counts == 1).all()  # a (0, 8, 2)-net in base 2


@pytest.mark.parametrize("constraint", ["a + b <= 0.1", "a * b >= 0.9", "a + b >= 1.9999"])
def test_points_keep_the_constraints_narrow_ones_too(constraint: str) -> None:
    s = space(constraint)
    X = np.stack([initial_setting(s, k, 0) for k in range(6)])
    assert s.is_feasible(X).all()
    assert len(np.unique(X, axis=0)) > 1


def test_discrete_values_come_alike_often() -> None:
    s = Space({"k": Categorical(choices=("A", "B", "C", "D")), "n": Integer(low=1, high=4)})
    X = np.stack([initial_setting(s, k, 0) for k in range(64)])
    assert np.array_equal(X, s.round(X))
    assert (X[:, :4].sum(axis=0) == 16).all()


def test_point_ten_thousand_costs_what_the_first_did() -> None:
    s = space("a + b <= 1.2")
    for k in range(10_000):
        initial_setting(s, k, 1)
    began = time.process_time()
    for k in range(9_000, 10_000):
        initial_setting(s, k, 1)
    assert time.process_time() - began < 0.5  # some 0.02 ms each
