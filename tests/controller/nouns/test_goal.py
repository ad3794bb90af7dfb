"""Every kind of goal: what it says, what it refuses, and that it round-trips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from closedloop.controller.campaign import Campaign
from closedloop.controller.errors import CampaignError
from closedloop.controller.goal import Goal
from closedloop.controller.pareto import compromise, corner, dominates, front_of, hypervolume


def declared(goal: object, **changes: object) -> dict:
    return {
        "name": "t",
        "parameters": {"T": {"low": 20, "high": 120}, "solvent": {"choices": ["A", "B"]}},
        "responses": ["yield", "cost", "ph"],
        "sources": {"lab": {"instrument": "x:Lab", "cost": {"money": 10}}},
        "goal": goal,
        "budget": {"money": 300},
        **changes,
    }


GOALS = [
    ({"maximize": ["yield", "ph"]}, "trade_off", "maximize yield, maximize ph"),
    ({"maximize": ["yield"]}, "optimise", "maximize yield"),
    (
        {"maximize": "yield", "minimize": "cost", "thresholds": {"yield": 60}},
        "trade_off",
        "maximize yield, minimize cost",
    ),
    ({"target": "ph", "range": [6.8, 7.2]}, "optimise", "keep ph within 6.8 to 7.2"),
    ({"target": "ph", "value": 7}, "optimise", "reach ph = 7"),
    ({"learn": ["yield", "ph"]}, "learn", "learn yield, ph everywhere"),
    ({"map": "yield >= 50"}, "map", "map where yield >= 50"),
    (
        {"maximize": "yield", "risk": {"over": {"T": 2.0}}},
        "optimise",
        "maximize yield, mean of the worst 10 % under T ± 2",
    ),
]


@pytest.mark.parametrize(("goal", "kind", "words"), GOALS)
def test_a_goal_says_what_it_is_and_round_trips(goal: dict, kind: str, words: str) -> None:
    campaign = Campaign(**declared(goal))
    assert (campaign.goal.kind, campaign.goal.words) == (kind, words)
    assert Campaign(**campaign.to_dict()) == campaign


REFUSED = [
    ({"maximize": "yeild"}, "'yeild' is no response; did you mean 'yield'?"),
    ({"learn": "y"}, "'y' is no response"),
    ({"map": "yield >= 5", "subject_to": ["cost <= 3"]}, "add the conditions to map"),
    ({"maximize": "yield", "thresholds": {"yield": 6}}, "belong to a trade-off"),
    ({"maximize": ["yield", "ph"], "thresholds": {"cost": 6}}, "thresholds.cost: is no objective"),
    ({"maximize": "yield", "minimize": " yield"}, "two aims for one expression"),
    ({"maximize": "yield", "learn": "ph"}, "exactly one of maximize/minimize/target"),
    ({}, "not none"),
    ({"target": "ph"}, "target and value go together"),
    ({"target": "ph", "value": 7, "range": [6, 8]}, "two aims for one target"),
    ({"target": "ph", "range": [8, 6]}, "low end must be below"),
    ({"target": "ph", "range": 8}, "write both ends"),
    ({"maximize": []}, "must be a list of expressions"),
    ({"maximize": 3}, "neither an expression nor a list"),
    ({"maximize": "yield - yield"}, "is always 0"),
    ({"maximize": "yield ** 9999"}, "has no usable finite value"),
    ({"maximize": "1 / yield"}, "yield = 1e-07 already gives 1e+07; keep the divisor away from 0"),
    ({"maximize": "yield / cost"}, "divides by what can be 0"),
    ({"minimize": "1 / (3 - yield)"}, "divides by what can be 0"),
    ({"maximize": "yield", "subject_to": ["2 * ph >= 14", "ph <= 7"]}, "{target: ph, value: 7}"),
    ({"map": ["ph >= 7", "ph <= 7"]}, "leave ph the one value 7"),
    ({"maximize": "sqrt(0 - 1 - yield ** 2)"}, "no finite value"),
    ({"maximize": "3"}, "names no response"),
    ({"map": "3 >= 2"}, "names no response"),
    ({"maximize": "yield", "subject_to": ["cost <= 3", "cost >= 4"]}, "cannot both hold"),
    ({"learn": ["ph", "ph"]}, "repeats a response"),
    ({"maximize": ["yield", "ph"], "risk": {"over": {"T": 2}}}, "risk: is for a goal with one"),
    ({"maximize": "yield", "risk": {"over": {"solvent": 2}}}, "is no continuous parameter"),
    ({"maximize": "yield", "risk": {"over": {"T": 80}}}, "more than half of the parameter's range"),
    ({"maximize": "yield", "risk": {"level": 0.9}}, "goal.risk.over: is missing"),
    ({"maximize": [f"yield + {k}" for k in range(7)]}, "more than 6"),
]


@pytest.mark.parametrize(("goal", "words"), REFUSED)
def test_a_goal_that_makes_no_sense_is_refused_with_a_remedy(goal: dict, words: str) -> None:
    with pytest.raises(CampaignError) as error:
        Campaign(**declared(goal))
    assert words in str(error.value)


@pytest.mark.parametrize(
    "goal",
    [
        {"maximize": "yield - 0.1 * cost"},  # as unbounded as the responses are, and normal
        {"maximize": "yield / (yield + cost)"},  # a selectivity: no pole at readings that can be
        {"maximize": "yield / max(cost, 0.01)"},  # the remedy
        {"minimize": "1 / yield"},
        {"maximize": "1 / (1 + yield ** 2)"},
        {"minimize": "log(cost)"},
        {"target": "1 / ph", "value": 0.1},
        {"maximize": "yield", "subject_to": ["ph >= 7", "ph <= 7.1"]},
    ],
)
def test_a_goal_that_only_looks_unbounded_is_accepted(goal: dict) -> None:
    assert Campaign(**declared(goal)).goal.names


@pytest.mark.parametrize(
    ("switching", "words"),
    [
        ({"TT": 1.0}, "is no parameter; did you mean 'T'?"),
        ({"T": {"gold": 1.0}}, "is no resource of the budget"),
        ({"T": -1.0}, "at least 0"),
    ],
)
def test_switching_costs_name_parameters_and_resources(switching: dict, words: str) -> None:
    sources = {"lab": {"instrument": "x:Lab", "cost": {"money": 10}, "switching": switching}}
    with pytest.raises(CampaignError) as error:
        Campaign(**declared({"maximize": "yield"}, sources=sources))
    assert words in str(error.value)


def test_within_a_range_all_values_are_equally_good_in_every_library() -> None:
    goal = Goal(target="ph", range=(6.8, 7.2))
    x = np.array([6.0, 6.8, 7.0, 7.2, 8.0])
    expected = [-0.8, 0.0, 0.0, 0.0, -0.8]
    np.testing.assert_allclose(goal.objective({"ph": x}, lib=np), expected, atol=1e-12)
    np.testing.assert_allclose(goal.objective({"ph": torch.tensor(x)}, lib=torch).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose([goal.objective({"ph": v}) for v in x], expected, atol=1e-12)


def test_a_front_is_what_none_dominates_and_its_volume_is_botorchs() -> None:
    from botorch.utils.multi_objective.hypervolume import Hypervolume
    from botorch.utils.multi_objective.pareto import is_non_dominated

    for k in (2, 3, 4):
        Y = np.random.default_rng(k).random((25, k))
        points = [tuple(row) for row in Y.tolist()]
        kept = front_of(points)
        assert kept == np.flatnonzero(is_non_dominated(torch.tensor(Y)).numpy()).tolist()
        assert not any(dominates(points[a], points[b]) for a in kept for b in kept)
        reference = corner([points[j] for j in kept])
        volume = Hypervolume(torch.tensor(reference)).compute(torch.tensor(Y[kept]))
        assert hypervolume(points, reference) == pytest.approx(volume)
    assert compromise([(0.0, 1.0), (0.9, 0.9), (1.0, 0.0)]) == 1
    assert corner([(1.0, 5.0), (2.0, 3.0)], [None, 4.0]) == (0.9, 4.0)
