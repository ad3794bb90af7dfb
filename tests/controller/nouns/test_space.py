"""The space: there and back, rounding, constraints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from closedloop.controller.errors import CampaignError
from closedloop.controller.expressions import Constraint
from closedloop.controller.feasible import find_feasible
from closedloop.controller.parameters import Parameter
from closedloop.controller.space import Space

ADAPTER = TypeAdapter(Parameter)


def space(constraints: tuple[str, ...] = (), **parameters: dict) -> Space:
    return Space(
        {n: ADAPTER.validate_python(p) for n, p in parameters.items()},
        tuple(Constraint(c) for c in constraints),
    )


MIXED = space(
    t={"low": 30, "high": 120, "unit": "degC"},
    rate={"low": 1e-6, "high": 1e3, "scale": "log"},
    n={"kind": "integer", "low": -2, "high": 9},
    dose={"low": 0.1, "high": 0.9, "step": 0.1},
    size={"levels": [1, 5, 20]},
    grade={"levels": ["low", "mid", "high"]},
    catalyst={"choices": ["A", "no", "C"]},
)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=7, max_size=7))
def test_there_and_back(quantiles: list[float]) -> None:
    """decode(encode(s)) == s, to the bit, for every setting that the space gives out."""
    setting = MIXED.decode(MIXED.from_quantiles(np.array([quantiles]))[0])
    assert MIXED.decode(MIXED.encode(setting)) == setting
    assert MIXED.check(setting) == setting


NUMBERS = space(
    a={"low": -1, "high": 1},
    b={"low": 1e-9, "high": 1e6, "scale": "log"},
    c={"low": 1e6, "high": 1e6 + 1},
    d={"low": -3e8, "high": 2e-3},
)


@given(st.floats(-1, 1), st.floats(1e-9, 1e6), st.floats(1e6, 1e6 + 1), st.floats(-3e8, 2e-3))
def test_there_and_back_from_any_number(a: float, b: float, c: float, d: float) -> None:
    """decode(encode(s)) == s for every setting that a person may write, once it was checked."""
    setting = NUMBERS.check({"a": a, "b": b, "c": c, "d": d})
    assert NUMBERS.decode(NUMBERS.encode(setting)) == setting
    assert setting["a"] == pytest.approx(a, abs=1e-11)


@given(st.lists(st.floats(-0.5, 1.5), min_size=MIXED.n_columns, max_size=MIXED.n_columns))
def test_rounding_gives_valid_rows_and_is_idempotent(row: list[float]) -> None:
    X = MIXED.round(np.array([row]))
    np.testing.assert_array_equal(MIXED.round(X), X)
    np.testing.assert_allclose(MIXED.encode(MIXED.decode(X[0])), X[0], atol=1e-11)


def test_each_value_of_a_discrete_parameter_has_equal_weight() -> None:
    X = MIXED.from_quantiles(np.tile(np.linspace(0, 1, 3000, endpoint=False)[:, None], 7))
    values = [MIXED.decode(x) for x in X]
    for name, n in (("n", 12), ("dose", 9), ("size", 3), ("grade", 3), ("catalyst", 3)):
        counts = [sum(v[name] == u for v in values) for u in {v[name] for v in values}]
        assert len(counts) == n
        assert max(counts) - min(counts) <= 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"t": 121}, "t=121: 121 is outside 30.0 to 120.0"),
        ({"t": float("nan")}, "not a finite number"),
        ({"t": True}, "not a finite number"),
        ({"n": 2.5}, "not a whole number"),
        ({"dose": 0.15}, "not on the steps"),
        ({"grade": "huge"}, "not one of low, mid, high"),
        ({"catalyst": "B"}, "not one of A, no, C"),
        ({"flow": 1}, "flow, which is no parameter"),
    ],
)
def test_a_bad_setting_is_refused_by_name_value_and_rule(change: dict, says: str) -> None:
    good = MIXED.decode(MIXED.from_quantiles(np.full((1, 7), 0.4))[0])
    with pytest.raises(CampaignError, match=says.replace("(", r"\(")):
        MIXED.check({**good, **change})


@given(st.integers(0, 2**40))
def test_feasible_settings_are_feasible(seed: int) -> None:
    s = space(("a + 2 * b <= 1.2", "a * b >= 0.1"), a={"low": 0, "high": 1}, b={"low": 0, "high": 2})
    X = find_feasible(s, 5, seed=seed)
    assert X is not None
    assert s.is_feasible(X).all()
    for x in X:
        s.check(s.decode(x))


def test_a_region_too_small_to_be_hit_is_reached() -> None:
    s = space(
        ("a + b + c >= 1", "a + b + c <= 1.000001", "a * b >= 0.05"),
        **{n: {"low": 0, "high": 1} for n in "abc"},
    )
    X = find_feasible(s, 4)
    assert X is not None
    assert s.is_feasible(X).all()
    assert len(np.unique(X.round(6), axis=0)) == 4


def test_an_empty_region_is_recognised() -> None:
    assert find_feasible(space(("a >= 0.9", "a <= 0.1"), a={"low": 0, "high": 1}), 1) is None
