"""The state: replay is a fold, histories may part, answers count once, budgets are reserved while in flight."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import closedloop as cl
from closedloop.controller.decide import decide
from closedloop.controller.errors import LedgerError
from closedloop.controller.evolve import evolve, replay
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.records import (
    EVENT,
    Amended,
    AnyEvent,
    Observed,
    Proposed,
    Reading,
    Started,
    Trial,
    dump_event,
    load_event,
)
from closedloop.controller.report.story import Story
from closedloop.controller.state import State


@cl.instrument(cost={"money": 3})
def lab(x: float, y: float) -> dict:
    return {"f": (x - 0.3) ** 2 + y}


@cl.simulator(cost={"money": 1})
def model(x: float, y: float) -> dict:
    return {"f": (x - 0.2) ** 2 + y + 0.1}


def declared(**changes: object) -> cl.Campaign:
    return cl.Campaign(
        **{
            "name": "s",
            "parameters": {"x": {"low": 0, "high": 1}, "y": {"low": 0, "high": 1}},
            "responses": ["f"],
            "sources": {"lab": lab, "model": model},
            "goal": {"minimize": "f"},
            "budget": {"money": 32},
            **changes,
        }
    ).resolve()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> list[AnyEvent]:
    path = tmp_path_factory.mktemp("state") / "l.db"
    cl.run(declared(), ledger=path, executor="inline")
    return ledger_reader.events(path)


def summary(state: State) -> tuple:
    return state.seq, dict(state.trials), state.running, state.fresh, state.barren, dict(state.spent), state.stopped


def test_replay_is_a_fold(history: list[AnyEvent]) -> None:
    """replay(a + b) == fold(replay(a), b), at every cut."""
    whole = summary(replay(declared(), history))
    for k in range(len(history) + 1):
        state = replay(declared(), history[:k])
        for event in history[k:]:
            state = evolve(state, event)
        assert summary(state) == whole


def test_every_decision_is_recomputed_from_its_prefix(history: list[AnyEvent]) -> None:
    """Same ledger, same choice: to the bit, beliefs loaded from their dumps."""
    campaign = declared()
    for k, event in enumerate(history):
        if event.kind in ("proposed", "assimilated", "stopped"):
            again = decide(replay(campaign, history[:k]))
            assert again is not None
            assert dump_event(again) == dump_event(event)


def test_every_trial_carries_its_forecast_and_every_reading_its_innovation(history: list[AnyEvent]) -> None:
    state = replay(declared(), history)
    measured = list(state.observed("lab"))
    assert all(t.trial.forecast.mean and t.trial.forecast.sd["f"] > 0 for t in measured)
    for t in measured:
        expected = t.reading.values["f"] - t.trial.forecast.mean["f"]
        assert t.innovation.difference["f"] == expected
        assert t.innovation.z["f"] == expected / t.trial.forecast.sd["f"]


def test_events_round_trip(history: list[AnyEvent]) -> None:
    for event in history:
        assert load_event(dump_event(event), seq=event.seq, time=event.time) == event
        assert EVENT.validate_json(event.model_dump_json()) == event


def test_histories_that_part_do_not_touch_each_other() -> None:
    state = State(declared())
    proposed = Proposed(trial=cl.Trial(number=1, source="lab", setting={"x": 0.5, "y": 0.5}), seq=1)
    state = evolve(state, proposed)
    one = evolve(state, Observed(trial=1, reading=Reading(values={"f": 1.0}), seq=2))
    two = evolve(state, Observed(trial=1, reading=Reading(values={"f": 2.0}), seq=2))
    np.testing.assert_array_equal(one.evidence.of("lab").Y, [[1.0]])
    np.testing.assert_array_equal(two.evidence.of("lab").Y, [[2.0]])
    assert state.n_readings("lab") == 0


def test_an_answer_counts_once() -> None:
    state = evolve(
        State(declared()), Proposed(trial=cl.Trial(number=1, source="lab", setting={"x": 0.5, "y": 0.5}), seq=1)
    )
    state = evolve(state, Observed(trial=1, reading=Reading(values={"f": 1.0}), seq=2))
    with pytest.raises(LedgerError, match="answered before"):
        evolve(state, Observed(trial=1, reading=Reading(values={"f": 1.0}), seq=3))
    with pytest.raises(LedgerError, match="never proposed"):
        evolve(state, Observed(trial=2, reading=Reading(values={"f": 1.0}), seq=3))
    with pytest.raises(LedgerError, match="cannot follow"):
        evolve(state, Observed(trial=1, reading=Reading(values={"f": 1.0}), seq=7))


def test_a_budget_is_reserved_while_in_flight_and_never_exceeded(history: list[AnyEvent]) -> None:
    campaign = declared()
    for k in range(len(history) + 1):
        state = replay(campaign, history[:k])
        assert state.spent.get("money", 0) + state.reserved.get("money", 0) <= 32
    state = replay(campaign, history)
    assert not state.can_afford(campaign.cost_of("lab"))


def test_what_a_trial_really_cost_is_what_is_charged() -> None:
    cost = {"money": 3.0}
    trial = cl.Trial(number=1, source="lab", setting={"x": 0.5, "y": 0.5}, cost=cost)
    state = evolve(State(declared()), Proposed(trial=trial, seq=1))
    assert state.reserved == cost
    state = evolve(state, Observed(trial=1, reading=Reading(values={"f": 1.0}, cost={"money": 1.5}), seq=2))
    assert dict(state.spent) == {"money": 1.5}
    assert state.reserved == {}


@pytest.mark.parametrize(
    ("goal", "best"),
    [
        ({"maximize": "f"}, 3),
        ({"minimize": "f"}, 1),
        ({"target": "f", "value": 2.2}, 2),
        ({"maximize": "f", "subject_to": ["f <= 2.5"]}, 2),
        ({"maximize": "f", "subject_to": ["f >= 9"]}, 3),
        ({"maximize": "f", "subject_to": ["f <= -9"]}, 1),
    ],
)
def test_the_best_reading_keeps_the_constraints(goal: dict, best: int) -> None:
    state = State(declared(goal=goal))
    for n, f in ((1, 1.0), (2, 2.0), (3, 3.0)):
        trial = cl.Trial(number=n, source="lab", setting={"x": 0.1 * n, "y": 0.5})
        state = evolve(state, Proposed(trial=trial, seq=2 * n - 1))
        state = evolve(state, Observed(trial=n, reading=Reading(values={"f": f}), seq=2 * n))
    assert state.best.trial.number == best


def test_fault_33_a_source_that_always_fails_pauses_the_campaign(tmp_path: Path) -> None:
    @cl.instrument(cost={"money": 1})
    def broken(x: float, y: float) -> dict:
        raise RuntimeError("the pump is dry")

    result = cl.run(declared(sources={"lab": broken}), ledger=tmp_path / "l.db", executor="inline")
    assert "failed 5 times in a row" in result.why_stopped
    assert "the pump is dry" in result.why_stopped
    assert result.best is None


@pytest.mark.parametrize(
    ("changes", "best"),
    [
        ({"budget": {"money": 40}}, 1),
        ({"parameters": {"x": {"low": 0.5, "high": 1}, "y": {"low": 0, "high": 1}}}, 2),
        ({"constraints": ["x >= 0.8"]}, 3),
        ({"constraints": ["x >= 0.95"]}, 1),  # nothing lies inside: of all, the best
    ],
)
def test_the_best_lies_in_the_space_as_it_was_amended_where_anything_does(changes: dict, best: int) -> None:
    events: list[AnyEvent] = [Started(campaign=declared().to_dict())]
    for n, x in ((1, 0.3), (2, 0.6), (3, 0.9)):
        events.append(Proposed(trial=Trial(number=n, source="lab", setting={"x": x, "y": 0.0})))
        events.append(Observed(trial=n, reading=Reading(values={"f": float(n)})))
    events.append(Amended(by="ann", changes={"...": 0}, campaign=declared(**changes).to_dict()))
    events = [event.model_copy(update={"seq": k}) for k, event in enumerate(events, 1)]
    state, story = replay(declared(), events), Story.of(events)
    assert state.best.trial.number == story.best.number == best
    assert story.declared.has(story.best.trial.setting) is (changes != {"constraints": ["x >= 0.95"]})
