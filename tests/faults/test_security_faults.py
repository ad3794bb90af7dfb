"""Faults 44 and 47 to 49: what comes from others runs no code, leaves no folder, gives no secret away, steers nothing."""

from __future__ import annotations

import ast
import base64
import csv
import io
import json
import os
import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import closedloop as cl
from closedloop.controller.campaign_file import read_campaign
from closedloop.controller.cli.commands import app
from closedloop.controller.cli.export import csv_of, harmless
from closedloop.controller.cli.terminal import escaped, json_text
from closedloop.controller.errors import CampaignError, ClosedLoopError
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.secret import check_secrets, mask, masked, reveal, variables

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(sys.executable).with_name("closedloop")

DRIVER = """
import closedloop as cl

open({canary!r}, "a").close()

class Oven(cl.Instrument):
    cost = {{"money": 1.0}}
    is_manual = False
    def measure(self, setting):
        return {{"y": setting["x"]}}
    def make_safe(self):
        pass
"""
CAMPAIGN = """
name: oven
parameters: {{x: {{low: 0, high: 1}}}}
responses: [y]
sources: {{oven: {{instrument: "{target}"}}}}
goal: {{maximize: y}}
budget: {{money: 2}}
belief: climatology
"""


def run(*args: object, code: int = 0) -> str:
    """One command line; what it printed, on either stream."""
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    return result.output


class Received:
    """A campaign and its driver from another person, in a folder that is not the current one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "received"
        self.canary = folder / "canary"
        self.folder.mkdir()
        (self.folder / "oven.py").write_text(DRIVER.format(canary=str(self.canary)))
        self.file = self.campaign("./oven.py:Oven")

    def campaign(self, target: str, name: str = "oven.yaml") -> Path:
        path = self.folder / name
        path.write_text(CAMPAIGN.format(target=target))
        return path

    @property
    def has_run(self) -> bool:
        return self.canary.exists()


@pytest.fixture
def received(tmp_path, monkeypatch) -> Received:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return Received(tmp_path)


# Code comes from the user's own environment


@pytest.mark.parametrize(
    "command", [["check"], ["run", "--executor", "inline"], ["suggest", "--campaign"]], ids=["check", "run", "suggest"]
)
def test_fault_44_a_received_campaign_runs_no_code_until_it_is_allowed(received, command):
    said = run(*command, received.file, code=2)
    assert "oven.py is not under the current folder" in said and "--allow-code" in said
    assert not received.has_run and not Path("closedloop.db").exists()
    run(*command, received.file, "--allow-code")
    assert received.has_run


def test_fault_44_neither_links_nor_dots_get_around_it(received):
    Path("linked").symlink_to(received.folder)
    Path("oven.py").symlink_to(received.folder / "oven.py")
    Path("oven.yaml").symlink_to(received.file)
    Path("sub").mkdir()
    for target in (
        "oven.py:Oven",
        "linked/oven.py:Oven",
        "../received/oven.py:Oven",
        "sub/../../received/oven.py:Oven",
    ):
        Path("c.yaml").write_text(CAMPAIGN.format(target=target))
        assert "is not under the current folder" in run("check", "c.yaml", code=2)
    for target in (received.folder / "oven.py", f"{os.getcwd()}/../received/oven.py", "//proc/self/cwd/oven.py"):
        Path("c.yaml").write_text(CAMPAIGN.format(target=f"{target}:Oven"))
        assert "is not under the current folder" in run("check", "c.yaml", code=2)
    assert "is not under the current folder" in run("check", "oven.yaml", code=2)
    assert "is not under the current folder" in run("check", "linked/oven.yaml", code=2)
    assert not received.has_run


def test_fault_44_a_folder_whose_name_begins_as_the_current_one_is_another(received):
    other = Path(f"{os.getcwd()}-of-others")
    other.mkdir()
    (other / "oven.py").write_text(DRIVER.format(canary=str(received.canary)))
    Path("c.yaml").write_text(CAMPAIGN.format(target=f"{other}/oven.py:Oven"))
    run("check", "c.yaml", code=2)
    assert not received.has_run


def test_what_is_under_the_current_folder_runs_as_it_always_did(received, monkeypatch):
    monkeypatch.chdir(received.folder)
    run("run", "oven.yaml", "--executor", "inline", "--quiet")
    assert received.has_run


def test_fault_44_from_python_the_same_holds(received):
    declared = {
        "name": "p",
        "parameters": {"x": {"low": 0, "high": 1}},
        "responses": ["y"],
        "sources": {"oven": {"instrument": f"{received.folder}/oven.py:Oven"}},
        "goal": {"maximize": "y"},
        "budget": {"money": 2},
    }
    with pytest.raises(CampaignError, match="allow_code=True"):
        cl.run(cl.Campaign(**declared), ledger="l.db", executor="inline")
    with pytest.raises(CampaignError, match="allow_code=True"):
        read_campaign(received.file).resolve()
    assert not received.has_run
    assert read_campaign(received.file, allow_code=True).resolve().cost_of("oven")["money"] == 1.0


@pytest.fixture
def ledger(received, monkeypatch) -> Path:
    """A ledger from another person, begun in their folder; no code was run here yet."""
    here = Path.cwd()
    monkeypatch.chdir(received.folder)
    run("suggest", "--campaign", "oven.yaml", "--ledger", "theirs.db")
    monkeypatch.chdir(here)
    received.canary.unlink()
    return received.folder / "theirs.db"


def as_if_imported_never(received: Received) -> None:
    for name in [n for n, m in sys.modules.items() if getattr(m, "__file__", None) == str(received.folder / "oven.py")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "command",
    [
        ["resume", "--executor", "inline", "--no-wait"],
        ["ingest", 1, "y=0.5"],
        ["suggest"],
        ["run", "oven", "--executor", "inline"],
    ],
    ids=["resume", "ingest", "suggest", "run"],
)
def test_fault_47_a_received_ledger_runs_no_code_until_it_is_allowed(received, ledger, command):
    as_if_imported_never(received)
    said = run(*command, "--ledger", ledger, code=2)
    assert "is not under the current folder" in said or command[0] == "run"  # which names no campaign that ships
    assert not received.has_run
    if command[0] != "run":
        run(*command, "--ledger", ledger, "--allow-code", code=7 if command[0] == "resume" else 0)
        assert received.has_run


@pytest.mark.parametrize(
    "command",
    [["status"], ["best"], ["show", 1], ["export"], ["verify"], ["replay"], ["report", "-o", "r.html"], ["sources"]],
    ids=lambda c: c[0],
)
def test_fault_47_reading_a_ledger_never_runs_code(received, ledger, command):
    as_if_imported_never(received)
    result = CliRunner().invoke(app, [*map(str, command), "--ledger", str(ledger)])
    assert result.exit_code in (0, 4), result.output
    assert not received.has_run


# Secrets


@pytest.fixture(autouse=True)
def nothing_revealed(monkeypatch):
    """What one test reveals in this process is masked in no other test."""
    monkeypatch.setattr("closedloop.controller.secret._revealed", {})


CANARY = "s3cr3t/canary+9d2f"
FORMS = (CANARY, "s3cr3t%2Fcanary%2B9d2f")
TELLTALE = """
import os
import closedloop as cl

class Rig(cl.Instrument):
    cost = {"money": 1.0}
    timeout = 30.0

    def __init__(self, token, login, where="measure"):
        self.token, self.where, self.n = token, where, 0
        assert login["keys"][0] == token
        if where == "init":
            raise ValueError(f"cannot log in with {token!r}")

    def connect(self):
        if self.where == "connect":
            raise ConnectionError(f"https://rig/?key={self.token} refused")

    def measure(self, setting):
        self.n += 1
        if self.n == 1:
            raise ValueError(f"bad token {self.token}")
        if self.n == 2:
            raise cl.SourceError("x" * 1795 + self.token)
        if self.n == 3:
            return {"y": self.token}
        if self.n == 4:
            return [self.token]
        if self.n == 5:
            return cl.Reading(values={"y": 1.0}, sd={"y": self.token})
        if self.n == 6:
            raise KeyError(self.token)
        if self.n == 7:
            raise OSError(f"GET /?token={self.token.replace('/', '%2F').replace('+', '%2B')} failed")
        leaks = [p for p in os.listdir("/proc") if p.isdigit() and self._is_on_command_line(p)]
        raw = {"url": f"tcp://{self.token}@rig", self.token: [{"deep": (self.token,)}], "ps": len(leaks)}
        return {"y": setting["x"], "raw": raw, self.token: 1}

    def _is_on_command_line(self, pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return self.token.encode() in file.read()
        except OSError:
            return False

    def make_safe(self):
        if self.n == 9:
            raise RuntimeError(f"still on: {self.token}")

    def close(self):
        raise RuntimeError(self.token)
"""
WITH_SECRET = """
name: rig
parameters: {x: {low: 0, high: 1}}
responses: [y]
sources:
  rig:
    instrument: "./rig.py:Rig"
    settings: {token: {env: LAB_TOKEN}, login: {user: me, keys: [{env: LAB_TOKEN}]}, where: WHERE}
    on_failure: {breaker: 50}
    needs_make_safe: false
goal: {maximize: y}
budget: {money: 9}
belief: climatology
"""


@pytest.fixture
def rig(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_TOKEN", CANARY)
    (tmp_path / "rig.py").write_text(TELLTALE)
    (tmp_path / "rig.yaml").write_text(WITH_SECRET.replace("WHERE", "measure"))
    return tmp_path


def command_line(*args: object) -> tuple[int, str]:
    done = subprocess.run([SCRIPT, *map(str, args)], capture_output=True, text=True, check=False, timeout=240)
    return done.returncode, done.stdout + done.stderr


def assert_kept(folder: Path, said: str) -> None:
    for form in FORMS:
        assert form not in said
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert form.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_secret_reaches_the_driver_and_nothing_else(rig, executor):
    code, said = command_line("run", "rig.yaml", "--executor", executor, "--json")
    assert code == 8, said  # its make_safe fails, and says why
    for args in (["report"], ["status", "--json"], ["export"], ["show", 1, "--json"], ["show", 9], ["replay"]):
        said += command_line(*args)[1]
    assert_kept(rig, said)
    events = ledger_reader.events("closedloop.db")
    failures = [e for e in events if e.kind == "failed"]
    assert len(failures) == 7
    assert "bad token <LAB_TOKEN>" in failures[0].message  # it was known where the source was made
    readings = [e.reading for e in events if e.kind == "observed"]
    assert {str(r.info["raw"]["url"]) for r in readings} == {"tcp://<LAB_TOKEN>@rig"}
    assert {r.info["raw"]["ps"] for r in readings} == {0}
    assert events[0].campaign["sources"]["rig"]["settings"]["token"] == {"env": "LAB_TOKEN"}


@pytest.mark.parametrize("where", ["init", "connect"])
@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_secret_is_kept_where_the_source_cannot_be_made_or_connected(rig, where, executor):
    (rig / "rig.yaml").write_text(WITH_SECRET.replace("WHERE", where))
    code, said = command_line("--debug", "run", "rig.yaml", "--executor", executor)
    assert code == 3, said
    assert "<LAB_TOKEN>" in said
    assert_kept(rig, said)


def test_a_secret_that_is_not_set_is_named_before_anything_runs(rig, monkeypatch):
    for value in (None, ""):
        monkeypatch.delenv("LAB_TOKEN", raising=False)
        if value is not None:
            monkeypatch.setenv("LAB_TOKEN", value)
        said = run("check", "rig.yaml", code=2)
        assert (
            "source 'rig': settings.token is taken from the environment variable 'LAB_TOKEN', which is not set" in said
        )
        code, said = command_line("run", "rig.yaml", "--executor", "inline")
        assert code == 2 and "'LAB_TOKEN', which is not set here; set it first" in said
        assert not Path("closedloop.db").exists() or ledger_reader.campaigns("closedloop.db") == []


def test_settings_that_do_not_fit_are_told_without_the_secret(monkeypatch):
    from closedloop.controller.source import make_source

    class Picky(cl.Instrument):
        def __init__(self, token):
            raise TypeError(f"{token} is no token")

        def measure(self, setting):
            return {}

    monkeypatch.setenv("LAB_TOKEN", CANARY)
    with pytest.raises(CampaignError, match="<LAB_TOKEN> is no token") as refused:
        make_source(Picky, {"token": {"env": "LAB_TOKEN"}}, name="picky")
    assert CANARY not in str(refused.value) and "{'env': 'LAB_TOKEN'}" in str(refused.value)
    assert refused.value.__suppress_context__ and refused.value.__cause__ is None


def test_secrets_are_found_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("ONE", "first value")
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhki\n"
    monkeypatch.setenv("TWO", key)
    settings = {"a": {"env": "ONE"}, "b": [1, {"c": {"env": "TWO"}}], "d": {"env": "ONE", "x": 1}, "env": "ONE"}
    assert variables(settings) == {"a": "ONE", "b.1.c": "TWO"}
    assert reveal(settings, source="s") == {**settings, "a": "first value", "b": [1, {"c": key}]}
    assert mask("first value, first%20value, first+value, MIIEvQIBADANBgkq") == "<ONE>, <ONE>, <ONE>, <TWO>"
    assert mask(key) == mask(repr(key)[1:-1]) == "<TWO>" and mask("hki, first, value") == "hki, first, value"
    assert masked({"first value": ("x first value", 3, None)}) == {"<ONE>": ["x <ONE>", 3, None]}


@pytest.mark.parametrize("variable", ["LAB TOKEN", "", "9", 5, None, "a=b", "$HOME"])
def test_a_variable_that_can_be_none_is_refused(variable):
    with pytest.raises(CampaignError, match=r"settings\.token\.env = .*: is no name of a variable; write"):
        check_secrets({"token": {"env": variable}}, source="s")


# Spreadsheets and terminals


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "+1+cmd|' /C calc'!A0", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "  =1", "\u00a0=1", "\u3000@x"),
        *(
            "\uff1d1+1",
            "\uff0b1",
            "\uff0d1",
            "\uff20x",
            "\ufeff=1",
            "\u200b=1",
            "-inf",
            "-1_000",
            "- 5",
            "+",
            "-5 degC",
            "\t-5",
        ),
    ],
)
def test_fault_49_text_that_a_spreadsheet_carries_out_is_neutral(text):
    ((cell,),) = list(csv.reader(io.StringIO(csv_of([{"a": text}]))))[1:]
    assert cell.startswith("'")


@pytest.mark.parametrize(
    "text", ["-5", "-5.25", "+3", "1e-3", "-1E+5", "-.5", "-5.", "plain", "a=b", "x-1", "5 - 3", ""]
)
def test_fault_49_numbers_and_plain_words_stay_as_they_are(text):
    assert harmless(text) == text


@given(st.floats(allow_nan=False) | st.integers())
def test_fault_49_a_negative_number_is_untouched(x):
    ((cell,),) = list(csv.reader(io.StringIO(csv_of([{"a": x}]))))[1:]
    assert type(x)(cell) == x and not cell.startswith("'")


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_fault_49_cells_stay_apart_and_hold_no_control_character(texts):
    written = csv_of([{f"c{k}": text for k, text in enumerate(texts)}])
    (row,) = list(csv.reader(io.StringIO(written)))[1:]
    assert row == [harmless(t) for t in texts]
    assert not any(c in "\x1b\x00\x07\x9b\x7f\r" or "\ud800" <= c <= "\udfff" for c in written)
    # Where a semicolon or a tab parts the cells instead, each is still within its quotation marks.
    for delimiter in (";", "\t", "|"):
        for cell in next(
            csv.reader(io.StringIO(csv_of([{"a": texts[0]}]).partition("\n")[2]), delimiter=delimiter), []
        ):
            assert cell == harmless(texts[0])


@given(st.text())
def test_fault_49_json_keeps_what_was_said_and_steers_no_terminal(text):
    written = json_text({"a": text})
    assert json.loads(written) == {"a": text}
    assert not any(c in "\x1b\x00\x07\x9b\x7f\u202e" for c in written)
    assert json.loads(escaped(json.dumps(text, ensure_ascii=False))) == text


def test_fault_49_a_drivers_escapes_reach_no_terminal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "oven.py").write_text(
        "import closedloop as cl\n\n@cl.instrument(cost={'money': 1})\ndef Oven(x):\n"
        "    raise ValueError('\\x1b[2J\\x1b]0;owned\\x07 =1+1 \\x9b31m \\u202e \\r gone')\n"
    )
    text = CAMPAIGN.format(target="./oven.py:Oven").replace("name: oven", 'name: oven\ndescription: "\\e[31m"')
    (tmp_path / "oven.yaml").write_text(text)
    said = run("run", "oven.yaml", "--executor", "inline") + run("run", "oven.yaml", "--executor", "inline", "--json")
    for args in (
        ["status"],
        ["status", "--json"],
        ["show", 1],
        ["show", 1, "--json"],
        ["export"],
        ["best"],
        ["sources"],
    ):
        said += run(*args)
    said += run("export", "--format", "json")
    assert not any(c in said for c in "\x1b\x07\x9b\u202e\r")
    assert "[2J" in said and "gone" in said


# Pickles


class Bomb:
    """Unpickling it leaves a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


@pytest.mark.parametrize("protocol", [0, 4])
def test_fault_48_a_pickle_in_place_of_a_file_is_not_loaded(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    bomb = pickle.dumps(Bomb(canary), protocol=protocol)
    assert pickle.loads(bomb) and canary.exists(), "the bomb itself does not work"
    canary.unlink()
    for name in ("c.yaml", "c.pkl", "rules.yaml"):
        (tmp_path / name).write_bytes(bomb)
        with pytest.raises(CampaignError):
            read_campaign(tmp_path / name)
    text = CAMPAIGN.format(target="manual")
    (tmp_path / "with_rules.yaml").write_text(text + "guard: rules.yaml\n")
    with pytest.raises(CampaignError):
        read_campaign(tmp_path / "with_rules.yaml")
    (tmp_path / "bomb.db").write_bytes(bomb)
    for args in (["status"], ["verify"], ["resume"], ["report"], ["export"]):
        run(*args, "--ledger", "bomb.db", code=4)
    assert not canary.exists()


def test_fault_48_a_pickle_in_a_field_of_a_ledger_is_not_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    (tmp_path / "c.yaml").write_text(CAMPAIGN.format(target="manual").replace('manual"', 'manual", cost: {money: 1}'))
    run("suggest", "--campaign", "c.yaml")
    bomb = pickle.dumps(Bomb(canary))
    for payload in (
        bomb,
        base64.b64encode(bomb).decode(),
        json.dumps({"kind": "noted", "text": base64.b64encode(bomb).decode()}),
    ):
        path = tmp_path / "bombed.db"
        with sqlite3.connect("closedloop.db") as source, sqlite3.connect(path) as copy:
            source.backup(copy)
            (table,) = [
                r[0] for r in copy.execute("SELECT name FROM sqlite_master WHERE type='table' AND name LIKE 'event%'")
            ]
            for (trigger,) in copy.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
                copy.execute(f"DROP TRIGGER {trigger}")
            copy.execute(f"UPDATE {table} SET payload = ? WHERE seq = 2", (payload,))
        copy.close()
        for args in (["status"], ["verify"], ["report"], ["export"], ["replay"], ["resume", "--executor", "inline"]):
            result = CliRunner().invoke(app, [*args, "--ledger", str(path)])
            assert result.exit_code != 0 or args[0] in ("status", "report", "export", "replay"), (args, result.output)
            assert not isinstance(result.exception, pickle.UnpicklingError)
        path.unlink()
    assert not canary.exists()


ALLOWED = {  # where a name may stand, and why
    "controller/actors/executor.py": "Ray carries the class of a user's file to our own worker on this run's cluster",
    "controller/actors/slots.py": "Ray carries the class of a user's file to our own worker on this run's cluster",
    "controller/guard/process.py": "a pipe between two of our own processes",
    "controller/guard/link.py": "a pipe between two of our own processes",
    "controller/guard/charge.py": "the class of a user's source, over the private socket to its guard",
    "controller/guard/hand.py": "the class of a user's source, over the private socket of whoever started the guard",
    "controller/guard/wire.py": "the same socket",
    "controller/source_contract.py": "a test of a user's own class, of bytes that it has just made",
}
LOADERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle", "code"}
RUNNERS = {"eval", "exec", "compile", "__import__"}
KEYWORDS = {"allow_pickle", "shell"}
LOADS_OF = {"torch", "np", "numpy", "yaml"}
FILES = [p for f in ("controller", "simulators", "instruments", "campaigns") for p in sorted((ROOT / f).rglob("*.py"))]


def dangers(tree: ast.AST) -> list[str]:
    """What in a program loads objects or runs text."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                found += [a.name for a in node.names if a.name.partition(".")[0] in LOADERS]
            case ast.ImportFrom(level=0, module=str(module)):
                found += [module] if module.partition(".")[0] in LOADERS else []
                found += [a.name for a in node.names if a.name in LOADERS]
            case ast.Attribute(attr=attr) if attr in LOADERS - {"code"} or attr in {"unsafe_load", "full_load"}:
                found.append(attr)
            case ast.Constant(value=str(text)) if text in LOADERS - {"code"}:
                found.append(repr(text))
            case ast.Call(func=ast.Name(id=name)) if name in RUNNERS:
                found.append(name)
            case ast.Call(func=ast.Attribute(attr="load", value=ast.Name(id=name))) if name in LOADS_OF:
                found.append(f"{name}.load")
            case ast.Call(func=ast.Attribute(attr="system" | "popen")):
                found.append("os.system")
            case ast.Call(func=ast.Name(id="YAML"), keywords=keywords):
                said = {k.arg: getattr(k.value, "value", None) for k in keywords}
                found += [] if said == {"typ": "safe", "pure": True} else [f"YAML({said})"]
            case ast.keyword(arg=str(arg)) if arg in KEYWORDS:
                found.append(arg)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_fault_48_nothing_in_the_package_loads_objects_or_runs_text(path):
    place = str(path.relative_to(ROOT))
    found = dangers(ast.parse(path.read_text()))
    assert not found or place in ALLOWED, f"{place}: {found}"


@pytest.mark.parametrize(
    "program",
    [
        *(
            "import pickle",
            "from cloudpickle import loads",
            "import_module('dill')",
            "ray.cloudpickle.loads(x)",
            "eval('1')",
        ),
        *("exec(x)", "torch.load(f)", "np.load(f)", "f(x, allow_pickle=True)", "yaml.load(f)", "YAML(typ='unsafe')"),
        *("YAML()", "run(x, shell=True)", "os.system('x')", "from os import path as p, pickle"),
    ],
)
def test_fault_48_the_search_finds_what_it_is_for(program):
    assert dangers(ast.parse(program))


def test_every_refusal_is_one_of_ours():
    assert issubclass(CampaignError, ClosedLoopError)
