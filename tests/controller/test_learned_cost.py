"""What trials cost, learned from what sources report: forecast of the next run's cost, and its use in decisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import closedloop as cl
from closedloop.controller.belief.cost import MIN_COSTS, CostModel
from closedloop.controller.costing import affordable, expected_cost
from closedloop.controller.decide import decide
from closedloop.controller.ledger import reader
from closedloop.controller.replaying import recompute

COSTS = {
    "a decade over the setting": lambda x, k: 10.0 ** x[:, 0],
    "a decade, not in the logarithm": lambda x, k: 1.0 + 9.0 * x[:, 0] ** 2 * (0.5 + 0.5 * x[:, 1]),
    "drifting": lambda x, k: 2.0 * 1.04**k,
    "drifting, over the setting": lambda x, k: (1.0 + 0.05 * k) * 5.0 ** x[:, 1],
    "the same everywhere": lambda x, k: 3.0 + 0 * k,
}


@pytest.mark.parametrize("kind", COSTS)
def test_the_next_cost_is_forecast_within_a_fifth_after_twenty_runs(kind: str) -> None:
    errors = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, k = rng.random((21, 2)), np.arange(21)
        costs = COSTS[kind](X, k) * np.exp(0.03 * rng.standard_normal(21))
        model = CostModel.learn(X[:20], k[:20], costs[:20])
        errors.append(abs(model.at(X[20:], 20)[0] / costs[20] - 1))
    assert np.mean(np.array(errors) <= 0.2) >= 0.9, sorted(errors)[-4:]


def test_a_cost_that_is_noise_is_forecast_by_its_middle() -> None:
    rng = np.random.default_rng(0)
    X = rng.random((40, 2))
    model = CostModel.learn(X, np.arange(40), np.exp(rng.standard_normal(40) * 0.5))
    assert np.ptp(np.log(model.at(rng.random((50, 2)), 40))) < 1.0


def test_costs_of_nothing_and_tiny_costs_are_no_trouble() -> None:
    X = np.random.default_rng(0).random((6, 1))
    assert CostModel.learn(X, np.arange(6), np.zeros(6)).at(X, 6).tolist() == [0.0] * 6
    some = CostModel.learn(X, np.arange(6), np.array([0.0, 0, 1, 1e-300, 2, 1])).at(X, 6)
    assert np.isfinite(some).all() and (some >= 0).all() and (some <= 6).all()


def campaign(cost=None, *, money: float = 60, **changes: object) -> cl.Campaign:
    """A lab that reports its cost; the best at x = 0.3, and a trial dearer by a decade with z, which says nothing."""
    n = 0

    @cl.instrument(cost={"money": 2})
    def lab(x: float, z: float) -> cl.Reading:
        nonlocal n
        n += 1
        reported = {"money": cost(x, z, n)} if cost else {}
        return cl.Reading(values={"y": 5 - 20 * (x - 0.3) ** 2 - 0.2 * z}, cost=reported)

    return cl.Campaign(
        **{
            "name": "c",
            "parameters": {"x": {"low": 0, "high": 1}, "z": {"low": 0, "high": 1}},
            "responses": ["y"],
            "sources": {"lab": lab},
            "goal": {"maximize": "y"},
            "budget": {"money": money},
            **changes,
        }
    )


def test_what_is_reserved_and_decided_is_the_learned_cost(tmp_path: Path) -> None:
    c = campaign(lambda x, z, n: 10.0**z)
    state = cl.run(c, ledger=tmp_path / "l.db", executor="inline").state
    late = [t for n, t in state.trials.items() if n > 10]
    assert late
    for t in late:
        assert t.trial.cost["money"] == pytest.approx(t.reading.cost["money"], rel=0.2)
        assert t.trial.why.figures["expected_money"] == pytest.approx(t.trial.cost["money"])
        assert "expected to cost" in t.trial.why.text
    assert state.spent["money"] <= 60 * 1.05  # what it says that it can pay for, it can
    events = reader.events(tmp_path / "l.db")
    assert all(r.is_same() for r in recompute(events))


def test_cheap_settings_are_preferred_where_they_teach_as_much(tmp_path: Path) -> None:
    state = cl.run(campaign(lambda x, z, n: 10.0**z), ledger=tmp_path / "a.db", executor="inline").state
    chosen = [t.trial.setting["z"] for n, t in sorted(state.trials.items()) if n > 6]
    assert np.mean(chosen) < 0.4


def test_a_setting_that_the_budget_does_not_hold_any_more_is_not_begun(tmp_path: Path) -> None:
    c = campaign(lambda x, z, n: 10.0**z, money=40)
    state = cl.run(c, ledger=tmp_path / "l.db", executor="inline").state
    assert "budget spent" in state.stopped.reason
    assert state.spent["money"] <= 40 * 1.1
    model_state = state
    near = affordable(model_state, "lab", {"x": 0.5, "z": 1.0})
    dear = expected_cost(model_state, "lab", {"x": 0.5, "z": 1.0})["money"]
    assert dear > 5
    assert near == {"x": 0.5, "z": 1.0} or expected_cost(model_state, "lab", near)["money"] < dear


@pytest.mark.parametrize("cost", [None, lambda x, z, n: 2])
def test_where_the_declared_cost_holds_nothing_changes(cost, tmp_path: Path) -> None:
    state = cl.run(campaign(cost, money=20), ledger=tmp_path / "l.db", executor="inline").state
    assert state.learned_costs == {}
    assert len(state.trials) == 10
    assert not any("expected_money" in t.trial.why.figures for t in state.trials.values())


def test_few_reports_count_for_nothing(tmp_path: Path) -> None:
    state = cl.run(campaign(lambda x, z, n: 3, money=3 * MIN_COSTS + 5), ledger=tmp_path / "l.db", executor="inline")
    costs = [t.trial.cost["money"] for _, t in sorted(state.state.trials.items())]
    assert costs[:MIN_COSTS] == [2.0] * MIN_COSTS
    assert costs[MIN_COSTS] == pytest.approx(3.0)


def test_the_way_between_settings_is_not_learned_twice(tmp_path: Path) -> None:
    @cl.instrument(cost={"money": 1})
    def lab(x: float, z: float) -> cl.Reading:
        way = 0.0 if lab_at[0] is None else 2.0 * abs(x - lab_at[0])
        lab_at[0] = x
        return cl.Reading(values={"y": -((x - 0.3) ** 2) - z}, cost={"money": 3.0 + way})

    lab_at: list = [None]
    c = campaign(sources={"lab": {"instrument": lab, "cost": {"money": 1}, "switching": {"x": 2.0}}}, money=50)
    state = cl.run(c, ledger=tmp_path / "l.db", executor="inline").state
    late = [t for n, t in state.trials.items() if n > MIN_COSTS + 1]
    assert late
    assert all(t.trial.cost["money"] == pytest.approx(t.reading.cost["money"], rel=0.05) for t in late)
    assert decide(state) is None
