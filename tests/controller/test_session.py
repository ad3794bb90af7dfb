"""Sessions: suggest and ingest on the same ledger, with each misuse refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller import ledger_reader


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
        with pytest.raises(cl.ClosedLoopError, match="does not hold one more trial"):
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
        with pytest.raises(cl.CampaignError, match="answered before; pending: none"):
            session.ingest(trial.number, {"y": 1.0})
        with pytest.raises(cl.CampaignError, match="never proposed"):
            session.fail(99, "dropped")
        with pytest.raises(cl.CampaignError, match="t=25"):
            session.add({"t": 25, "solvent": "dmso"}, {"y": 1.0})
        with pytest.raises(cl.CampaignError, match="at least one"):
            session.suggest(0)
    assert ledger_reader.verify(tmp_path / "l.db") == []


def test_another_declaration_under_the_same_name_is_refused(tmp_path: Path) -> None:
    with cl.Session(declared(), ledger=tmp_path / "l.db"):
        pass
    with pytest.raises(cl.CampaignError, match="budget: differs from what campaign 'bench' began with"):
        cl.Session(declared(budget={"money": 13}), ledger=tmp_path / "l.db")
    with cl.Session(declared(budget={"money": 13}, name="other"), ledger=tmp_path / "l.db"):
        pass
    assert ledger_reader.campaigns(tmp_path / "l.db") == ["bench", "other"]
