"""Every kind of space keeps the laws: there and back, feasible after rounding, the same for settings and rows."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import closedloop as cl
from closedloop.controller.design.candidates import discrete_neighbours, pulled_back, raw_candidates
from closedloop.controller.expressions import constraint_of
from closedloop.controller.feasible import Sequence, find_feasible
from closedloop.controller.parameters import Continuous
from closedloop.controller.space import Space

UNIT = {"low": 0, "high": 1}
ABC = dict.fromkeys("abc", UNIT)
SOLVENTS = {"water": (80.1, -1.4), "ethanol": (24.5, -0.3), "hexane": (1.9, 3.9), "toluene": (2.4, 2.7)}


def campaign(**changes: Any) -> cl.Campaign:
    whole: dict[str, Any] = {
        "name": "space",
        "responses": ["y"],
        "sources": {"s": {"instrument": "manual"}},
        "goal": {"maximize": "y"},
        "budget": {"trials": 30},
    }
    return cl.Campaign(**{**whole, **changes})


def is_light(setting: dict[str, Any]) -> bool:
    return bool(setting["a"] + setting["b"] <= 0.8)


SPACES: dict[str, dict[str, Any]] = {
    "sum": {"parameters": ABC, "constraints": ["a + b + c == 1"]},
    "two equalities": {"parameters": ABC, "constraints": ["a + b + c == 1", "a - b == 0.2", "c <= 0.3"]},
    "nonlinear": {"parameters": ABC, "constraints": ["a * b == 0.1", "c <= 0.35"]},
    "steps": {"parameters": {n: {**UNIT, "step": 0.05} for n in "abc"}, "constraints": ["a + b + c == 1"]},
    "whole numbers": {
        "parameters": {n: {"kind": "integer", "low": 0, "high": 20} for n in "abc"},
        "constraints": ["2 * a + 3 * b + 5 * c == 31"],
    },
    "mixed equality": {
        "parameters": {
            **ABC,
            "n": {"kind": "integer", "low": 1, "high": 5},
            "t": {"low": 1e-3, "high": 10, "scale": "log"},
        },
        "constraints": ["a + b + n * t == 2"],
    },
    "large numbers": {
        "parameters": {"a": {"low": 1e6, "high": 1e6 + 1}, "b": {"low": -3e8, "high": 2e8}},
        "constraints": ["a + b == 1e6"],
    },
    "mixture": {
        "parameters": {"t": {"low": 0, "high": 10}},
        "mixtures": {"m": {"of": list("pqrs"), "max_components": 2, "min_share": 0.05}},
    },
    "mixture of steps": {
        "parameters": {n: {"low": 0, "high": 100, "step": 5} for n in "pqrs"},
        "mixtures": {"m": {"of": list("pqrs"), "total": 100, "max_components": 3, "min_share": 0.1}},
    },
    "mixture cut": {
        "parameters": {"p": {"low": 0, "high": 0.3}},
        "mixtures": {"m": {"of": list("pqrs"), "min_components": 2, "max_components": 3, "min_share": 0.05}},
        "constraints": ["p + 2 * q <= 0.5"],
    },
    "descriptors": {
        "parameters": {
            "solvent": {"choices": {n: {"dielectric": d, "log_p": p} for n, (d, p) in SOLVENTS.items()}},
            "t": UNIT,
        }
    },
    "fixed and derived": {
        "parameters": {
            **ABC,
            "flow": {"value": 5},
            "gas": {"value": "N2"},
            "dose": {"derived": "a + b * flow"},
            "double": {"derived": "2 * dose"},
        },
        "constraints": ["double <= 4", "dose >= 1.9"],
    },
    "conditional": {
        "parameters": {
            "catalyst": {"choices": ["A", "B", "C"]},
            "ligand": {**UNIT, "when": "catalyst == 'A'"},
            "base": {"choices": ["x", "y"], "when": {"catalyst": ["A", "B"]}},
            "n": {"kind": "integer", "low": 1, "high": 3, "when": "base == 'x'"},
            **ABC,
        },
        "constraints": ["ligand + a <= 0.5"],
    },
    "context": {
        "parameters": {
            "ambient": {"low": 10, "high": 30, "context": True},
            "batch": {"choices": ["b1", "b2"], "kind": "categorical", "context": True},
            "t": UNIT,
        },
        "constraints": ["20 * t + ambient <= 35"],
    },
    "predicate": {"parameters": ABC, "constraints": ["c <= 0.9", is_light]},
    "candidates": {
        "parameters": {**ABC, "s": {"choices": ["u", "v"]}},
        "candidates": [
            {"a": x, "b": x * x, "c": math.sqrt(x), "s": "uv"[k % 2]} for k, x in enumerate(np.linspace(0, 1, 60))
        ],
        "constraints": ["b <= 0.8"],
    },
    "derived limit": {
        "parameters": {**ABC, "dose": {"derived": "a + b"}},
        "guard": {"limits": {"dose": [0.4, 0.9]}},
    },
}


@pytest.fixture(scope="module", params=SPACES)
def space(request: pytest.FixtureRequest) -> Space:
    c = campaign(**SPACES[request.param])
    return c.spaces["s"]


def assert_is_setting(space: Space, row: np.ndarray) -> None:
    """What a row means keeps all demands, comes back whole, and its equalities hold to 1e-9."""
    setting = space.decode(row)
    assert space.check(setting) == setting
    assert space.decode(space.encode(setting)) == setting
    again = space.encode(setting)
    assert space.is_feasible(again[None])[0]
    numbers = {n: v for n, v in setting.items() if not isinstance(v, str)}
    for e in space.equalities:
        assert abs(e.margin(numbers)) <= 1e-9 * e.size(numbers)
    for m in space.mixtures:
        used = [numbers[n] for n in m.of if numbers[n] != 0]
        assert abs(math.fsum(used) - m.total) <= 1e-14 * m.total  # to rounding: no more adds up
        assert m.min_components <= len(used) <= m.most
        assert min(used) >= m.least * (1 - 1e-9)


def test_sampled_settings_are_settings(space: Space) -> None:
    X = find_feasible(space, 24, seed=3)
    assert X is not None
    assert space.is_feasible(X).all()
    for row in X:
        assert_is_setting(space, row)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_is_rounded_is_a_setting_or_is_known_not_to_be(space: Space, seed: int) -> None:
    X = space.round(np.random.default_rng(seed).uniform(-0.3, 1.3, (8, space.n_columns)))
    np.testing.assert_allclose(space.round(X), X, atol=1e-9)
    ok = space.is_feasible(X)
    for row in X[ok]:
        assert_is_setting(space, row)
    for row in X[~ok]:
        with pytest.raises(cl.CampaignError):
            space.check(space.decode(row))


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_a_search_looks_at_is_a_setting(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    near = find_feasible(space, 3, seed=seed)
    X = raw_candidates(space, near, n=32, seed=1, rng=rng)
    found = [X, discrete_neighbours(space, X[0]), pulled_back(space, near, rng.random(near.shape))]
    assert len(X) >= 4
    for row in np.concatenate(found):
        assert_is_setting(space, row)


def test_a_number_drawn_twice_is_the_same_setting(space: Space) -> None:
    np.testing.assert_array_equal(find_feasible(space, 8, seed=5), find_feasible(space, 8, seed=5))


def test_an_equality_is_sampled_evenly() -> None:
    """Uniform on the simplex is Dirichlet(1, 1, 1): mean 1/3, sd sqrt(1/18)."""
    X = find_feasible(campaign(**SPACES["sum"]).space, 2000, seed=1)
    np.testing.assert_allclose(X.mean(axis=0), 1 / 3, atol=0.01)
    np.testing.assert_allclose(X.std(axis=0), math.sqrt(1 / 18), atol=0.01)


def test_a_mixture_is_sampled_evenly_over_its_faces() -> None:
    s = campaign(parameters={}, mixtures={"m": {"of": list("pqrst"), "max_components": 3}}).space
    X = s.from_quantiles(np.random.default_rng(0).random((6000, s.n_quantiles)))
    n_used = (X > 0).sum(axis=1)
    assert set(n_used) == {1, 2, 3}
    np.testing.assert_allclose([(n_used == k).mean() for k in (1, 2, 3)], 1 / 3, atol=0.03)
    np.testing.assert_allclose((X > 0).mean(axis=0), 0.4, atol=0.03)
    pairs = X[n_used == 2].max(axis=1)
    assert pairs.mean() == pytest.approx(0.75, abs=0.02)  # of two even shares the larger


def test_alike_choices_are_near_each_other_and_descriptors_have_their_own_lengthscales() -> None:
    s = campaign(**SPACES["descriptors"]).space
    row = {n: s.encode({"solvent": n, "t": 0.5})[:2] for n in SOLVENTS}
    assert s.groups == (0, 1, 2)
    assert s.n_groups == 3
    assert np.linalg.norm(row["hexane"] - row["toluene"]) < 0.3 < np.linalg.norm(row["hexane"] - row["water"])
    assert s.decode([0.25, 0.25, 0.5])["solvent"] == "ethanol"


def test_what_is_not_active_is_not_there_and_says_nothing() -> None:
    s = campaign(**SPACES["conditional"]).space
    common = {"catalyst": "C", "a": 0.2, "b": 0.1, "c": 0.3}
    assert s.check(common) == common
    row = s.encode(common)
    moved = row.copy()
    moved[s.columns["ligand"]] = 0.9
    np.testing.assert_array_equal(s.round(moved[None])[0], row)
    with pytest.raises(cl.CampaignError, match="ligand, which is active only where catalyst == 'A'; leave it out"):
        s.check({**common, "ligand": 0.1})
    with pytest.raises(cl.CampaignError, match="lacks ligand, base"):
        s.check({**common, "catalyst": "A"})


def test_a_context_is_kept_wherever_it_was_measured() -> None:
    s = campaign(**SPACES["context"]).space.at({"ambient": 31.5, "batch": "b2"})
    X = find_feasible(s, 10, seed=0)
    found = [s.decode(row) for row in X]
    assert {(f["ambient"], f["batch"]) for f in found} == {(31.5, "b2")}
    assert max(f["t"] for f in found) <= 0.175 + 1e-9  # the constraint speaks of the context too
    assert s.check({"t": 0.1}) == {"ambient": 31.5, "batch": "b2", "t": 0.1}


def test_fixed_and_derived_values_are_put_in_and_held_against_what_is_said() -> None:
    s = campaign(**SPACES["fixed and derived"]).space
    whole = {"a": 0.5, "b": 0.3, "c": 0.1, "flow": 5, "gas": "N2", "dose": 2.0, "double": 4.0}
    assert s.check({"a": 0.5, "b": 0.3, "c": 0.1}) == whole
    assert s.n_columns == 3
    for change, says in (
        ({"flow": 6}, "6 is not the fixed value 5; leave it out"),
        ({"dose": 1.9}, "is derived, and is 2 at this setting"),
        ({"b": 0.31}, "breaks the constraint 'double <= 4'"),
    ):
        with pytest.raises(cl.CampaignError, match=says):
            s.check({"a": 0.5, "b": 0.3, "c": 0.1, **change})


def test_no_product_of_factors_is_made() -> None:
    """40 components of which 5 may be used are 760,098 supports; a thousandth of a second for each would be much."""
    s = campaign(
        parameters={"t": UNIT}, mixtures={"m": {"of": [f"c{k}" for k in range(40)], "max_components": 5}}
    ).space
    X = find_feasible(s, 50)
    assert s.is_feasible(X).all()
    assert len(discrete_neighbours(s, X[0])) <= 128


WHOLE = {"kind": "integer", "low": 1, "high": 1000}
FINE = {"low": 0, "high": 1, "step": 0.001}


@pytest.mark.parametrize(
    ("parameters", "constraints"),
    [
        ({"a": WHOLE, "b": WHOLE, "k": {"choices": ["A", "B"]}}, ["a * b <= 1200", "a * b >= 1199"]),
        ({"a": FINE, "b": FINE}, ["a * b >= 0.5", "a * b <= 0.50001"]),
        ({"a": {**WHOLE, "high": 50}, "b": {"low": 0, "high": 1}}, ["a * b >= 30", "exp(a * b - 30) <= 1.0001"]),
    ],
)
def test_a_narrow_nonlinear_region_of_discrete_parameters_is_reached(parameters: dict, constraints: list) -> None:
    c = campaign(parameters=parameters, constraints=constraints)
    X = find_feasible(c.space, 3)
    assert X is not None and c.space.is_feasible(X).all()
    for x in X:
        c.space.check(c.space.decode(x))


def test_threads_that_share_a_sequence_read_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space({"a": Continuous(low=0, high=1), "b": Continuous(low=0, high=1)})
    alone, shared = Sequence(space, 7), Sequence(space, 7)
    whole = Sequence._block

    def slowly(self: Sequence, Q: np.ndarray) -> np.ndarray:
        time.sleep(0.002)  # others come in between
        return whole(self, Q)

    monkeypatch.setattr(Sequence, "_block", slowly)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(shared.row, range(0, 2000, 100)))
    np.testing.assert_array_equal(rows, [alone.row(k) for k in range(0, 2000, 100)])


def test_no_clock_decides_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import scipy.optimize

    told: list[dict] = []
    whole = scipy.optimize.milp
    monkeypatch.setattr(
        scipy.optimize, "milp", lambda *a, options, **k: told.append(dict(options)) or whole(*a, options=options, **k)
    )
    space = Space({n: Continuous(low=0, high=1) for n in "ab"}, (constraint_of("a + b >= 1.9"),))
    assert find_feasible(space, 2) is not None
    assert told and all("time_limit" not in options and options["node_limit"] > 0 for options in told)
