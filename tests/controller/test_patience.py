"""How long a run waits where only people can go on: for what they were asked, for ever, unless it is told otherwise."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller import steering
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.records import Approved, Observed, Reading


@cl.instrument(cost={"money": 1})
def oven(x: float) -> dict:
    return {"y": x}


def declared(n_trials: int = 1, **oven_has: object) -> cl.Campaign:
    return cl.Campaign(
        name="slow",
        parameters={"x": {"low": 0, "high": 1}},
        responses=["y"],
        sources={"oven": oven_has or {"instrument": oven}},
        goal={"maximize": "y"},
        budget={"trials": n_trials},
        belief="climatology",
    )


MANUAL = {"instrument": "manual", "cost": {"money": 1}}
ASKED = {"instrument": oven, "approval": {"always": True}}
ANSWERS = [(MANUAL, Observed(trial=1, reading=Reading(values={"y": 1.0}))), (ASKED, Approved(trial=1, by="ann"))]


@pytest.mark.parametrize(("source", "answer"), ANSWERS)
@pytest.mark.parametrize("patience_s", [0.0, 0.3])
def test_patience_ends_and_the_same_call_goes_on(
    tmp_path: Path, source: dict, answer: object, patience_s: float
) -> None:
    path, began = tmp_path / "l.db", time.monotonic()
    result = cl.run(declared(**source), ledger=path, executor="inline", patience_s=patience_s)
    assert patience_s <= time.monotonic() - began < 20
    assert not result.state.stopped
    assert result.why_stopped.startswith("trial 1 waits for ")
    steering.say(path, None, answer)
    assert cl.run(declared(**source), ledger=path, executor="inline", patience_s=patience_s).state.stopped


@pytest.mark.parametrize(("source", "answer"), ANSWERS)
def test_what_people_were_asked_is_waited_for_unless_patience_is_given(
    tmp_path: Path, source: dict, answer: object
) -> None:
    path, results = tmp_path / "l.db", []
    running = threading.Thread(
        target=lambda: results.append(cl.run(declared(**source), ledger=path, executor="inline")), daemon=True
    )
    running.start()
    end = time.monotonic() + 30
    while not path.exists() or "proposed" not in {e.kind for e in _events(path)}:
        assert time.monotonic() < end
        time.sleep(0.05)
    running.join(1.0)
    assert running.is_alive(), "it gave up on the person who measures"
    steering.say(path, None, answer)
    running.join(30)
    assert results[0].state.stopped


def test_a_pause_is_not_waited_for(tmp_path: Path) -> None:
    @cl.instrument(cost={"money": 1})
    def dry(x: float) -> dict:
        raise RuntimeError("the pump is dry")

    source = {"instrument": dry, "on_failure": {"breaker": 1}}
    campaign = declared(9, **source)
    assert "the pump is dry" in cl.run(campaign, ledger=tmp_path / "l.db", executor="inline").why_stopped


def _events(path: Path) -> list:
    try:
        return ledger_reader.events(path)
    except cl.ClosedLoopError:
        return []
