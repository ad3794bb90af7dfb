"""What a guard's limits and forbidden regions leave of a space: the same cube, kept to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

import closedloop as cl
from closedloop.controller.expressions import Constraint
from closedloop.controller.feasible import find_feasible
from closedloop.controller.guard.check import Guard
from closedloop.controller.limits import left_of
from closedloop.controller.parameters import Parameter
from closedloop.controller.rules import GuardRules
from closedloop.controller.space import Space

ADAPTER = TypeAdapter(Parameter)
KINDS = {
    "t": {"low": 30, "high": 120},
    "rate": {"low": 1e-6, "high": 1e3, "scale": "log"},
    "n": {"kind": "integer", "low": -2, "high": 9},
    "many": {"kind": "integer", "low": 0, "high": 10**9},
    "dose": {"low": 0.1, "high": 0.9, "step": 0.1},
    "size": {"levels": [5, 1, 20]},
    "catalyst": {"choices": ["A", "B"]},
}
WHOLE = Space({n: ADAPTER.validate_python(p) for n, p in KINDS.items()})


def limited(name: str, a: float, b: float) -> Space:
    return WHOLE.within({name: (min(a, b), max(a, b))})


def ends(name: str) -> st.SearchStrategy:
    p = KINDS[name]
    low, high = (p["low"], p["high"]) if "low" in p else (0, 21)
    on_edges = st.sampled_from([low, high, *([k / 10 for k in range(1, 10)] if name == "dose" else [1, 5, 20])])
    return st.floats(low - 0.1 * (high - low), high + 0.1 * (high - low)) | on_edges.map(float)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_row_comes_in_what_is_decoded_is_within(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([n for n in KINDS if n != "catalyst"]))
    a, b = data.draw(ends(name)), data.draw(ends(name))
    space = limited(name, a, b)
    assume(not space.is_empty)
    row = np.array(data.draw(st.lists(st.floats(-0.2, 1.2), min_size=WHOLE.n_columns, max_size=WHOLE.n_columns)))
    quantiles = np.clip(row[: len(KINDS)], 0.0, 1.0 - 1e-12)
    for X in (space.round(row[None]), space.from_quantiles(quantiles[None])):
        setting = space.decode(X[0])
        assert min(a, b) <= setting[name] <= max(a, b)
        assert space.is_feasible(X)[0]
        assert space.check(setting) == setting == WHOLE.check(setting)
        again = space.encode(setting)[None]  # as the design does with all that it asks for
        assert space.is_feasible(again)[0]
        assert space.decode(space.round(again)[0]) == setting
    wild = WHOLE.round(row[None])
    assert space.is_feasible(wild)[0] == (not space.refusal(space.decode(wild[0])))


@given(st.floats(-1, 1.1), st.floats(-1, 1.1))
def test_limits_are_empty_where_no_value_is_left_and_nowhere_else(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    dose = WHOLE.parameters["dose"]
    left = left_of(dose, low, high)
    assert [k for k in range(9) if low <= dose.values[k] <= high] == list(left.places if left else [])


def test_the_cube_is_the_same_for_all() -> None:
    space = limited("t", 50, 51)
    setting = {**WHOLE.decode(WHOLE.round(np.full((1, WHOLE.n_columns), 0.4))[0]), "t": 50.5}
    np.testing.assert_array_equal(space.encode(setting), WHOLE.encode(setting))
    assert space.within({"t": (50.5, 90)}).limits == (("t", 50.5, 51),)


def test_limits_much_narrower_than_the_space_are_filled() -> None:
    limits = {"t": (90.0, 90.000001), "rate": (1.0, 1.0001), "n": (3, 3), "many": (7, 8), "size": (1, 5)}
    X = find_feasible(WHOLE.within(limits, (Constraint("t + dose >= 90.75"),)), 8)
    settings_ = [WHOLE.decode(x) for x in X]
    assert {s["size"] for s in settings_} == {1, 5}
    assert all(s["n"] == 3 and s["many"] in (7, 8) and s["dose"] <= 0.7 for s in settings_)


FORBIDDEN = ["t + 8 * n >= 115", "size <= 1", "rate * t <= 1e-4", "1 / (n - 4) >= 5", "log(n) >= 2"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 0.999), min_size=7, max_size=7), st.sampled_from(FORBIDDEN))
def test_what_is_feasible_is_what_the_guard_lets_through(quantiles: list[float], text: str) -> None:
    guard = Guard(GuardRules(limits={"t": (40, 100)}, forbidden=(text,)), name="lab")
    space = WHOLE.within({"t": (40, 100)}, (Constraint(text),))
    row = WHOLE.from_quantiles(np.array([quantiles]))
    setting = WHOLE.decode(row[0])
    is_let = guard.refusal(setting, now_s=0.0) is None
    assert bool(space.is_feasible(row)[0]) == is_let == (not space.refusal(setting))


def test_the_edge_of_a_forbidden_region_is_forbidden() -> None:
    space = WHOLE.within({}, (Constraint("t >= 90"),))
    good = WHOLE.decode(WHOLE.round(np.full((1, WHOLE.n_columns), 0.4))[0])
    for t, is_let in ((90.0, False), (89.99999999, True), (90.00000001, False)):
        assert bool(space.is_feasible(space.encode({**good, "t": t})[None])[0]) is is_let


def declared(own: dict | None, **changes: object) -> cl.Campaign:
    return cl.Campaign(
        **{
            "name": "g",
            "parameters": {"t": {"low": 30, "high": 120}, "n": {"kind": "integer", "low": 1, "high": 4}},
            "responses": ["y"],
            "sources": {"hand": {"instrument": "manual", "cost": {"money": 1}, "guard": own}},
            "goal": {"maximize": "y"},
            "budget": {"money": 12},
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("own", "changes", "says"),
    [
        (
            {"limits": {"t": [200, 300]}},
            {},
            r"sources.hand.guard.limits.t = \[200, 300\]: leaves 'hand' no value.*30 to",
        ),
        ({"limits": {"n": [1.2, 1.8]}}, {}, r"guard.limits.n = \[1.2, 1.8\]: leaves"),
        ({"forbidden": ["t >= 20"]}, {}, "sources.hand.guard.forbidden 't >= 20': leaves 'hand' no setting; forbid"),
        ({"limits": {"t": [60, 70]}, "forbidden": ["n >= 3", "t >= 50"]}, {}, "forbidden 't >= 50': leaves.*limits"),
        ({"limits": {"t": [60, 70]}}, {"constraints": ["t <= 50"]}, "limits of t: within them no setting"),
        (None, {"guard": {"forbidden": ["t <= 80", "t >= 70"]}}, r"(?<!\.)guard.forbidden 't <= 80', 't >= 70'"),
    ],
)
def test_a_guard_that_leaves_nothing_is_refused_before_anything_runs(
    own: dict | None, changes: dict, says: str
) -> None:
    with pytest.raises(cl.CampaignError, match=says):
        declared(own, **changes)


def test_a_ledger_of_before_that_rule_still_opens() -> None:
    whole = declared({}).to_dict()
    whole["sources"]["hand"]["guard"] = {"limits": {"t": [200, 300]}}
    assert cl.Campaign.trusted(whole).spaces["hand"].is_empty
