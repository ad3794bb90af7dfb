"""Steps are counted from where the device may be, as the ledger and then its guard tell: one refusal a surprise."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.admit import admit
from closedloop.controller.decide import decide
from closedloop.controller.evolve import evolve
from closedloop.controller.guard.check import Guard
from closedloop.controller.reach import within_reach
from closedloop.controller.records import (
    Acting,
    Approved,
    Failed,
    Observed,
    Proposed,
    Reading,
    Refused,
    Resumed,
    Setting,
    Settled,
    Trial,
)
from closedloop.controller.state import State

README = {
    "limits": {"temperature": [20, 110]},
    "max_step": {"temperature": 40},
    "forbidden": ["temperature + 8 * passes >= 130"],
    "safe_setting": {"temperature": 25},
}
READING = Reading(values={"gloss": 1.0})


@cl.instrument(cost={"money": 1})
def line(temperature: float, passes: int) -> dict:
    return {"gloss": temperature}


@cl.simulator(cost={"money": 1})
def model(temperature: float, passes: int) -> dict:
    return {"gloss": temperature}


def campaign(guard: dict = README, **changes: object) -> cl.Campaign:
    declared = {
        "name": "coating",
        "parameters": {"temperature": {"low": 30, "high": 120}, "passes": {"kind": "integer", "low": 1, "high": 4}},
        "responses": ["gloss"],
        "sources": {"line": {"instrument": line, "cost": {"money": 1}}},
        "goal": {"maximize": "gloss"},
        "budget": {"money": 20},
        "belief": "climatology",
        "guard": guard,
    }
    return cl.Campaign(**{**declared, **changes}).resolve()


def told(state: State, *events: object) -> State:
    for event in events:
        state = evolve(state, event.model_copy(update={"seq": state.seq + 1}))
    return state


def proposed(n: int, temperature: float, source: str = "line") -> Proposed:
    setting = {"temperature": temperature, "passes": 1}
    return Proposed(trial=Trial(number=n, source=source, setting=setting, cost={"money": 1.0, "trials": 1.0}))


def temperatures(state: State) -> list[float]:
    return [place["temperature"] for place in state.places.get("line", ())]


def lived(state: State, guard: Guard, n: int, *, surprises: dict[int, float] | None = None) -> tuple[State, list[int]]:
    """A campaign and the guard beside its device; the trials that were refused."""
    refused = []
    for _ in range(n):
        event = decide(state)
        if event is None or event.kind in ("stopped", "paused"):
            return told(state, event) if event else state, refused
        state = told(state, event)
        if not isinstance(event, Proposed):
            continue
        number, setting = event.trial.number, event.trial.setting
        if surprises and number in surprises:  # the device was made safe, and nobody told the mind
            guard.commanded({**guard.last, "temperature": surprises[number]}, 0.0, doubted=())
        state = told(state, Acting(trial=number))
        no = guard.refusal(setting, now_s=1e9)
        if no:
            refused.append(number)
            words = {"reason": no.reason, "rule": no.rule, "places": guard.places}
            state = told(state, Refused(trial=number, by="guard of 'line'", **words))
            continue
        guard.commanded(setting, 0.0)
        guard.reached()
        state = told(state, Observed(trial=number, reading=READING))
    return state, refused


@pytest.mark.parametrize("place", [25.0, 110.0, 66.0])
@pytest.mark.parametrize("seed", range(4))
def test_one_refusal_teaches_where_the_device_is(seed: int, place: float) -> None:
    c = campaign(seed=seed)
    guard = Guard(c.guard, name="line")
    guard.commanded({"temperature": place, "passes": 1}, 0.0, doubted=())
    state, refused = lived(State(c), guard, 200)
    assert refused in ([], [1])
    assert state.n_readings("line") == 20
    assert "budget spent" in state.stopped.reason


def test_there_is_at_most_one_refusal_a_surprise() -> None:
    surprises = {5: 25.0, 9: 110.0, 14: 25.0}
    c = campaign()
    state, refused = lived(State(c), Guard(c.guard, name="line"), 200, surprises=surprises)
    assert set(refused) <= set(surprises)
    assert state.n_readings("line") == 20


def test_the_order_of_commands_counts_and_not_that_of_numbers() -> None:
    state = told(State(campaign()), proposed(1, 40), proposed(2, 80), Acting(trial=2))
    state = told(state, Observed(trial=2, reading=READING), Acting(trial=1))
    assert temperatures(state) == [40, 80]
    cut = Failed(trial=1, cause="unknown", message="cut", is_in_doubt=True)
    assert temperatures(told(state, cut)) == [40, 80]
    assert temperatures(told(state, Observed(trial=1, reading=READING))) == [40]
    late = told(state, cut, Observed(trial=1, reading=READING))  # it may have been made safe meanwhile
    assert temperatures(late) == [40, 80]


def test_what_a_guard_refused_was_not_sent_and_what_it_knows_counts() -> None:
    state = told(State(campaign()), proposed(1, 40), Acting(trial=1), Observed(trial=1, reading=READING))
    state = told(state, proposed(2, 110), Acting(trial=2))
    no = Refused(trial=2, by="guard of 'line'", reason="far", rule="max_step.temperature")
    assert temperatures(told(state, no)) == [40]
    known: tuple[Setting, ...] = ({"temperature": 25.0, "passes": 1}, {"temperature": 40.0, "passes": 1})
    assert temperatures(told(state, no.model_copy(update={"places": known}))) == [25, 40]


def test_a_person_does_not_speak_of_places() -> None:
    state = told(State(campaign()), proposed(1, 40))
    no = Refused(trial=1, by="eve", reason="no", rule="limits.temperature", places=({"temperature": 1.0},), letter=3)
    taken = admit(state, no)
    assert (taken.rule, taken.places) == ("", ())


def test_who_writes_no_intent_is_where_the_answer_came_from() -> None:
    state = told(State(campaign()), proposed(1, 40), Observed(trial=1, reading=READING))
    assert temperatures(state) == [40]
    never_begun = Failed(trial=2, cause="cancelled", message="off", cost={})
    assert temperatures(told(state, proposed(2, 70), never_begun)) == [40]
    assert temperatures(told(state, proposed(2, 70), Failed(trial=2, cause="error", message="dry"))) == [70, 40]


def test_simulators_take_no_steps() -> None:
    sources = {"model": {"simulator": model, "cost": {"money": 1}}}
    state = told(State(campaign(sources=sources)), proposed(1, 30, "model"), Observed(trial=1, reading=READING))
    settings = []
    for n in range(2, 8):
        state = told(state, decide(state))
        state = told(state, decide(state))
        settings.append(state.trials[n].trial.setting["temperature"])
        state = told(state, Observed(trial=n, reading=READING))
    assert max(settings) - min(settings) > 40
    assert not state.places


def test_places_too_far_apart_end_in_a_pause_and_not_in_endless_trials() -> None:
    c = campaign({"max_step": {"temperature": 20}})
    guard = Guard(c.guard, name="line")
    far = ({"temperature": 110.0, "passes": 1}, {"temperature": 30.0, "passes": 1})
    guard.commanded(far[0], 0.0, doubted=far[1:])
    state, refused = lived(State(c), guard, 500)
    assert state.paused.by == "breaker"
    assert len(refused) == c.sources["line"].on_failure.breaker == state.failures_in_a_row["line"]
    assert "is 60 from" in state.paused.reason or "max_step" in state.paused.reason
    toward = [state.trials[n].trial.setting["temperature"] for n in refused[1:]]
    assert all(90 <= t for t in toward)  # as the newest place allows
    guard.reached()  # a person looked
    state, refused = lived(told(state, Resumed(by="ann")), guard, 200)
    assert not refused
    assert state.n_readings("line") == 20


def test_a_step_leads_around_nothing_that_is_forbidden() -> None:
    guard = {"max_step": {"temperature": 15, "passes": 1}, "forbidden": ["abs(temperature - 75) <= 10 - 3 * passes"]}
    c = campaign(guard, budget={"money": 30})
    state, refused = lived(State(c), Guard(c.guard, name="line"), 300)
    assert not refused
    assert state.n_readings("line") == 30


def test_an_approval_beyond_the_guard_is_not_taken() -> None:
    ask = proposed(1, 40).model_copy(update={"asks": "dear"})
    state = told(State(campaign()), ask)
    for setting, says in (({"temperature": 119.0}, "above the guard's limit 110; lower it"), ({"passes": 4}, "")):
        taken = admit(state, Approved(trial=1, by="ann", setting=setting, letter=1))
        assert taken.kind == ("noted" if says else "approved")
        assert says in getattr(taken, "text", "")
    region = admit(state, Approved(trial=1, by="ann", setting={"temperature": 105.0, "passes": 4}, letter=2))
    assert "lies where 'temperature + 8 * passes >= 130' holds, which the guard forbids; leave" in region.text


@cl.instrument(cost={"money": 1})
def furnace(x: float) -> dict:
    return {"y": -((x - 9) ** 2)}


@cl.instrument(cost={"money": 1})
def brittle(x: float) -> dict:
    if x > 3.2:
        raise RuntimeError("too hot")
    return {"y": -((x - 9) ** 2)}


def heated(instrument: type = furnace, **changes: object) -> cl.Campaign:
    declared = {
        "name": "heat",
        "seed": 3,
        "parameters": {"x": {"low": 0, "high": 10}},
        "responses": ["y"],
        "sources": {"furnace": instrument},
        "goal": {"maximize": "y"},
        "budget": {"trials": 25},
        "guard": {"max_step": {"x": 1.0}},
    }
    return cl.Campaign(**{**declared, **changes})


def test_what_a_session_suggests_keeps_the_step_in_any_order_and_nothing_twice(tmp_path: Path) -> None:
    with cl.Session(heated(), ledger=tmp_path / "l.db") as session:
        for n in (3, 4):
            before = [p["x"] for p in session.state.places.get("furnace", ())]
            trials = session.suggest(n)
            asked = [t.setting["x"] for t in trials]
            assert len(set(asked)) == n
            for a, b in itertools.combinations(before + asked, 2):
                assert abs(a - b) <= 1.0 + 1e-6
            for t in reversed(trials):
                session.ingest(t.number, {"y": -((t.setting["x"] - 9) ** 2)})


def test_with_a_step_what_fails_is_left_as_without_one(tmp_path: Path) -> None:
    result = cl.run(heated(brittle), ledger=tmp_path / "l.db", executor="inline")
    failed = [t.trial.setting["x"] for t in result.state.trials.values() if t.status == "failed"]
    assert "budget spent" in result.why_stopped
    assert len(set(failed)) == len(failed) <= 10


def test_before_a_region_that_no_step_crosses_the_edge_is_not_crowded(tmp_path: Path) -> None:
    guard = {"max_step": {"x": 0.5}, "forbidden": ["(x-5)*(x-5) <= 1"]}
    with cl.Session(heated(guard=guard), ledger=tmp_path / "l.db") as session:
        session.add({"x": 1.0}, {"y": -64.0})
        asked = []
        for _ in range(13):
            (trial,) = session.suggest(1)
            asked.append(trial.setting["x"])
            session.ingest(trial.number, {"y": -((asked[-1] - 9) ** 2)})
    assert max(asked) < 4
    assert sum(x > 3.9 for x in asked) <= 3


def test_what_never_began_moved_nothing() -> None:
    state = told(State(campaign()), proposed(1, 40), Acting(trial=1), Observed(trial=1, reading=READING))
    tripped = Failed(trial=2, cause="cancelled", message="it did not begin: tripped", cost={})
    state = told(state, proposed(2, 70), Acting(trial=2), tripped)
    assert temperatures(state) == [40]
    lost = Failed(trial=3, cause="unknown", message="cut", is_in_doubt=True)
    state = told(state, proposed(3, 80), Acting(trial=3), lost)
    assert temperatures(state) == [80, 40]
    state = told(state, Settled(trial=3, outcome="not_started", by="driver"))
    assert temperatures(state) == [40]
    state = told(state, Failed(trial=3, cause="cancelled", message="off", cost={}))  # taken off once only
    assert temperatures(state) == [40]
    assert within_reach(state, "line", {"temperature": 110.0, "passes": 1})["temperature"] == pytest.approx(80)


def test_what_was_sent_elsewhere_since_stays() -> None:
    state = told(State(campaign()), proposed(1, 40), proposed(2, 70), Acting(trial=1), Acting(trial=2))
    state = told(state, Failed(trial=1, cause="cancelled", message="off", cost={}))
    assert temperatures(state) == [70, 40]
