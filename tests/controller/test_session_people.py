"""Sessions keep what a person laid down: approvals, the guard's limits; and threads may share one."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.errors import ApprovalNeeded
from closedloop.controller.ledger import audit as ledger_audit
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.records import Approved, Proposed, Refused
from closedloop.controller.replaying import recompute


def declared(approval: dict | None = None, **changes: object) -> cl.Campaign:
    hand = {"instrument": "manual", "cost": {"money": 1}, "approval": approval or {}}
    return cl.Campaign(
        **{
            "name": "bench",
            "parameters": {"t": {"low": 10, "high": 20}, "p": {"low": 0, "high": 1}},
            "responses": ["y"],
            "sources": {"hand": hand},
            "goal": {"maximize": "y"},
            "budget": {"money": 12},
            "guard": {"limits": {"t": [11, 15]}, "forbidden": ["t + p >= 15.5"]},
            **changes,
        }
    )


def truth(setting: dict) -> dict:
    return {"y": -((setting["t"] - 14) ** 2) + setting["p"]}


def test_what_a_person_must_approve_is_not_handed_out(tmp_path: Path) -> None:
    with cl.Session(declared({"always": True, "people": ["ann"]}), ledger=tmp_path / "l.db") as session:
        with pytest.raises(ApprovalNeeded, match="by ann .trial 1: every trial of 'hand'.*session.approve") as caught:
            session.suggest(2)
        assert caught.value.trials == pickle.loads(pickle.dumps(caught.value)).trials == (1, 2)
        assert session.pending == ()
        assert [(w.trial.number, w.why[:11]) for w in session.waiting] == [(1, "every trial"), (2, "every trial")]
        with pytest.raises(cl.CampaignError, match="eve may not approve trial 1; ann may"):
            session.approve(1, by="eve")
        with pytest.raises(cl.CampaignError, match="pending: none"):
            session.ingest(1, {"y": 1.0})
        approved = session.approve(1, by="ann", setting={"t": 12.0})
        assert session.pending == (approved,)
        assert approved.setting["t"] == 12.0
        session.ingest(1, truth(approved.setting))
        session.refuse(2, by="bob", reason="no solvent")
        assert (session.waiting, session.pending) == ((), ())
        assert session.state.trials[2].status == "cancelled"
        for call in (lambda: session.approve(1, by="ann"), lambda: session.refuse(1, by="ann", reason="")):
            with pytest.raises(cl.CampaignError, match=r"trial 1 is observed; only one that waits.*\(waiting: none\)"):
                call()
        with pytest.raises(cl.CampaignError, match="trial 9 was never proposed"):
            session.approve(9, by="ann")
    assert ledger_audit.verify(tmp_path / "l.db") == []


def test_what_needs_no_approval_is_handed_out(tmp_path: Path) -> None:
    with cl.Session(declared({"outside_explored": 0.4}), ledger=tmp_path / "l.db") as session:
        with pytest.raises(ApprovalNeeded, match="nothing was measured on 'hand' yet"):
            session.suggest(1)
        session.ingest(1, truth(session.approve(1, by="ann").setting))
        ready = session.suggest(6)
        asked = {w.trial.number for w in session.waiting}
        assert ready == session.pending
        assert len(ready) + len(asked) == 6
        assert {t.number for t in ready}.isdisjoint(asked)


def test_a_suggestion_that_is_not_carried_out_is_taken_back(tmp_path: Path) -> None:
    with cl.Session(declared(), ledger=tmp_path / "l.db") as session:
        (trial,) = session.suggest(1)
        session.refuse(trial.number, by="ann", reason="out of acid")
        assert session.pending == ()
        assert dict(session.state.spent) == {}


def test_a_word_by_mail_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with cl.Session(declared({"always": True}), ledger=path) as session:
        with pytest.raises(ApprovalNeeded):
            session.suggest(2)
        ledger_reader.post(path, "bench", Approved(trial=1, by="ann"))
        ledger_reader.post(path, "bench", Refused(trial=2, by="ann", reason="no"))
        assert [t.number for t in session.pending] == [1]
        assert session.waiting == ()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"t": 16.0}, "approval of trial 1 was not taken: t=16.0 is above the guard's limit 15; lower it"),
        ({"t": 15.0, "p": 0.5}, "lies where 't \\+ p >= 15.5' holds"),
        ({"t": 25.0}, "outside 10.0 to 20.0"),
    ],
)
def test_an_approval_beyond_the_guard_is_not_taken(setting: dict, says: str, tmp_path: Path) -> None:
    with cl.Session(declared({"always": True}), ledger=tmp_path / "l.db") as session:
        with pytest.raises(ApprovalNeeded):
            session.suggest(1)
        with pytest.raises(cl.CampaignError, match=says):
            session.approve(1, by="ann", setting=setting)
        assert [w.trial.number for w in session.waiting] == [1]


def test_what_a_person_has_done_is_free_and_misleads_nobody(tmp_path: Path) -> None:
    with cl.Session(declared({"always": True}), ledger=tmp_path / "l.db") as session:
        for t in (19.0, 19.5, 20.0, 18.0):
            session.add({"t": t, "p": 1.0}, {"y": t})
        with pytest.raises(ApprovalNeeded):
            session.suggest(4)
        for w in session.waiting:
            assert 11 <= w.trial.setting["t"] <= 15
            assert w.trial.setting["t"] + w.trial.setting["p"] < 15.5


def test_a_loop_run_later_does_not_begin_a_session_s_trials(tmp_path: Path) -> None:
    done: list[float] = []

    @cl.instrument(cost={"money": 1})
    def lab(t: float, p: float) -> dict:
        done.append(t)
        return {"y": t}

    policy = {"always": True}
    c = declared(sources={"lab": {"instrument": lab, "cost": {"money": 1}, "approval": policy}}, budget={"money": 3})
    with cl.Session(c, ledger=tmp_path / "l.db") as session:
        with pytest.raises(ApprovalNeeded):
            session.suggest(3)
        session.approve(1, by="ann")
    state = cl.run(c, ledger=tmp_path / "l.db", executor="inline", patience_s=0.0).state
    assert done == []
    assert (state.trials[1].status, state.trials[2].status) == ("approved", "proposed")


def test_a_session_s_decisions_are_recomputed(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with cl.Session(declared({"outside_explored": 0.2}), ledger=path) as session:
        with pytest.raises(ApprovalNeeded):
            session.suggest(6)
        for w in session.waiting:
            session.ingest(w.trial.number, truth(session.approve(w.trial.number, by="ann").setting))
    again = list(recompute(ledger_reader.events(path)))
    assert all(r.is_same() for r in again)
    assert sum(r.kind == "proposed" for r in again) == 6


def test_threads_may_share_a_session(tmp_path: Path) -> None:
    path, barrier = tmp_path / "l.db", threading.Barrier(3)
    with cl.Session(declared(budget={"money": 24}, n_initial=16), ledger=path) as session:

        def work(_: int) -> list[int]:
            barrier.wait()
            numbers = []
            for _ in range(6):
                (trial,) = session.suggest(1)
                numbers.append(trial.number)
                assert session.best is None or session.best.number > 0
                session.ingest(trial.number, truth(trial.setting))
                assert trial.number not in {t.number for t in session.pending}
            return numbers

        with ThreadPoolExecutor(3) as pool:
            numbers = [n for found in pool.map(work, range(3)) for n in found]
        assert sorted(numbers) == list(range(1, 19))
        assert session.state.n_readings("hand") == 18
        assert session.pending == ()
    assert ledger_audit.verify(path) == []
    assert len([e for e in ledger_reader.events(path) if isinstance(e, Proposed)]) == 18


def test_who_asks_again_and_again_proposes_no_more_than_was_asked_for(tmp_path: Path) -> None:
    with cl.Session(declared({"always": True}), ledger=tmp_path / "l.db") as session:
        for n, numbers in ((1, (1,)), (1, (1,)), (3, (1, 2, 3)), (2, (1, 2, 3))):
            with pytest.raises(ApprovalNeeded) as caught:
                session.suggest(n)
            assert caught.value.trials == numbers
        assert len(session.state.trials) == 3
