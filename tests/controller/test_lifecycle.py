"""The states of a trial: one table, and everything that people and the world say is held against it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.admit import admit
from closedloop.controller.amendment import amended
from closedloop.controller.decide import decide
from closedloop.controller.errors import LedgerError
from closedloop.controller.evolve import evolve, why_not
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.lifecycle import TABLE, after
from closedloop.controller.records import (
    Acting,
    Amended,
    AnyEvent,
    Approved,
    Ending,
    Failed,
    Noted,
    Observed,
    Paused,
    Proposed,
    Quarantined,
    Reading,
    Refused,
    Restored,
    Resumed,
    Settled,
    Started,
    Stopped,
    Trial,
)
from closedloop.controller.state import State


@cl.instrument(cost={"money": 3})
def lab(x: float, y: float) -> dict:
    return {"f": x - y}


@cl.simulator(cost={"money": 1})
def model(x: float, y: float) -> dict:
    return {"f": x - y}


def campaign(lab_says: dict | None = None, **changes: object) -> cl.Campaign:
    return cl.Campaign(
        **{
            "name": "s",
            "parameters": {"x": {"low": 0, "high": 1}, "y": {"low": 0, "high": 1}},
            "responses": ["f"],
            "sources": {"lab": {"instrument": lab, "cost": {"money": 3}, **(lab_says or {})}, "model": model},
            "goal": {"maximize": "f"},
            "budget": {"money": 60},
            **changes,
        }
    ).resolve()


def told(state: State, *events: AnyEvent) -> State:
    for event in events:
        state = evolve(state, event.model_copy(update={"seq": state.seq + 1}))
    return state


def proposed(n: int = 1, source: str = "lab", asks: str = "", x: float = 0.5) -> Proposed:
    cost = {"money": 3.0 if source == "lab" else 1.0, "trials": 1.0}
    return Proposed(trial=Trial(number=n, source=source, setting={"x": x, "y": 0.5}, cost=cost), asks=asks)


READING = Reading(values={"f": 1.0})
IN_DOUBT = Failed(trial=1, cause="unknown", message="cut", is_in_doubt=True)
EVENTS: list[AnyEvent] = [
    Approved(trial=1, by="ann"),
    Refused(trial=1, by="ann", reason="no"),
    Acting(trial=1),
    Observed(trial=1, reading=READING),
    Failed(trial=1, cause="error", message="dry"),
    Failed(trial=1, cause="invalid", message="nan"),
    Failed(trial=1, cause="cancelled", message="off", cost={}),
    IN_DOUBT,
    *(Settled(trial=1, outcome=o, by="x") for o in ("not_started", "unknown", "rerun", "abandoned", "asked")),
    Quarantined(trial=1, by="ann", reason="odd"),
    Restored(trial=1, by="ann"),
]


def histories(length: int) -> Iterable[tuple[AnyEvent, ...]]:
    return itertools.product(EVENTS, repeat=length)


def test_every_history_of_a_trial_keeps_the_laws() -> None:
    """All sequences of four events, from both births: what the table forbids is refused, the rest adds up."""
    for asks in ("", "dear"):
        start = told(State(campaign()), proposed(asks=asks))
        for history in histories(4):
            state, n_readings = start, 0
            for said in history:
                known = state.trials[1]
                event = Acting(trial=1, attempt=known.attempt) if isinstance(said, Acting) else said
                if why_not(state, event):
                    with pytest.raises(LedgerError):
                        told(state, event)
                    continue
                assert after(known.status, event) is not None
                state = told(state, event)
                n_readings += event.kind == "observed"
            known = state.trials[1]
            assert n_readings <= 1
            assert known.status in TABLE
            places = [n for part in (state.waiting, state.running, state.doubts, state.barren) for n in part]
            assert len(places) == len(set(places))
            is_read = known.status in ("observed", "late")
            assert state.n_readings("lab") == is_read == (1 in state.fresh)
            assert 0 <= state.spent.get("money", 0.0) <= 3.0 * known.attempt


def test_nothing_begins_before_it_is_approved() -> None:
    assert {s for s, row in TABLE.items() if "acting" in row} == {"approved"}
    assert "observed" not in TABLE["proposed"]


def test_a_late_answer_counts_and_is_charged_once() -> None:
    state = told(State(campaign()), proposed(), Acting(trial=1), IN_DOUBT)
    assert (state.trials[1].status, dict(state.spent)["money"]) == ("unknown", 3.0)
    late = told(state, Observed(trial=1, reading=Reading(values={"f": 1.0}, cost={"money": 2.0})))
    assert (late.trials[1].status, late.spent["money"], late.fresh) == ("late", 2.0, (1,))
    assert "answered before" in why_not(late, Observed(trial=1, reading=READING))


def test_what_was_never_begun_is_refunded_and_what_is_rerun_is_charged_again() -> None:
    state = told(State(campaign()), proposed(), Acting(trial=1), IN_DOUBT)
    not_started = told(state, Settled(trial=1, outcome="not_started", by="driver"))
    assert (not_started.trials[1].status, not_started.spent["money"]) == ("approved", 0.0)
    again = told(state, Settled(trial=1, outcome="rerun", by="ann"), Acting(trial=1, attempt=2))
    again = told(again, Observed(trial=1, reading=READING))
    assert (again.trials[1].attempt, again.spent["money"]) == (2, 6.0)


@pytest.mark.parametrize(
    ("rule", "outcome"), [("ask", "asked"), ("abandon", "abandoned"), ("rerun", "rerun"), (None, "asked")]
)
def test_a_doubt_that_the_driver_cannot_settle_follows_the_campaign_s_rule(rule: str | None, outcome: str) -> None:
    c = campaign({"on_unknown": rule} if rule else None)
    state = told(State(c), proposed(), Acting(trial=1), IN_DOUBT)
    assert decide(state) is None or decide(state).kind == "proposed"  # the driver is asked first
    state = told(state, Settled(trial=1, outcome="unknown", by="driver"))
    decision = decide(state)
    assert (decision.kind, decision.outcome) == ("settled", outcome)


def test_an_instrument_in_doubt_is_not_commanded_and_simulations_go_on() -> None:
    state = told(State(campaign()), proposed(), Acting(trial=1), IN_DOUBT)
    state = told(state, Settled(trial=1, outcome="asked", by="rule"))
    for _ in range(8):
        decision = decide(state)
        if decision is None:
            break
        assert decision.trial.source == "model"
        state = told(state, decision, Observed(trial=decision.trial.number, reading=READING))
        state = told(state, decide(state))
    assert len(state.trials) > 2


def test_rerunning_ends() -> None:
    state = told(State(campaign({"on_unknown": "rerun"})), proposed())
    for attempt in (1, 2, 3):
        state = told(state, Acting(trial=1, attempt=attempt), IN_DOUBT, Settled(trial=1, outcome="unknown", by="d"))
        state = told(state, decide(state))
    assert state.trials[1].status == "failed"


def test_only_who_may_approves_and_a_changed_setting_is_forecast() -> None:
    policy = {"approval": {"always": True, "people": ["ann"]}}
    state = told(State(campaign(policy)), proposed(asks="dear"))
    assert admit(state, Approved(trial=1, by="eve", letter=4)).kind == "noted"
    assert admit(state, Approved(trial=1, by="ann", setting={"x": 7.0}, letter=4)).kind == "noted"
    taken = admit(state, Approved(trial=1, by="ann", setting={"x": 0.25}, letter=4))
    assert (taken.kind, taken.letter, taken.forecast is not None) == ("approved", 4, True)
    state = told(state, taken)
    assert state.trials[1].trial.setting == {"x": 0.25, "y": 0.5}


@pytest.mark.parametrize(
    ("policy", "asks"),
    [
        ({}, ""),
        ({"always": True}, "every trial of 'lab' is to be approved"),
        ({"above": {"money": 2}}, "it costs 3 money, more than 2"),
        ({"above": {"money": 3}}, ""),
        ({"outside_explored": 0.1}, "nothing was measured on 'lab' yet"),
    ],
)
def test_the_policy_says_what_a_person_must_see(policy: dict, asks: str) -> None:
    c = campaign({"approval": policy}, sources={"lab": {"instrument": lab, "approval": policy}}, budget={"trials": 9})
    c = campaign(sources={"lab": {"instrument": lab, "cost": {"money": 3}, "approval": policy}})
    decision = decide(State(c))
    assert (decision.kind, decision.asks) == ("proposed", asks)
    state = told(State(c), decision)
    assert bool(state.waiting) == bool(asks)
    if asks:  # people are not flooded
        assert decide(state) is None


def test_runs_go_on_with_what_needs_no_approval() -> None:
    state = told(State(campaign({"approval": {"always": True}})), proposed(asks="dear"))
    assert decide(state).trial.source == "model"


def test_a_pause_begins_nothing_and_a_resume_forgives() -> None:
    failures = [e for n in range(1, 6) for e in (proposed(n), Failed(trial=n, cause="error", message="dry"))]
    state = told(State(campaign()), *failures)
    pause = decide(state)
    assert (pause.kind, pause.by) == ("paused", "breaker")
    assert "dry" in pause.reason
    state = told(state, pause)
    assert decide(state) is None
    state = told(state, Resumed(by="ann"))
    assert decide(state).kind == "proposed"


def test_an_end_that_a_person_asks_for() -> None:
    state = told(State(campaign()), proposed(), Acting(trial=1), proposed(2, "model"), proposed(3, asks="dear"))
    state = told(state, Ending(by="ann", reason="enough"))
    for n in (3, 2):  # what waits, and the simulation whose value has gone
        refused = decide(state)
        assert (refused.kind, refused.trial) == ("refused", n)
        state = told(state, refused)
    assert decide(state) is None  # the measurement is waited for
    state = told(state, Observed(trial=1, reading=READING))
    state = told(state, decide(state))
    assert decide(state) == Stopped(reason="stopped by ann: enough")


def test_an_amendment_keeps_the_readings_and_learns_them_anew() -> None:
    state = told(State(campaign()), proposed(), Observed(trial=1, reading=READING))
    state = told(state, decide(state))
    changes = {"parameters.x.high": 2.0, "budget.money": 99, "constraints": ["x + y <= 1.4"]}
    taken = admit(state, Amended(by="ann", changes=changes))
    state = told(state, taken)
    assert state.campaign.budget_amounts == {"money": 99}
    assert state.evidence.of("lab").X_set[0].tolist() == [0.25, 0.5]
    assert state.fresh == (1,)
    assert decide(state).kind == "assimilated"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "nothing to amend"),
        ({"responses": ["g"]}, "responses cannot be amended"),
        ({"parameters.z.high": 3}, "there is no 'parameters.z'"),
        ({"parameters.x.high": -1}, "x"),
        ({"budget.mony": 3}, "mony"),
        ({"sources.lab.instrument": "os:system"}, "cannot be amended"),
        ({"goal.maximize": "g"}, "'g' is no response"),
        ({"constraints": ["x >= 5"]}, "no setting"),
    ],
)
def test_an_amendment_that_does_not_fit_is_refused_with_its_reason(changes: dict, says: str) -> None:
    with pytest.raises(cl.CampaignError, match=says):
        amended(campaign(), changes)
    note = admit(State(campaign()), Amended(by="ann", changes=changes, letter=9))
    assert isinstance(note, Noted)
    assert note.letter == 9


def test_a_trial_that_was_not_begun_when_the_bounds_moved_is_taken_back() -> None:
    state = told(State(campaign()), proposed(x=0.9))
    state = told(state, admit(state, Amended(by="ann", changes={"parameters.x.high": 0.5})))
    refused = decide(state)
    assert (refused.kind, refused.trial) == ("refused", 1)
    assert "amended" in refused.reason


def test_a_quarantined_reading_is_kept_from_the_belief_and_restored_on_a_person_s_word() -> None:
    state = told(State(campaign()), proposed(), Observed(trial=1, reading=READING))
    state = told(state, decide(state), Quarantined(trial=1, by="ann", reason="spilt"))
    assert (state.n_readings("lab"), state.trials[1].status, state.best) == (0, "invalid", None)
    assert state.belief is None
    state = told(state, Restored(trial=1, by="ann"))
    assert state.n_readings("lab") == 1
    assert decide(state).kind == "assimilated"


def test_a_guard_s_refusal_is_learned_as_a_constraint() -> None:
    state = told(State(campaign()), proposed(), Refused(trial=1, by="guard", reason="hot", rule="limits.x"))
    assert state.evidence.infeasible_at("lab").tolist() == [[0.5, 0.5]]
    assert dict(state.spent) == {}
    missing = campaign({"on_failure": {"means": "missing"}})
    state = told(State(missing), proposed(), Failed(trial=1, cause="error", message="dry"))
    assert len(state.evidence.infeasible_at("lab")) == 0
    assert state.evidence.pending_at("lab").tolist() == [[0.5, 0.5]]


def test_nothing_is_said_of_a_campaign_that_is_over() -> None:
    state = told(State(campaign()), proposed(), Stopped(reason="done"))
    for event in (Paused(by="a", reason="b"), Resumed(by="a"), Ending(by="a"), Amended(by="a", changes={"x": 1})):
        assert admit(state, event).kind == "noted"
    assert admit(state, Observed(trial=1, reading=READING)).kind == "observed"  # late, and not lost


def test_a_guard_s_refusals_trip_the_breaker_and_a_person_s_do_not() -> None:
    """They cost nothing, so that nothing else would ever end a row of them."""
    rule = {"by": "guard of 'lab'", "rule": "max_step.x"}
    for said, n_failures in ((rule, 5), ({"by": "ann"}, 0)):
        refusals = [e for n in range(1, 6) for e in (proposed(n), Refused(trial=n, reason="too far", **said))]
        state = told(State(campaign()), *refusals)
        assert state.failures_in_a_row.get("lab", 0) == n_failures
        assert dict(state.spent) == {}
        assert decide(state).kind == ("paused" if n_failures else "proposed")
    assert "too far" in decide(told(State(campaign()), *[e for n in range(1, 6) for e in refused_by_guard(n)])).reason
    state = told(State(campaign()), *refused_by_guard(1), proposed(2), Observed(trial=2, reading=READING))
    assert state.failures_in_a_row["lab"] == 0


def refused_by_guard(n: int) -> list[AnyEvent]:
    return [proposed(n), Refused(trial=n, by="guard of 'lab'", reason="too far", rule="max_step.x")]


def test_what_waits_for_approval_is_reserved_in_the_budget() -> None:
    state = told(State(campaign(budget={"money": 7})), proposed(1, asks="dear"))
    assert (dict(state.spent), state.reserved["money"]) == ({}, 3.0)
    assert state.can_afford({"money": 4.0})
    assert not state.can_afford({"money": 4.1})
    assert not told(state, proposed(2, asks="dear")).can_afford({"money": 3.0})
    assert told(state, Approved(trial=1, by="ann")).reserved["money"] == 3.0
    assert told(state, Refused(trial=1, by="ann", reason="no")).reserved == {}


def test_what_is_in_doubt_holds_its_source_and_the_end_until_its_driver_was_asked() -> None:
    state = told(State(campaign(budget={"money": 3.5})), proposed(), Acting(trial=1), IN_DOUBT)
    assert (state.doubts, state.trials[1].status, state.trials[1].doubt) == ((1,), "unknown", "unasked")
    assert state.is_held("lab")
    assert not state.is_held("model")
    assert decide(state) is None  # the budget is spent, and the device may still know the reading
    unknown = told(state, Settled(trial=1, outcome="unknown", by="driver"))
    asked = told(unknown, decide(unknown))
    assert asked.trials[1].doubt == "asked"
    assert decide(asked).kind == "stopped"
    certain = told(State(campaign()), proposed(), Acting(trial=1), Failed(trial=1, cause="error", message="dry"))
    assert (certain.doubts, certain.trials[1].doubt, certain.is_held("lab")) == ((), "", False)


@pytest.mark.parametrize("rule", ["rerun", "ask"])
def test_a_trial_cut_off_is_begun_again_only_where_the_rule_says_so(rule: str, tmp_path: Path) -> None:
    """A controller died between its word and the answer: the next one doubts, asks, and then obeys the rule."""
    done: list[float] = []

    @cl.instrument(cost={"money": 3})
    def lab(x: float, y: float) -> dict:
        done.append(x)
        return {"f": x - y}

    source = {"instrument": lab, "cost": {"money": 3}, "on_unknown": rule}
    c = campaign(sources={"lab": source}, budget={"money": 6})
    path = tmp_path / "l.db"
    with Ledger.open(path, c.name) as book:
        for event in (Started(campaign=c.to_dict(), key="k"), proposed(x=0.125), Acting(trial=1)):
            book.append(event)
    state = cl.run(c, ledger=path, executor="inline", patience_s=0.0).state
    begun = [(e.trial, e.attempt) for e in ledger_reader.events(path) if isinstance(e, Acting)]
    if rule == "rerun":
        assert (begun, done) == ([(1, 1), (1, 2)], [0.125])
        assert (state.trials[1].status, state.trials[1].attempt, state.spent["money"]) == ("observed", 2, 6.0)
    else:
        assert (begun, done) == ([(1, 1)], [])
        assert (state.doubts, state.trials[1].doubt) == ((1,), "asked")


def test_a_rerun_after_doubt_is_begun_again_by_the_controller_that_doubted(tmp_path: Path) -> None:
    done: list[float] = []

    @cl.instrument(cost={"money": 3})
    def lab(x: float, y: float) -> dict:
        done.append(x)
        if len(done) == 1:
            raise cl.OutcomeUnknown("the link was cut")
        return {"f": x - y}

    c = campaign(sources={"lab": {"instrument": lab, "cost": {"money": 3}, "on_unknown": "rerun"}}, budget={"money": 6})
    state = cl.run(c, ledger=tmp_path / "l.db", executor="inline", patience_s=0.0).state
    begun = [(e.trial, e.attempt) for e in ledger_reader.events(tmp_path / "l.db") if isinstance(e, Acting)]
    assert begun == [(1, 1), (1, 2)]
    assert len(done) == 2
    assert done[0] == done[1]
    assert (state.trials[1].status, state.n_readings("lab")) == ("observed", 1)
