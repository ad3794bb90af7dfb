"""Commands that run: a campaign is begun, checked, interrupted, resumed, and answered by hand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from closedloop.controller import steering
from closedloop.controller.ledger import reader as ledger_reader

MANUAL = """
name: hand
parameters: {temperature: {low: 20, high: 90, unit: degC}, mode: {choices: [a, b]}}
responses: {y: {unit: m}}
sources: {person: {instrument: "closedloop.instruments.manual:Manual", cost: {}}}
goal: {maximize: y}
budget: {trials: 6}
belief: climatology
"""


@pytest.fixture
def by_hand(folder, cli):
    (folder / "hand.yaml").write_text(MANUAL)
    cli("suggest", "--campaign", "hand.yaml", "-n", 2)
    return folder


def test_run_prints_one_line_an_event_and_ends_with_the_best(folder, cli):
    out = cli("run", "oven.yaml", "--executor", "inline").output
    lines = out.splitlines()
    n = len(ledger_reader.events("closedloop.db"))
    assert len(lines) == n + 3
    assert "started" in lines[0] and "stopped" in lines[n - 1]
    assert lines[n].startswith("best: ") and "closedloop report" in lines[-1]
    assert "was over already" in cli("run", "oven.yaml", "--executor", "inline").output
    assert "was over already" in cli("resume", "oven", "--executor", "inline").output


def test_run_json_is_the_ledger_event_by_event(folder, cli):
    from closedloop.controller.records import EVENT

    out = cli("run", "oven.yaml", "--executor", "inline", "--json").output
    assert [EVENT.validate_json(line) for line in out.splitlines()] == ledger_reader.events("closedloop.db")


def test_quiet_says_nothing(folder, cli):
    assert cli("run", "oven.yaml", "--executor", "inline", "--quiet").output == ""


def test_the_live_view_shows_where_the_campaign_stands(done):
    from rich.console import Console

    from closedloop.controller.cli.picture import now_utc, picture
    from closedloop.controller.report.story import Story, read_events

    events = read_events("closedloop.db")
    for n in range(1, len(events) + 1):
        console = Console(record=True, width=100, file=open("/dev/null", "w"))
        console.print(picture(Story.of(events[:n]), now=now_utc()))
        text = console.export_text()
        assert "maximize y" in text and "spent" in text
    assert "z " in text and "forecast" in text and "course" in text and "stopped" in text


def test_the_live_view_lives(folder, monkeypatch, capsys):
    from closedloop.controller.campaign_file import read_campaign
    from closedloop.controller.cli.running import Hands, carry_out
    from closedloop.controller.cli.watching import View

    carry_out(read_campaign(folder / "oven.yaml"), folder / "l.db", executor=Hands.INLINE, address=None, view=View.LIVE)
    assert "budget spent" in capsys.readouterr().out


def test_ctrl_c_finishes_pauses_makes_safe_and_resume_goes_on(folder, cli):
    text = (folder / "oven.yaml").read_text()
    slow = text.replace('Oven"}', 'Oven", settings: {delay_s: 0.5}}').replace("money: 5", "money: 8")
    (folder / "oven.yaml").write_text(slow)
    command = [sys.executable, "-c", "from closedloop.controller.cli import main; main()"]
    process = subprocess.Popen(
        [*command, "run", "oven.yaml", "--executor", "inline", "--ledger", "a b.db"], stdout=-1, stderr=-1, text=True
    )
    while not (folder / "oven_was_made").exists() or not _answered("a b.db"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.startswith("finishing what runs; press Ctrl-C again to abort\npaused; what ran has ended; ")
    assert "closedloop resume oven --ledger 'a b.db'" in said
    assert (folder / "oven_is_safe").exists()
    cli("resume", "oven", "--ledger", "a b.db", "--executor", "inline", "--quiet")
    assert json.loads(cli("status", "--ledger", "a b.db", "--json").output)["stopped"]


def _answered(ledger):
    try:
        return [t for t in ledger_reader.trials(ledger) if t.state == "observed"]
    except Exception:
        return []


def test_check_touches_no_instrument(folder, cli):
    out = cli("check", "oven.yaml").output
    assert not (folder / "oven_was_made").exists()
    for word in ("not touched", "climatology", "oven.yaml", "12 trials"):
        assert word in out
    data = json.loads(cli("check", "oven.yaml", "--json").output)
    assert data["holds"] == {"oven": 5, "model": 12}
    assert len(data["tried"]) == 2


def test_check_names_a_broken_simulator(folder, cli):
    text = (folder / "sources.py").read_text().replace('return {"y": 9', "raise ValueError('no'); return {\"y\": 9")
    (folder / "sources.py").write_text(text)
    assert "simulator 'model' failed" in cli("check", "oven.yaml", code=3).stderr


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("low: -5", "low: 50", 2, "oven.yaml:6: parameters.x"),
        ("maximize: y", "maximize: z", 2, "oven.yaml:12: goal: 'z' is no response; known: y"),
        ("sources.py:Oven", "sources.py:Ofen", 2, "Ofen"),
        ("budget:", "budgets:", 2, "budget"),
        ("{", "", 2, "not valid YAML"),
    ],
)
def test_a_bad_campaign_is_refused(folder, cli, old, new, code, said):
    (folder / "oven.yaml").write_text((folder / "oven.yaml").read_text().replace(old, new, 1))
    for command in ("check", "run"):
        assert said in cli(command, "oven.yaml", code=code).stderr
    assert not (folder / "closedloop.db").exists()


def test_bad_command_lines_are_refused(folder, cli):
    cli("run", "oven.yaml", "--executor", "magic", code=2)
    cli("frobnicate", code=2)
    assert "joins no cluster" in cli("run", "oven.yaml", "--executor", "inline", "--address", "auto", code=2).stderr
    assert "neither a file" in cli("run", "absent.yaml", code=2).stderr


def test_a_changed_campaign_is_refused_by_its_ledger(done, cli):
    (done / "oven.yaml").write_text((done / "oven.yaml").read_text().replace("money: 5", "money: 6"))
    assert "budget: differs" in cli("run", "oven.yaml", "--executor", "inline", code=2).stderr


def test_resume_says_when_a_source_was_given_in_python_only(folder, cli):
    import closedloop as cl

    class Local(cl.Instrument):
        def measure(self, setting):
            return {"y": setting["x"]}

    campaign = cl.Campaign(
        name="local",
        parameters={"x": {"low": 0, "high": 1}},
        responses=["y"],
        sources={"it": {"instrument": Local, "needs_make_safe": False}},
        goal={"maximize": "y"},
        budget={"trials": 2},
        belief="climatology",
    )
    cl.run(campaign, executor="inline")
    assert "was given in Python only" in cli("resume", code=2).stderr


def test_resume_finds_sources_beside_the_ledger(done, cli, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    resume = ("resume", "--ledger", done / "closedloop.db", "--executor", "inline")
    assert "not under the current folder" in cli(*resume, code=2).stderr
    assert "was over already" in cli(*resume, "--allow-code").output


def test_suggest_then_ingest(by_hand, cli):
    out = cli("suggest", "--json").output
    assert [t["number"] for t in json.loads(out)] == [3]
    cli("ingest", 1, "y=-3.5", "--sd", "y=0.1", "--achieved", "temperature=79", "--achieved", "mode=b")
    cli("ingest", 2, "--failed", "the vial broke")
    one, two, three = ledger_reader.trials("closedloop.db")
    assert one.achieved == {"temperature": 79.0, "mode": "b"}
    assert (one.readings[0].value, one.readings[0].sd) == (-3.5, 0.1)
    assert (two.state, two.message, three.state) == ("failed", "the vial broke", "approved")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["9", "y=1"], "was never proposed"),
        (["1"], "without ['y']"),
        (["1", "y=abc"], "not a finite number"),
        (["1", "y=nan"], "not a finite number"),
        (["1", "z=1"], "is no response"),
        (["1", "y"], "is not NAME=VALUE"),
        (["1", "y=1", "--sd", "y=-1"], "not negative"),
        (["1", "y=1", "--achieved", "pressure=1"], "is no parameter"),
        (["1", "y=1", "--achieved", "temperature=hot"], "not a finite number"),
        (["1", "y=1", "--failed", "both"], "--failed goes without values"),
    ],
)
def test_an_answer_that_cannot_be_taken_is_refused(by_hand, cli, args, said):
    assert said in cli("ingest", *args, code=2).stderr
    assert all(t.state == "approved" for t in ledger_reader.trials("closedloop.db"))


def test_an_answer_counts_once(by_hand, cli):
    cli("ingest", 1, "y=1")
    assert "was answered before" in cli("ingest", 1, "y=2", code=2).stderr


def test_while_another_holds_the_lease_an_answer_goes_to_the_inbox(by_hand, cli, monkeypatch):
    from closedloop.controller.ledger.writer import Ledger

    with Ledger.open("closedloop.db", "hand") as held:
        monkeypatch.setattr(steering, "WAIT_S", 0.1)
        assert "left in the inbox" in cli("ingest", 1, "y=4.5").output
        assert "is not proposed" in cli("ingest", 9, "y=1", code=4).stderr
        (event,) = held.inbox()
        assert (event.trial, event.reading.values) == (1, {"y": 4.5})
        assert "written by process" in cli("suggest", code=5).stderr
        assert "run by process" in cli("status").output


def test_a_driver_that_prints_does_not_stand_among_the_events(tmp_path):
    (tmp_path / "loud.py").write_text(
        "import closedloop as cl\n\n@cl.instrument(cost={'money': 1})\ndef loud(x):\n    print('pump started')\n    return {'y': x}\n"
    )
    (tmp_path / "c.yaml").write_text(
        "name: loud\nparameters: {x: {low: 0, high: 1}}\nresponses: [y]\nsources: {loud: {instrument: './loud.py:loud'}}\n"
        "goal: {maximize: y}\nbudget: {money: 3}\nbelief: climatology\n"
    )
    code = "from closedloop.controller.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "c.yaml", "--executor", "inline", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds.count("observed") == 3
    assert done.stderr.count("pump started") == 3
