"""The priorities: initial designs leave room for the goal, broken sources are left alone, money is counted whole."""

from __future__ import annotations

from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.decide import n_initial
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.records import Failed, Proposed
from closedloop.controller.state import State


def source(kind: str, *, cost: dict, fails_after: int | None = None, reading: dict | None = None) -> type:
    n = 0

    def f(**x: float) -> object:
        nonlocal n
        n += 1
        if fails_after is not None and n > fails_after:
            raise RuntimeError(f"{kind} licence expired")
        values = {"y": -sum((v - 0.4) ** 2 for v in x.values())}
        return cl.Reading(values=values, **reading) if reading else values

    return (cl.instrument if kind == "instrument" else cl.simulator)(cost=cost)(f)


def campaign(n_parameters: int = 2, **changes: object) -> cl.Campaign:
    return cl.Campaign(
        **{
            "name": "d",
            "parameters": {f"x{k}": {"low": 0, "high": 1} for k in range(n_parameters)},
            "responses": ["y"],
            "goal": {"maximize": "y"},
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("n_parameters", "cost", "budget"),
    [(6, {}, {"trials": 10}), (6, {"money": 10}, {"money": 120}), (2, {"money": 10}, {"money": 60})],
)
def test_the_initial_design_of_a_simulator_leaves_most_of_the_budget(
    n_parameters: int, cost: dict, budget: dict, tmp_path: Path
) -> None:
    sources = {"lab": source("instrument", cost=cost), "model": source("simulator", cost=cost)}
    c = campaign(n_parameters, sources=sources, budget=budget)
    limit = next(iter(budget.values()))
    assert n_initial(State(c.resolve()), "model") * cost.get("money", 1) <= 0.25 * limit
    state = cl.run(c, ledger=tmp_path / "l.db", executor="inline").state
    assert state.n_readings("lab") >= 0.5 * len(state.trials)


def test_a_broken_simulator_is_left_alone_and_the_campaign_goes_on(tmp_path: Path) -> None:
    sources = {
        "lab": source("instrument", cost={"money": 5}),
        "model": source("simulator", cost={"money": 0.5}, fails_after=9),
    }
    result = cl.run(campaign(sources=sources, budget={"money": 60}), ledger=tmp_path / "l.db", executor="inline")
    failed = [t for _, t in result.state.trials.items() if t.status == "failed"]
    assert len(failed) <= 5
    assert result.state.n_readings("lab") >= 10
    assert "budget spent" in result.why_stopped


def test_the_reason_of_a_stop_is_the_target_s_own(tmp_path: Path) -> None:
    sources = {
        "lab": source("instrument", cost={"money": 5}, fails_after=2),
        "model": source("simulator", cost={"money": 0.5}, fails_after=10),
    }
    result = cl.run(campaign(sources=sources, budget={"money": 200}), ledger=tmp_path / "l.db", executor="inline")
    assert "'lab' failed 5 times in a row" in result.why_stopped
    assert "instrument licence" in result.why_stopped


def test_a_driver_cannot_earn_money_or_report_nonsense(tmp_path: Path) -> None:
    for reading in ({"cost": {"money": -5}}, {"sd": {"y": -1}}, {"achieved": {"x9": 1.0}}, {"achieved": {"x0": "hi"}}):
        lab = source("instrument", cost={"money": 2}, reading=reading)
        path = tmp_path / f"{len(str(reading))}.db"
        result = cl.run(campaign(sources={"lab": lab}, budget={"money": 6}), ledger=path, executor="inline")
        assert result.state.n_readings("lab") == 0
        events = ledger_reader.events(path)
        assert {e.cause for e in events if isinstance(e, Failed)} <= {"invalid", "error"}
        assert len([e for e in events if isinstance(e, Proposed)]) == 3


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e12, 1e-12])
def test_readings_of_any_scale_give_decisions(scale: float, tmp_path: Path) -> None:
    @cl.instrument(cost={"money": 1})
    def lab(x0: float, x1: float) -> dict:
        return {"y": scale * (1 + x0 - x1)}

    result = cl.run(campaign(sources={"lab": lab}, budget={"money": 9}), ledger=tmp_path / "l.db", executor="inline")
    assert result.state.n_readings("lab") == 9


def test_fault_32_a_reading_at_the_end_of_the_numbers_ends_no_campaign(tmp_path: Path) -> None:
    n = 0

    @cl.instrument(cost={"money": 1})
    def lab(x0: float, x1: float) -> dict:
        nonlocal n
        n += 1
        return {"y": 1.7e308 if n == 5 else x0 - x1}

    result = cl.run(campaign(sources={"lab": lab}, budget={"money": 12}), ledger=tmp_path / "l.db", executor="inline")
    assert len(result.state.trials) == 12
    assert cl.run(campaign(sources={"lab": lab}, budget={"money": 12}), ledger=tmp_path / "l.db", executor="inline")


def test_a_goal_without_a_value_has_no_best(tmp_path: Path) -> None:
    c = campaign(sources={"lab": source("instrument", cost={})}, goal={"maximize": "log(y - 1)"}, budget={"trials": 6})
    result = cl.run(c, ledger=tmp_path / "l.db", executor="inline")
    assert result.best is None
    assert result.state.n_readings("lab") == 6


def test_sources_that_a_hybrid_cannot_use_are_not_given_to_it() -> None:
    @cl.simulator(unknowns={"k": 1.0})
    def model(k: float, **x: float) -> dict:
        return {"y": k}

    lab, other = source("instrument", cost={}), source("simulator", cost={})
    unknowns = {"k": {"normal": [1, 0.1]}}
    sources = {"lab": lab, "model": {"simulator": model, "unknowns": unknowns}, "other": other}
    assert campaign(sources=sources, budget={"trials": 9}).belief_kind == "surrogate"
    with pytest.raises(cl.CampaignError, match="would learn nothing from other"):
        campaign(sources=sources, budget={"trials": 9}, belief="hybrid")
    del sources["other"]
    assert campaign(sources=sources, budget={"trials": 9}).belief_kind == "hybrid"


@pytest.mark.parametrize(
    ("cost", "budget", "says"),
    [
        ({"money": 0}, {"money": 5}, "would never end"),
        ({"time": "nan s"}, {"time": 5}, "not a duration"),
        ({"time": True}, {"time": 5}, "is not an amount"),
        ({"money": float("nan")}, {"money": 5}, "finite"),
    ],
)
def test_costs_that_would_never_end_are_refused(cost: dict, budget: dict, says: str) -> None:
    with pytest.raises(cl.CampaignError, match=says):
        campaign(sources={"lab": source("instrument", cost=cost)}, budget=budget)


def test_an_instrument_whose_simulator_is_broken_gets_a_whole_initial_design(tmp_path: Path) -> None:
    @cl.simulator(cost={"money": 0.1}, unknowns={"k": 1.0})
    def model(k: float, **x: float) -> dict:
        raise RuntimeError("no licence")

    sources = {
        "lab": source("instrument", cost={"money": 1}),
        "model": {"simulator": model, "cost": {"money": 0.1}, "unknowns": {"k": {"normal": [1, 0.1]}}},
    }
    c = campaign(3, sources=sources, budget={"money": 25})
    result = cl.run(c, ledger=tmp_path / "l.db", executor="inline")
    measured = result.state.observed("lab")
    initial = [t for t in measured if "initial design" in t.trial.why.text]
    assert c.belief_kind == "hybrid"
    assert len(initial) == 6
    assert len(measured) > 20
    assert result.best.objective > -0.02
