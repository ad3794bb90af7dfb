"""What is asked of people is said truthfully: what may be typed works as typed, and what cannot be is refused with why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Acting, Approved, Paused

SCRIPT = Path(sys.executable).with_name("closedloop")
SOURCES = """
import closedloop as cl

class Bare(cl.Instrument):
    cost = {"money": 2.0}
    def measure(self, setting):
        return {"y": setting["x"]}

class Oven(Bare):
    def make_safe(self):
        pass
"""
CAMPAIGN = """
name: careful
parameters: {{x: {{low: 0, high: 9}}}}
responses: [y]
guard: {guard}
sources:
  oven: {{{oven}}}
goal: {{maximize: y}}
budget: {{money: 20}}
belief: climatology
"""
OVEN = 'instrument: "./sources.py:Oven"'
ASKED = OVEN + ", approval: {always: true, people: [ann, bob]}"
MANUAL = "instrument: manual, cost: {money: 2}"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the campaign's file into the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sources.py").write_text(SOURCES)

    def write(oven: str = ASKED, guard: str = "{}") -> None:
        (tmp_path / "c.yaml").write_text(CAMPAIGN.format(oven=oven, guard=guard))

    return write


def kinds() -> list[str]:
    return [e.kind for e in ledger_reader.events("closedloop.db")]


@pytest.mark.parametrize("patience", [("--no-wait",), ("--patience", 0.2)])
def test_a_manual_trial_ends_patience_too_and_how_to_answer_is_said(write, cli, patience):
    write(MANUAL)
    said = cli("run", "c.yaml", "--executor", "inline", *patience, code=7).stderr
    assert "trial 1 waits for its result" in said and "closedloop ingest 1 y=VALUE" in said
    cli("ingest", 1, "y=3")
    assert "trial 2 waits" in cli("run", "c.yaml", "--executor", "inline", *patience, code=7).stderr


def test_the_printed_approval_works_as_typed(write, cli):
    write()
    cli("run", "c.yaml", "--executor", "inline", "--no-wait", code=7)
    (ask,) = json.loads(cli("pending", "--json").output)
    way = ask["type"][0]
    assert way["command"] == "closedloop approve 1 --by ann" and "ann or bob may" in way["meaning"]
    assert "trial 1 may run" in cli(*way["command"].split()[1:]).output


@pytest.mark.parametrize(
    ("guard", "x", "rule"),
    [
        ("{limits: {x: [0, 5]}}", 8, "x=8 is above the guard's limit 5"),
        ('{forbidden: ["x >= 7"]}', 8, "lies where 'x >= 7' holds"),
    ],
)
def test_a_setting_that_the_guard_would_refuse_is_not_approved(write, cli, guard, x, rule):
    write(guard=guard)
    cli("run", "c.yaml", "--executor", "inline", "--no-wait", code=7)
    assert rule in cli("approve", 1, "--set", f"x={x}", "--by", "ann", code=2).stderr
    assert kinds()[-1] == "proposed"
    assert "may run at x=4" in cli("approve", 1, "--set", "x=4", "--by", "ann").output


def test_people_who_would_never_be_asked_are_refused(write, cli):
    write(OVEN + ", approval: {people: [ann]}")
    said = cli("run", "c.yaml", "--executor", "inline", code=2).stderr
    assert "approval" in said and "nobody would ever be asked" in said and "always: true" in said


@pytest.mark.parametrize(
    ("oven", "guard", "said"),
    [
        ('instrument: "./sources.py:Bare"', "{}", "Bare has no make_safe"),
        (OVEN, "{safe_setting: {x: 1}}", "Oven has no return_to"),
        (OVEN, '{interlocks: [{trip: "p >= 6"}]}', "Oven has no monitor"),
        (MANUAL, '{interlocks: [{trip: "p >= 6"}]}', "guard.interlocks: nothing beside 'oven' holds it"),
        (MANUAL + ", guard: {max_rate: {x: 1}}", "{}", "sources.oven.guard.max_rate: nothing beside 'oven' holds it"),
        (MANUAL, "{safe_setting: {x: 1}}", "guard.safe_setting: nothing beside 'oven' holds it"),
        (OVEN, "{limits: {x: [2, 5]}, safe_setting: {x: 1}}", "safe_setting x=1 lies outside guard.limits.x [2, 5]"),
        (OVEN, '{forbidden: ["x <= 2"], safe_setting: {x: 1}}', "safe_setting x=1 lies where 'x <= 2' holds"),
        (OVEN + ", start: bath", "{}", "has no such bench"),
        (OVEN + ", settings: {token: {env: NOT_SET_AT_ALL}}", "{}", "settings"),
    ],
)
def test_check_refuses_whatever_run_refuses_before_it_starts_anything(write, cli, oven, guard, said):
    write(oven, guard)
    answers = [cli(*command, code=2).stderr for command in (("check", "c.yaml"), ("run", "c.yaml"))]
    assert said in answers[0] and answers[0] == answers[1]
    assert not Path("closedloop.db").exists()


def test_a_budget_below_what_is_gone_is_refused_with_the_figures(write, cli):
    write()
    cli("run", "c.yaml", "--executor", "inline", "--no-wait", code=7)
    cli("approve", 1, "--by", "ann")
    cli("run", "c.yaml", "--executor", "inline", "--no-wait", code=7)
    said = cli("amend", "budget.money=3", code=2).stderr
    assert "2 is spent and 2 taken" in said and "at least 4" in said and "closedloop stop" in said
    assert kinds()[-1] == "proposed"
    cli("amend", "budget.money=4")


def test_what_cannot_be_amended_is_said_with_all_that_can(write, cli):
    write()
    cli("run", "c.yaml", "--executor", "inline", "--no-wait", code=7)
    said = " ".join(cli("amend", "seed=3", code=2).stderr.split())
    for key in ("budget.RESOURCE", "n_initial", "NAME.levels", "NAME.approval", "NAME.on_unknown", "NAME.on_failure"):
        assert key in said


def test_a_trial_that_was_cut_off_is_not_said_to_run(write, cli):
    write()
    cli("run", "c.yaml", "--executor", "inline", "--no-wait", code=7)
    with Ledger.open("closedloop.db", "careful") as book:
        book.append(Approved(trial=1, by="ann"))
        book.append(Acting(trial=1))
    data = json.loads(cli("status", "--json").output)
    assert data["running"] == [] and [t["trial"] for t in data["cut_off"]] == [1]
    for command in ("status", "pending"):
        shown = " ".join(cli(command).output.replace("│", " ").split())
        assert "settled on resume" in shown and "closedloop resume careful" in shown and "running" not in shown.split()
    cli("resume", "careful", "--executor", "inline", "--no-wait", code=7)
    assert "is in doubt" in cli("pending").output
    assert json.loads(cli("status", "--json").output)["cut_off"] == []


def test_every_pause_is_said(write, cli):
    write()
    cli("run", "c.yaml", "--executor", "inline", "--no-wait", code=7)
    with Ledger.open("closedloop.db", "careful") as book:
        book.append(Paused(by="guard of 'oven'", reason="p too high"))
        book.append(Paused(by="ann", reason="lunch"))
    text = cli("pending").output
    assert "paused by the guard of 'oven': p too high" in text and "paused by ann: lunch" in text
    assert [p["by"] for p in json.loads(cli("status", "--json").output)["pauses"]] == ["guard of 'oven'", "ann"]


def test_a_text_without_end_is_refused(write, cli):
    write()
    cli("run", "c.yaml", "--executor", "inline", "--no-wait", code=7)
    long, n = "a" * 100_000, len(kinds())
    for words in (
        ("pause", "--reason", long),
        ("pause", "--by", long),
        ("refuse", 1, "--reason", long),
        ("ingest", 1, "--failed", long),
    ):
        assert "has 100000 characters; a ledger keeps at most 2000" in cli(*words, code=2).stderr
    assert len(kinds()) == n


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_do_not_matter(write, closed):
    write(OVEN)
    for words in ("run c.yaml --executor inline", "status", "run c.yaml --executor inline --json"):
        done = subprocess.run(["sh", "-c", f"{SCRIPT} {words} {closed}"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and "Error" not in done.stderr
    assert kinds()[-1] == "stopped"


def test_where_only_one_of_several_pauses_ends_the_other_is_said(write, cli):
    from closedloop.controller.cli.lines import line_of
    from closedloop.controller.records import Resumed
    from closedloop.controller.report.story import read_story

    write()
    cli("run", "c.yaml", "--executor", "inline", "--no-wait", code=7)
    with Ledger.open("closedloop.db", "careful") as book:
        book.append(Paused(by="guard of 'oven'", reason="p too high"))
        book.append(Paused(by="ann", reason="lunch"))
        resumed = book.append(Resumed(by="guard of 'oven'", reason="clear"))
    assert line_of(read_story("closedloop.db"), resumed).endswith("clear; still paused by ann: lunch")
    cli("resume", "careful", "--executor", "inline", "--no-wait", code=7)  # a person ends them all
    assert json.loads(cli("status", "--json").output)["pauses"] == []
