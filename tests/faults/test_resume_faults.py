"""Death, restart, resume: by the device's own record, nothing is lost, done twice or paid twice."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.ledger import reader
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import AnyEvent, Observed, Proposed, Reading
from closedloop.instruments.mock import Mock


def truth(setting: dict) -> dict:
    return {"y": -((setting["x"] - 0.3) ** 2)}


class Bath(Mock):
    """Remembers what it did, in a file that outlives whoever told it."""

    parameters = ("x",)
    cost = {"money": 2.0}

    def __init__(self, record: str, is_forgetful: bool = False) -> None:
        super().__init__(truth, record=record, is_forgetful=is_forgetful)


@cl.simulator(cost={"money": 1.0})
def model(x: float) -> dict:
    return {"y": -((x - 0.35) ** 2)}


def bath(folder: Path, *, money: float = 16, **says: object) -> cl.Campaign:
    settings = {"record": str(folder / "record"), **says.pop("settings", {})}
    return cl.Campaign(
        name="bath",
        parameters={"x": {"low": 0, "high": 1}},
        responses=["y"],
        sources={"bath": {"instrument": Bath, "cost": {"money": 2}, "settings": settings, **says}},
        goal={"maximize": "y"},
        budget={"money": money},
        belief="climatology",
    )


def measured(folder: Path) -> Counter:
    """How often the device carried out each setting."""
    lines = (folder / "record").read_text().splitlines() if (folder / "record").exists() else []
    entries = [json.loads(line) for line in lines]
    return Counter(
        json.dumps(e["setting"]) for e in entries if "setting" in e and "reading" not in e and "values" not in e
    )


def die_at(campaign: cl.Campaign, path: Path, n: int, *, after: bool) -> bool:
    """Run in a process of its own that is killed at the n-th write from here; whether it lived that long."""
    child = os.fork()
    if child == 0:
        was, count = Ledger.append, 0

        def append(self: Ledger, event: AnyEvent) -> AnyEvent:
            nonlocal count
            count += 1
            if count == n and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            written = was(self, event)
            if count == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return written

        Ledger.append = append
        try:
            cl.run(campaign, ledger=path, executor="inline")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("n", range(2, 12))
def test_fault_09_what_was_in_flight_is_asked_for_and_never_repeated(n: int, after: bool, tmp_path: Path) -> None:
    c = bath(tmp_path)
    assert die_at(c, tmp_path / "l.db", n, after=after)
    state = cl.run(c, ledger=tmp_path / "l.db", executor="inline").state
    assert state.stopped is not None
    assert set(measured(tmp_path).values()) == {1}
    assert len(measured(tmp_path)) == state.n_readings("bath") == 8  # what was done is known, what is known was done


def test_fault_09_a_device_that_remembers_nothing_is_a_question_for_a_person(tmp_path: Path) -> None:
    c = bath(tmp_path, settings={"is_forgetful": True})
    assert die_at(c, tmp_path / "l.db", 3, after=True)  # the intent is written, the command was not sent
    result = cl.run(c, ledger=tmp_path / "l.db", executor="inline", patience_s=0)
    assert result.state.stopped is None
    assert "trial 1 is in doubt" in result.why_stopped
    assert sum(measured(tmp_path).values()) == 0


def test_fault_11_a_result_that_is_told_twice_counts_once(tmp_path: Path) -> None:
    hand = cl.Campaign(
        name="hand",
        parameters={"x": {"low": 0, "high": 1}},
        responses=["y"],
        sources={"hand": {"instrument": "manual", "cost": {"money": 1}}},
        goal={"maximize": "y"},
        budget={"money": 9},
    )
    with cl.Session(hand, ledger=tmp_path / "l.db") as session:
        (trial,) = session.suggest(1)
        said = Observed(trial=trial.number, reading=Reading(values={"y": 1.0}))
        letters = [reader.post(tmp_path / "l.db", "hand", said) for _ in range(2)]
        assert session.pending == ()
        assert session.state.n_readings("hand") == 1
        assert session.state.spent["money"] == 1.0
    events = reader.events(tmp_path / "l.db")
    assert [e.kind for e in events if e.kind in ("observed", "noted")] == ["observed", "noted"]
    assert {e.letter for e in events if e.letter} == set(letters)


def test_fault_12_a_result_after_its_trial_was_given_up_is_late_and_both_facts_stand(tmp_path: Path) -> None:
    c = bath(tmp_path, settings={"is_forgetful": True}, on_unknown="abandon")
    assert die_at(c, tmp_path / "l.db", 3, after=True)
    cl.run(c, ledger=tmp_path / "l.db", executor="inline")
    with cl.Session(c, ledger=tmp_path / "l.db") as session:
        assert session.state.trials[1].status == "failed"
        session.ingest(1, {"y": -0.2})
        assert session.state.trials[1].status == "late"
        spent = dict(session.state.spent)
    with cl.Session(c, ledger=tmp_path / "l.db") as session:
        assert dict(session.state.spent) == spent
    kinds = [e.kind for e in reader.events(tmp_path / "l.db") if getattr(e, "trial", None) == 1]
    assert kinds == ["acting", "failed", "settled", "settled", "observed"]


@pytest.mark.parametrize("n", [2, 5, 9, 14, 18])
def test_fault_13_a_resume_equals_no_interruption(n: int, tmp_path: Path) -> None:
    c = cl.Campaign(
        name="m",
        seed=5,
        parameters={"x": {"low": 0, "high": 1}},
        responses=["y"],
        sources={"model": model},
        goal={"maximize": "y"},
        budget={"trials": 7},
    )
    cl.run(c, ledger=tmp_path / "whole.db", executor="inline")
    assert die_at(c, tmp_path / "cut.db", n, after=n % 2 == 0)
    cl.run(c, ledger=tmp_path / "cut.db", executor="inline")
    settings = [
        [e.trial.setting for e in reader.events(tmp_path / f) if isinstance(e, Proposed)]
        for f in ("whole.db", "cut.db")
    ]
    assert settings[0] == settings[1]


@pytest.mark.parametrize("seed", range(4))
def test_fault_18_five_crashes_spend_no_more_than_the_budget(seed: int, tmp_path: Path) -> None:
    rng, c = random.Random(seed), bath(tmp_path, on_unknown="rerun", settings={"is_forgetful": True})
    for _ in range(5):
        die_at(c, tmp_path / "l.db", rng.randint(2, 9), after=rng.random() < 0.5)
    state = cl.run(c, ledger=tmp_path / "l.db", executor="inline").state
    assert state.stopped is not None
    assert state.spent["money"] <= 16
    assert 2 * sum(measured(tmp_path).values()) <= 16
