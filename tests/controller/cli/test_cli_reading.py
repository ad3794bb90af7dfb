"""Reading commands: each says what the ledger holds, starts light, and complains in one message."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "pandas", "sqlmodel", "sqlalchemy", "matplotlib", "numpy", "scipy", "pint", "pyarrow")
LIGHT_COMMANDS = (
    ["--help"],
    ["status"],
    ["best"],
    ["show", "3"],
    ["export"],
    ["verify"],
    ["status", "--json"],
    ["pending"],
)


def test_light_commands_load_no_heavy_library(done):
    program = (
        "import sys\nfrom closedloop.controller.cli.commands import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, *c], stdout=-1, stderr=-1, text=True) for c in LIGHT_COMMANDS
    ]
    for command, process in zip(LIGHT_COMMANDS, running, strict=True):
        _, said = process.communicate(timeout=60)
        assert said.strip() == "[]", (command, said)


def test_every_command_has_help_with_an_example(cli):
    from closedloop.controller.cli.application import ORDER

    main = cli("--help").output
    for word in ("Exit codes", "130 interrupted", "5 another controller"):
        assert word in " ".join(main.split())
    for name in ORDER:
        assert name in main
        assert "Example: closedloop" in " ".join(cli(name, "--help").output.split())


def test_version(cli):
    assert cli("--version").output.startswith("closedloop 0.")


def test_status_agrees_with_the_state(done, cli):
    from closedloop.controller.campaign import Campaign
    from closedloop.controller.campaign_run import Result
    from closedloop.controller.evolve import replay
    from closedloop.controller.ledger import reader as ledger_reader

    events = ledger_reader.events("closedloop.db")
    result = Result(replay(Campaign.trusted(events[0].campaign), events))
    data = json.loads(cli("status", "--json").output)
    assert data["spent"] == pytest.approx(result.spent)
    assert data["best"]["trial"] == result.best.number
    assert data["best"]["objective"] == result.best.objective
    assert data["stopped"] == result.why_stopped
    assert data["experiments"] == result.state.n_readings("oven")
    text = cli("status").output
    assert "budget spent" in text and "oven" in text
    assert json.loads(cli("best", "--json").output) == data["best"]
    assert f"#{result.best.number}" in cli("best").output


def test_show(done, cli):
    text = cli("show", 5).output
    for word in ("setting", "why", "space-filling", "reading", "m"):
        assert word in text
    data = json.loads(cli("show", 5, "--json").output)
    assert data["number"] == 5
    assert set(data["z"]) == {"y"}
    error = cli("show", 99, code=4).stderr
    assert "trial 99 is not in campaign 'oven'" in error


def test_export_csv_holds_every_trial_and_no_formula(done, cli):
    rows = list(csv.DictReader(io.StringIO(cli("export").output)))
    assert [int(r["trial"]) for r in rows] == list(range(1, len(rows) + 1))
    assert {r["mode"] for r in rows} <= {"'=1+1", "'@b", "plain"}
    assert {r["mode"] for r in rows} & {"'=1+1", "'@b"}
    negative = [r for r in rows if r["x"].startswith("-")]
    assert negative and all(float(r["x"]) < 0 for r in negative)
    assert all(float(r["x.achieved"]) != float(r["x"]) for r in rows if r["source"] == "oven")


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@a", "\tx", "\rx"])
def test_text_that_a_spreadsheet_carries_out_is_neutralised(text):
    from closedloop.controller.cli.export import csv_of

    ((read,),) = list(csv.reader(io.StringIO(csv_of([{"a": text}]))))[1:]
    assert read == "'" + text.replace("\r", "\n")
    assert csv_of([{"a": "-1.5", "b": -2.5, "c": "plain"}]).splitlines()[1] == "-1.5,-2.5,plain"


def test_export_json_and_parquet_hold_the_same(done, cli, monkeypatch):
    import pyarrow.parquet as pq

    rows = json.loads(cli("export", "--format", "json").output)
    cli("export", "--output", "trials.parquet")
    assert pq.read_table("trials.parquet").to_pylist() == rows
    cli("export", "--format", "parquet", code=1)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install closedloop[parquet]" in cli("export", "--output", "t.parquet", code=1).stderr
    assert "cannot be written" in cli("export", "--output", "no/such/folder.csv", code=1).stderr


def test_a_ledger_that_is_not_there_or_is_none(folder, cli):
    (folder / "text.db").write_text("this is no ledger")
    for command in (["status"], ["best"], ["show", 1], ["export"], ["verify"], ["replay"], ["report"], ["resume"]):
        assert "there is no ledger" in cli(*command, "--ledger", "absent.db", code=4).stderr
        assert cli(*command, "--ledger", "text.db", code=4).stderr.startswith("error:")


def test_several_campaigns_are_listed_until_one_is_named(done, cli):
    text = (done / "oven.yaml").read_text().replace("name: oven", "name: second")
    (done / "second.yaml").write_text(text)
    cli("run", "second.yaml", "--executor", "inline", "--quiet")
    assert "oven, second" in cli("status", code=4).stderr
    assert "second" in cli("status", "--campaign", "second").output
    assert cli("verify").output.count("whole") == 2


def test_an_unexpected_error_is_one_line_that_asks_to_report_it(done, cli, monkeypatch):
    from closedloop.controller.cli import look

    def broken(*_):
        raise KeyError("surprise")

    monkeypatch.setattr(look, "read_standing", broken)
    error = cli("status", code=1).stderr
    assert error.count("\n") == 1 and "surprise" in error and "--debug" in error


def test_debug_shows_the_traceback(done):
    from typer.testing import CliRunner

    from closedloop.controller.cli import look
    from closedloop.controller.cli.commands import app

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look, "read_standing", lambda *_: 1 / 0)
        assert "Traceback" in CliRunner().invoke(app, ["--debug", "status"]).stderr


def test_the_console_script_takes_a_closed_pipe():
    script = os.path.join(os.path.dirname(sys.executable), "closedloop")
    process = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "Usage: closedloop" in process.stdout
