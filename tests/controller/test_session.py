"""Sessions: suggest and ingest on the same ledger, with each misuse refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.ledger import audit as ledger_audit
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.records import Observed


def declared(**changes: object) -> cl.Campaign:
    return cl.Campaign(
        **{
            "name": "bench",
            "parameters": {"t": {"low": 10, "high": 20}, "solvent": {"choices": ["water", "dmso"]}},
            "responses": ["y"],
            "sources": {"hand": {"instrument": "closedloop.instruments.manual:Manual", "cost": {"money": 1}}},
            "goal": {"maximize": "y"},
            "budget": {"money": 12},
            **changes,
        }
    )


def truth(setting: dict) -> dict:
    return {"y": -((setting["t"] - 14) ** 2) + (5 if setting["solvent"] == "dmso" else 0)}


def test_a_session_reaches_the_optimum_by_hand(tmp_path: Path) -> None:
    with cl.Session(declared(), ledger=tmp_path / "l.db") as session:
        for _ in range(12):
            (trial,) = session.suggest(1)
            session.ingest(trial.number, truth(trial.setting))
        assert session.best.objective > 4.5
        with pytest.raises(cl.ClosedLoopError, match="does not hold 1 more of 'hand'"):
            session.suggest(1)


def test_pending_suggestions_differ_and_may_be_answered_in_any_order(tmp_path: Path) -> None:
    with cl.Session(declared(), ledger=tmp_path / "l.db") as session:
        for t in session.suggest(4):
            session.ingest(t.number, truth(t.setting))
        batch = session.suggest(3)
        assert len({tuple(t.setting.items()) for t in batch}) == 3
        for t in reversed(batch):
            session.ingest(t.number, truth(t.setting))
        assert session.pending == ()


def test_a_reopened_session_stands_where_it_was(tmp_path: Path) -> None:
    with cl.Session(declared(), ledger=tmp_path / "l.db") as session:
        (trial,) = session.suggest(1)
    with cl.Session(declared(), ledger=tmp_path / "l.db") as session:
        assert session.pending == (trial,)
        with pytest.raises(cl.LeaseHeld):
            cl.Session(declared(), ledger=tmp_path / "l.db")


def test_an_own_experiment_is_forecast_and_counted(tmp_path: Path) -> None:
    with cl.Session(declared(), ledger=tmp_path / "l.db") as session:
        for t in session.suggest(4):
            session.ingest(t.number, truth(t.setting))
        mine = session.add({"t": 14.0, "solvent": "dmso"}, {"y": 5.0})
        assert mine.forecast.mean
        assert session.best.number == mine.number
        assert session.state.spent["money"] == 5


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"z": 1.0}, "without \\['y'\\]"),
        ({"y": float("nan")}, "finite"),
        ({"y": "5"}, "number"),
        ({"y": True}, "number"),
        ([5.0], "dict"),
    ],
)
def test_a_bad_answer_is_refused_and_nothing_is_lost(answer: object, says: str, tmp_path: Path) -> None:
    with cl.Session(declared(), ledger=tmp_path / "l.db") as session:
        (trial,) = session.suggest(1)
        with pytest.raises(cl.CampaignError, match=says):
            session.ingest(trial.number, answer)
        assert [t.number for t in session.pending] == [trial.number]
        session.ingest(trial.number, {"y": 1.0})
        with pytest.raises(cl.CampaignError, match="answered before \\(observed\\); pending: none"):
            session.ingest(trial.number, {"y": 1.0})
        with pytest.raises(cl.CampaignError, match="never proposed"):
            session.fail(99, "dropped")
        with pytest.raises(cl.CampaignError, match="t=25"):
            session.add({"t": 25, "solvent": "dmso"}, {"y": 1.0})
        with pytest.raises(cl.CampaignError, match="at least one"):
            session.suggest(0)
    assert ledger_audit.verify(tmp_path / "l.db") == []


def test_another_declaration_under_the_same_name_is_refused(tmp_path: Path) -> None:
    with cl.Session(declared(), ledger=tmp_path / "l.db"):
        pass
    with pytest.raises(cl.CampaignError, match="budget: differs from what campaign 'bench' has in this ledger"):
        cl.Session(declared(budget={"money": 13}), ledger=tmp_path / "l.db")
    with cl.Session(declared(budget={"money": 13}, name="other"), ledger=tmp_path / "l.db"):
        pass
    assert ledger_reader.campaigns(tmp_path / "l.db") == ["bench", "other"]


def with_model(**changes: object) -> cl.Campaign:
    @cl.simulator(cost={"money": 0.5})
    def model(t: float, solvent: str) -> dict:
        return truth({"t": t + 0.5, "solvent": solvent})

    hand = {"instrument": "manual", "cost": {"money": 1}}
    return declared(sources={"hand": hand, "model": model}, budget={"money": 1000}, **changes)


def test_a_batch_is_given_at_the_start_and_of_any_source(tmp_path: Path) -> None:
    with cl.Session(with_model(), ledger=tmp_path / "l.db") as session:
        batch = session.suggest(5)
        assert len({tuple(t.setting.items()) for t in batch}) == 5
        for _ in range(6):
            (run,) = session.suggest(1, source="model")
            assert run.source == "model"
            session.ingest(run.number, truth(run.setting))
        with pytest.raises(cl.CampaignError, match="source 'nope' is unknown"):
            session.suggest(1, source="nope")
        with pytest.raises(cl.CampaignError, match="source 'nope' is unknown"):
            session.add({"t": 14.0, "solvent": "dmso"}, {"y": 5.0}, source="nope")


def test_answers_posted_by_another_process_are_taken(tmp_path: Path) -> None:
    with cl.Session(declared(), ledger=tmp_path / "l.db") as session:
        one, two = session.suggest(2)
        answer = Observed(trial=one.number, reading=cl.Reading(values={"y": 1.0}))
        ledger_reader.post(tmp_path / "l.db", "bench", answer)
        assert [t.number for t in session.pending] == [two.number]
        assert session.state.trials[one.number].reading.values == {"y": 1.0}


def test_a_campaign_that_is_over_takes_no_trial(tmp_path: Path) -> None:
    @cl.instrument(cost={"money": 1})
    def lab(t: float, solvent: str) -> dict:
        return truth({"t": t, "solvent": solvent})

    over = declared(sources={"hand": lab}, budget={"money": 2})
    cl.run(over, ledger=tmp_path / "l.db", executor="inline")
    with cl.Session(over, ledger=tmp_path / "l.db") as session:
        with pytest.raises(cl.ClosedLoopError, match="the campaign is over: budget spent"):
            session.suggest(1)
        with pytest.raises(cl.ClosedLoopError, match="the campaign is over"):
            session.add({"t": 14.0, "solvent": "dmso"}, {"y": 5.0})


@pytest.mark.parametrize("achieved", [{"t": "abc"}, {"solvent": "oil"}, {"x": 1.0}, {"t": float("inf")}])
def test_a_bad_achieved_setting_never_reaches_the_ledger(achieved: dict, tmp_path: Path) -> None:
    with cl.Session(declared(), ledger=tmp_path / "l.db") as session:
        (trial,) = session.suggest(1)
        with pytest.raises((cl.CampaignError, ValueError)):
            session.ingest(trial.number, cl.Reading(values={"y": 1.0}, achieved=achieved))
    with cl.Session(declared(), ledger=tmp_path / "l.db") as session:
        assert [t.number for t in session.pending] == [trial.number]
