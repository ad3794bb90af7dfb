"""People's words where no controller runs, and where one is too busy to listen: checked, written once, and answered."""

from __future__ import annotations

import json
import threading
import time

import pytest

from closedloop.controller import steering
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import (
    Acting,
    Approved,
    Failed,
    Noted,
    Observed,
    Paused,
    Proposed,
    Reading,
    Refused,
    Settled,
    Started,
    Trial,
)

CAREFUL = """
name: careful
seed: 1
parameters:
  temperature: {low: 20, high: 90, unit: degC}
  mode: {choices: [a, b]}
responses: {y: {unit: m}}
sources:
  oven: {instrument: "./sources.py:Oven", cost: {money: 2}, approval: {always: true, people: [ann]}}
goal: {maximize: y}
budget: {money: 20}
belief: climatology
"""
SOURCES = """
import closedloop as cl

class Oven(cl.Instrument):
    cost = {"money": 2.0}
    def measure(self, setting):
        return {"y": setting["temperature"] / 10}
    def make_safe(self):
        pass
"""


@pytest.fixture
def waiting(folder, cli):
    """A campaign whose first trial waits for ann; nobody runs it."""
    (folder / "sources.py").write_text(SOURCES)
    (folder / "careful.yaml").write_text(CAREFUL)
    said = cli("run", "careful.yaml", "--executor", "inline", "--no-wait", code=7)
    assert "trial 1 waits for approval" in said.stderr and "closedloop approve 1" in said.stderr
    return folder


@pytest.fixture
def in_doubt(waiting):
    """Trial 1 was approved and cut off, its driver knows nothing, and a person is asked."""
    with Ledger.open("closedloop.db", "careful") as book:
        book.append(Approved(trial=1, by="ann"))
        book.append(Acting(trial=1))
        book.append(Failed(trial=1, cause="unknown", message="the link was cut", is_in_doubt=True))
        book.append(Settled(trial=1, outcome="asked", by="rule"))
    return waiting


def kinds():
    return [e.kind for e in ledger_reader.events("closedloop.db")]


def last():
    return ledger_reader.events("closedloop.db")[-1]


def test_run_says_once_what_it_waits_for_and_what_to_type(waiting, cli):
    out = cli("run", "careful.yaml", "--executor", "inline", "--patience", 0.1, code=7).stdout
    assert out.count("closedloop approve 1") == 1
    assert "every trial of 'oven' is to be approved" in out
    assert "give one of the two" in cli("run", "careful.yaml", "--patience", 1, "--no-wait", code=2).stderr


def test_pending_lists_what_waits_and_what_to_type(waiting, cli):
    text = cli("pending").output
    for word in ("temperature", "°C", "2 money", "forecast", "every trial", "approve 1", "refuse 1 --reason TEXT"):
        assert word in text
    (ask,) = json.loads(cli("pending", "--json").output)
    assert (ask["kind"], ask["trial"], ask["source"], ask["cost"]["money"]) == ("approval", 1, "oven", 2)
    assert ask["type"][0]["command"] == "closedloop approve 1 --by ann"
    shown = cli("status").output
    assert "closedloop approve 1" in shown and "waits for approval" in shown
    assert json.loads(cli("status", "--json").output)["waiting"] == [1]


def test_pending_says_when_nothing_waits(done, cli):
    assert "nothing waits for people" in cli("pending").output
    assert json.loads(cli("pending", "--json").output) == []


def test_pending_names_the_ledger_and_the_campaign_where_they_are_needed(waiting, cli):
    (waiting / "second.yaml").write_text(CAREFUL.replace("name: careful", "name: second"))
    cli("run", "second.yaml", "--executor", "inline", "--no-wait", code=7)
    assert "approve 1 --by ann --campaign careful" in cli("pending", "--campaign", "careful").output
    (waiting / "closedloop.db").rename(waiting / "a b.db")
    assert "--ledger 'a b.db'" in cli("pending", "--campaign", "careful", "--ledger", "a b.db").output


def test_an_approval_may_change_the_setting_and_the_trial_runs_so(waiting, cli):
    assert "temperature=80" in cli("approve", 1, "--set", "temperature=80", "--set", "mode=b", "--by", "ann").output
    assert last().setting == {"temperature": 80.0, "mode": "b"}
    assert last().forecast is not None
    cli("run", "careful.yaml", "--executor", "inline", "--no-wait", code=7)
    (reading,) = [e.reading for e in ledger_reader.events("closedloop.db") if e.kind == "observed"]
    assert reading.values == {"y": 8.0}
    shown = cli("show", 1).output
    assert "approved" in shown and "by ann, changed: temperature" in shown and "80 °C" in shown
    data = json.loads(cli("show", 1, "--json").output)
    assert data["status"] == "observed" and data["setting"]["temperature"] == 80
    assert [e["kind"] for e in data["history"]] == ["approved", "acting"]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["approve", 9, "--by", "ann"], 2, "trial 9 is not in campaign 'careful' (there: 1 to 1)"),
        (["approve", 1, "--set", "temperature=900", "--by", "ann"], 2, "temperature"),
        (["approve", 1, "--set", "pressure=1", "--by", "ann"], 2, "is no parameter"),
        (["approve", 1, "--set", "mode=c", "--by", "ann"], 2, "mode"),
        (["approve", 1, "--again", "--by", "ann"], 2, "not in doubt"),
        (["approve", 1, "--by", " "], 2, "--by is blank"),
        (["refuse", 1, "--reason", " "], 2, "--reason is blank"),
        (["refuse", 1], 2, "--reason"),
        (["quarantine", 1, "--reason", "x"], 2, "only a reading that counts"),
        (["restore", 1], 2, "no reading that was set aside"),
        (["amend", "responses=[z]"], 2, "responses cannot be amended"),
        (["amend", "budget.monye=3"], 2, "monye"),
        (["amend", "budget.money"], 2, "is not KEY=VALUE"),
        (["amend", "budget.money=3", "budget.money=4"], 2, "given twice"),
        (["amend", "budget.money=[1"], 2, "not valid YAML"),
        (["amend", "budget.money=3\ngoal: x"], 2, "more than one value"),
        (["amend", "parameters.temperature.high=5"], 2, "parameters.temperature"),
        (["amend", "constraints=[\"pressure <= 1\"]"], 2, "pressure"),
        (["amend", "budget.money=20"], 2, "nothing would change"),
    ],
)  # fmt: skip
def test_a_word_that_cannot_be_taken_is_refused_before_it_is_written(waiting, cli, args, code, said):
    before = kinds()
    assert said in cli(*args, code=code).stderr
    assert kinds() == before


def test_who_may_not_approve_is_told_so_and_it_is_noted(waiting, cli):
    assert "eve may not approve trial 1; ann may" in cli("approve", 1, "--by", "eve", code=1).stderr
    assert kinds()[-1] == "noted"
    answer = json.loads(cli("approve", 1, "--by", "eve", "--json", code=1).stdout)
    assert not answer["taken"] and "eve may not" in answer["event"]["text"]


def test_a_refused_trial_does_not_run_and_costs_nothing(waiting, cli):
    cli("refuse", 1, "--reason", "the seal would not hold", "--by", "ann")
    assert "already" not in cli("pending").output
    data = json.loads(cli("status", "--json").output)
    assert data["not_run"] == [1] and data["spent"] == {}
    assert "the seal would not hold" in cli("show", 1).output
    assert "is cancelled" in cli("approve", 1, "--by", "ann", code=2).stderr


def test_a_trial_in_doubt_is_repeated_only_if_that_is_said(in_doubt, cli):
    text = cli("pending").output
    for way in ("ingest 1 y=VALUE", "approve 1 --again", "refuse 1 --reason TEXT", "the link was cut"):
        assert way in text
    error = cli("approve", 1, "--by", "ann", code=2).stderr
    assert "it may have been carried out" in error and "--again" in error
    assert "a trial is run again as it was" in cli("approve", 1, "--again", "--set", "mode=a", code=2).stderr
    cli("approve", 1, "--again", "--by", "ann")
    assert (last().kind, last().outcome, last().by) == ("settled", "rerun", "ann")
    cli("run", "careful.yaml", "--executor", "inline", "--no-wait", code=7)
    shown = json.loads(cli("show", 1, "--json").output)
    assert (shown["status"], shown["attempts"], shown["spent"]["money"]) == ("observed", 2, 4)
    assert "attempts" in cli("show", 1).output


def test_a_trial_in_doubt_is_given_up_and_its_answer_may_still_come(in_doubt, cli):
    cli("refuse", 1, "--reason", "nobody knows")
    assert (last().outcome, last().text) == ("abandoned", "nobody knows")
    assert json.loads(cli("show", 1, "--json").output)["status"] == "failed"
    cli("ingest", 1, "y=4")
    data = json.loads(cli("status", "--json").output)
    assert data["late"] == [1] and data["spent"]["money"] == 2 and data["experiments"] == 1
    assert "answered after being given up" in cli("status").output


def test_a_trial_in_doubt_is_answered_by_hand(in_doubt, cli):
    assert json.loads(cli("status", "--json").output)["in_doubt"] == [1]
    cli("ingest", 1, "y=4")
    assert json.loads(cli("show", 1, "--json").output)["status"] == "late"


def test_what_a_device_said_that_gave_no_reading_is_shown(waiting, cli):
    with Ledger.open("closedloop.db", "careful") as book:
        book.append(Approved(trial=1, by="ann"))
        book.append(Failed(trial=1, cause="invalid", message="overload", info={"raw": "9.9E37"}))
    assert "9.9E37" in cli("show", 1).output
    data = json.loads(cli("show", 1, "--json").output)
    assert data["status"] == "invalid" and data["failure"]["info"] == {"raw": "9.9E37"}


def test_a_wrong_reading_is_set_aside_and_restored_also_when_all_is_over(done, cli):
    best = json.loads(cli("best", "--json").output)["trial"]
    cli("quarantine", best, "--reason", "the lamp was off", "--by", "ann")
    data = json.loads(cli("status", "--json").output)
    assert data["set_aside"] == [best] and data["best"]["trial"] != best
    assert "set aside" in cli("status").output
    shown = cli("show", best).output
    assert "invalid" in shown and "the lamp was off" in shown
    cli("restore", best, "--reason", "it was on")
    data = json.loads(cli("status", "--json").output)
    assert data["set_aside"] == [] and data["best"]["trial"] == best
    cli("report", "--output", "r.html")
    text = (done / "r.html").read_text()
    assert "the lamp was off" in text and "it was on" in text


def test_pause_is_shown_and_resume_goes_on(waiting, cli):
    assert "is paused" in cli("pause", "--reason", "lunch", "--by", "bob").output
    assert json.loads(cli("status", "--json").output)["paused"] == {"by": "bob", "reason": "lunch"}
    assert "paused by bob: lunch" in cli("pending").output
    cli("resume", "careful", "--executor", "inline", "--no-wait", code=7)
    assert json.loads(cli("status", "--json").output)["paused"] is None


@pytest.mark.parametrize("command", ["stop", "abort"])
def test_a_campaign_that_nobody_runs_is_ended_at_once(waiting, cli, command):
    assert "nothing was commanded" in cli(command, "--reason", "enough", "--by", "bob").output
    assert kinds()[-1] == "stopped"
    assert "by bob: enough" in json.loads(cli("status", "--json").output)["stopped"]
    for again in (["stop"], ["pause"], ["amend", "budget.money=90"], ["approve", "1"]):
        assert "is over" in cli(*again, code=2).stderr
    assert kinds()[-1] == "stopped"


def test_an_amendment_changes_what_is_shown_and_what_is_held(waiting, cli):
    out = cli("amend", "budget.money=30", "parameters.temperature.high=95", "--reason", "more to spend").output
    assert "budget.money: 20" in out and "30" in out
    assert json.loads(cli("status", "--json").output)["budget"]["money"] == 30
    cli("amend", 'constraints=["temperature <= 50"]')
    cli("run", "careful.yaml", "--executor", "inline", "--no-wait", code=7)
    cli("report", "--output", "r.html")
    text = (waiting / "r.html").read_text()
    assert "more to spend" in text and "temperature &lt;= 50" in text


def test_the_best_says_where_it_lies_outside_what_was_amended(waiting, cli):
    cli("approve", 1, "--set", "temperature=80", "--by", "ann")
    cli("run", "careful.yaml", "--executor", "inline", "--no-wait", code=7)
    assert "outside" not in cli("best").output
    cli("amend", "parameters.temperature.high=70")
    assert "outside the space as it was amended" in cli("best").output
    assert json.loads(cli("best", "--json").output)["is_inside"] is False


def test_where_a_controller_is_busy_the_word_waits_in_the_inbox(waiting, cli, monkeypatch):
    monkeypatch.setattr(steering, "WAIT_S", 0.1)
    with Ledger.open("closedloop.db", "careful"):
        assert "left in the inbox" in cli("approve", 1, "--by", "ann").output
        assert json.loads(cli("pause", "--json").output) == {"taken": False, "event": None}
    assert "approved" not in kinds()
    cli("stop", "--by", "ann")  # whoever writes next takes them, oldest first
    assert [k for k in kinds() if k in ("approved", "paused", "ending")] == ["approved", "paused", "ending"]


def test_a_word_left_to_a_controller_that_goes_away_is_written_by_whoever_said_it(waiting):
    became = []
    with Ledger.open("closedloop.db", "careful"):
        word = Paused(by="ann", reason="lunch")
        saying = threading.Thread(
            target=lambda: became.append(steering.say("closedloop.db", "careful", word, wait_s=0.5))
        )
        saying.start()
        time.sleep(0.2)
        assert not became
    saying.join(10)
    assert [e.kind for e in became] == ["paused"]
    assert kinds().count("paused") == 1


def test_of_two_people_the_second_hears_why_her_word_is_not_taken(waiting):
    first = steering.say("closedloop.db", None, Refused(trial=1, by="bob", reason="no"))
    second = steering.say("closedloop.db", None, Approved(trial=1, by="ann"))
    assert first.kind == "refused"
    assert isinstance(second, Noted) and "trial 1 is cancelled" in second.text
    assert "approved" not in kinds()


def test_every_kind_of_event_has_its_line(folder):
    from typing import get_args

    from closedloop.controller import records
    from closedloop.controller.cli.lines import line_of
    from closedloop.controller.report.story import Story

    declared = {
        "name": "n", "goal": {"maximize": "y"}, "parameters": {"x": {}}, "responses": {"y": {}},
        "sources": {"s": {"instrument": "manual"}}, "budget": {"money": 3},
    }  # fmt: skip
    trial = Trial(number=1, source="s", setting={"x": 1.0})
    told = [
        Started(campaign=declared),
        records.Recalled(name="monday", campaign="old", readings=()),
        Proposed(trial=trial, asks="dear"),
        records.Approved(trial=1, by="ann", setting={"x": 2.0}),
        Acting(trial=1, attempt=2),
        Failed(trial=1, cause="timeout", message="silence", is_in_doubt=True),
        Settled(trial=1, outcome="unknown", by="driver", text="no memory"),
        Observed(trial=1, reading=Reading(values={"y": 1.0})),
        records.Quarantined(trial=1, by="agent", reason="odd"),
        records.Restored(trial=1, by="ann", reason="fine"),
        records.Assimilated(trials=(1,), belief={"kind": "none"}),
        records.Paused(by="breaker", reason="pump"),
        records.Resumed(by="ann"),
        records.Amended(by="ann", changes={"budget.money": 5}, campaign={**declared, "budget": {"money": 5}}),
        Proposed(trial=trial.model_copy(update={"number": 2})),
        records.Refused(trial=2, by="guard of 's'", reason="x too high", rule="x > 1"),
        records.Ending(by="ann", mode="abort", reason="smell"),
        records.Preferred(better=2, worse=1, by="ann"),
        records.Noted(text="a note"),
        records.Stopped(reason="aborted by ann"),
    ]
    story, lines = None, []
    for seq, event in enumerate(told, 1):
        stamped = event.model_copy(update={"seq": seq})
        if story is None:
            story = Story.of([stamped])
        else:
            story.tell(stamped)
        lines.append(line_of(story, stamped))
    assert {type(e) for e in told} == set(get_args(get_args(records.AnyEvent)[0]))
    text = "\n".join(lines)
    for words in ("x 1 → 2", "attempt 2", "silence", "no memory", "by the agent: odd", "fine", "by the breaker: pump",
                  "budget.money = 5", "by the guard of 's'", "x > 1", "at once: smell", "#2 rather than #1, says ann",
                  "a note"):  # fmt: skip
        assert words in text, words
    assert all("\n" not in line for line in lines)
    assert len(story.notes) >= 9
