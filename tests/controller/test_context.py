"""A context that was measured: rules to stop, the recommendation and a replay see old settings at the context of now."""

from __future__ import annotations

from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.ledger.reader import events
from closedloop.controller.replaying import recompute

N = iter(range(10**6))


@cl.instrument(cost={"money": 1})
def oven(x: float) -> cl.Reading:
    ambient = 20.0 + (next(N) * 7 % 10) / 3.0
    return cl.Reading(values={"y": -((x - 0.3) ** 2) + 0.01 * ambient}, achieved={"ambient": ambient})


def campaign(**changes: object) -> cl.Campaign:
    declared: dict[str, object] = {
        "name": "t",
        "parameters": {"x": {"low": 0, "high": 1}, "ambient": {"kind": "context", "low": 10, "high": 30}},
        "responses": ["y"],
        "sources": {"lab": oven},
        "goal": {"maximize": "y"},
        "budget": {"money": 12},
    }
    return cl.Campaign(**{**declared, **changes})


@pytest.mark.parametrize("stop", ["target_reached(5)", "regret_below(1e-9)", None])
def test_a_context_that_never_repeats_breaks_neither_rules_nor_recommendation(stop: str | None, tmp_path: Path) -> None:
    result = cl.run(campaign(stop=stop), ledger=tmp_path / "l.db", executor="inline")
    assert result.spent["money"] == 12
    assert result.recommended is not None
    assert float(result.recommended.setting["x"]) == pytest.approx(0.3, abs=0.1)


def test_a_context_of_many_digits_replays(tmp_path: Path) -> None:
    with cl.Session(campaign(), ledger=tmp_path / "l.db") as session:
        for k in range(9):
            (trial,) = session.suggest(1, context={"ambient": 20.0 + k / 7.0 + 1e-13})
            session.ingest(trial.number, oven_reading(float(trial.setting["x"]), 20.0 + k / 7.0))
    found = list(recompute(events(tmp_path / "l.db", "t")))
    assert found and all(f.is_same() for f in found)


def oven_reading(x: float, ambient: float) -> cl.Reading:
    return cl.Reading(values={"y": -((x - 0.3) ** 2) + 0.01 * ambient}, achieved={"ambient": ambient})


def test_a_predicate_that_is_defined_again_is_asked_anew(tmp_path: Path) -> None:
    def run(allowed: object, name: str) -> list[float]:
        c = campaign(
            name=name,
            parameters={"a": {"low": 0, "high": 1}, "b": {"low": 0, "high": 1}},
            sources={"lab": {"instrument": "closedloop.instruments.manual:Manual", "cost": {"money": 1}}},
            constraints=[{"predicate": allowed}],
        )
        with cl.Session(c, ledger=tmp_path / "p.db") as session:
            return [float(t.setting["a"]) + float(t.setting["b"]) for t in session.suggest(3)]

    def first() -> object:
        def ok(s: dict[str, float]) -> bool:
            return s["a"] + s["b"] <= 0.7

        return ok

    def second() -> object:
        def ok(s: dict[str, float]) -> bool:
            return s["a"] + s["b"] >= 1.3

        ok.__qualname__ = first().__qualname__  # type: ignore[attr-defined]
        return ok

    assert max(run(first(), "one")) <= 0.7
    assert min(run(second(), "two")) >= 1.3


def test_a_small_budget_keeps_half_for_what_was_learned(tmp_path: Path) -> None:
    c = campaign(
        budget={"money": 4},
        sources={"lab": {"instrument": "closedloop.instruments.manual:Manual", "cost": {"money": 1}}},
    )
    with cl.Session(c, ledger=tmp_path / "l.db") as session:
        whys = []
        for _ in range(4):
            (trial,) = session.suggest(1)
            whys.append(trial.why.text)
            session.ingest(trial.number, {"y": float(trial.setting["x"])})
    assert ["initial design" in w for w in whys] == [True, True, False, False]
