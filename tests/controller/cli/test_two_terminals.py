"""Two terminals on one ledger: one runs the campaign, the other steers it, and the device's record judges."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from closedloop.controller.ledger import reader as ledger_reader

SCRIPT = Path(sys.executable).with_name("closedloop")
SOURCES = """
from closedloop.instruments.mock import Mock

class Slow(Mock):
    cost = {"money": 1.0}
    def __init__(self, delay_s=0.4):
        super().__init__(lambda setting: {"y": -(setting["x"] - 3) ** 2}, delay_s=delay_s, record="record.jsonl")
"""
CAMPAIGN = """
name: slow
seed: 3
parameters: {x: {low: -5, high: 5, unit: degC}}
responses: {y: {unit: m}}
sources: {device: {instrument: "./sources.py:Slow"}}
goal: {maximize: y}
budget: {money: 500}
belief: climatology
"""
LIMIT_S = 40.0


@pytest.fixture
def slow(tmp_path, monkeypatch) -> Path:
    (tmp_path / "sources.py").write_text(SOURCES)
    (tmp_path / "slow.yaml").write_text(CAMPAIGN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def terminal():
    """Begins a run in the other terminal, and ends it with the test."""
    begun: list[subprocess.Popen] = []

    def begin(*args: object) -> subprocess.Popen:
        command = [str(SCRIPT), "run", "slow.yaml", "--executor", "inline", *map(str, args)]
        with open("out.txt", "w") as out, open("err.txt", "w") as err:
            begun.append(subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True))
        return begun[-1]

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.wait()


def here(*args: object, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([str(SCRIPT), *map(str, args)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, (args, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    return done


def events() -> list:
    try:
        return ledger_reader.events("closedloop.db")
    except Exception:
        return []


def until(condition, what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"{what}: {[e.kind for e in events()]}, {Path('err.txt').read_text()}"
        time.sleep(0.05)


def n_of(kind: str) -> int:
    return sum(e.kind == kind for e in events())


def status() -> dict:
    return json.loads(here("status", "--json").stdout)


def commands(name: str) -> list[dict]:
    return [c for line in Path("record.jsonl").read_text().splitlines() if (c := json.loads(line))["command"] == name]


def test_pause_resume_amend_and_stop_from_the_other_terminal(slow, terminal):
    running = terminal()
    until(lambda: n_of("observed") >= 2, "two readings")
    assert "is paused" in here("pause", "--reason", "lunch", "--by", "ann").stdout
    until(lambda: not status()["running"], "what ran has ended")
    n_then = len(commands("measure"))
    time.sleep(1.2)  # three trials' time
    assert len(commands("measure")) == n_then
    assert status()["paused"] == {"by": "ann", "reason": "lunch"}
    assert "paused by ann: lunch" in here("pending").stdout
    here("amend", "budget.money=400", "parameters.x.high=2", "--by", "bob")
    assert "slow goes on" in here("resume", "slow", "--by", "ann").stdout
    until(lambda: len(commands("measure")) >= n_then + 3, "three more")
    assert all(c["setting"]["x"] <= 2 for c in commands("measure")[n_then:])
    assert "ends once what runs has ended" in here("stop", "--reason", "good enough", "--by", "ann").stdout
    assert running.wait(LIMIT_S) == 0
    assert status()["stopped"] == "stopped by ann: good enough"
    assert n_of("observed") == len(commands("measure")) == n_of("acting")
    out = Path("out.txt").read_text()
    for words in (
        "paused      by ann: lunch",
        "type: closedloop resume slow",
        "amended     by bob",
        "resumed     by ann",
    ):
        assert words in out


def test_approve_with_another_setting_from_the_other_terminal(slow, terminal):
    text = CAMPAIGN.replace('Slow"', 'Slow", approval: {always: true, people: [ann]}')
    (slow / "slow.yaml").write_text(text)
    terminal()
    until(lambda: n_of("proposed") == 1, "the first proposal")
    assert "eve may not approve trial 1; ann may" in here("approve", 1, "--by", "eve", code=1).stderr
    assert not Path("record.jsonl").exists()
    assert "trial 1 may run at x=1.5" in here("approve", 1, "--set", "x=1.5", "--by", "ann").stdout
    until(lambda: n_of("proposed") == 2, "the second proposal")
    assert [c["setting"]["x"] for c in commands("measure")] == [1.5]
    here("refuse", 2, "--reason", "too cold", "--by", "ann")
    until(lambda: n_of("proposed") == 3, "the third proposal")
    assert [c["setting"]["x"] for c in commands("measure")] == [1.5]
    assert Path("out.txt").read_text().count("closedloop approve 1 ") == 1
    here("abort", "--by", "ann")
    until(lambda: n_of("stopped") == 1, "the end")
    assert status()["not_run"] == [2, 3]


def test_abort_makes_safe_and_ends(slow, terminal):
    running = terminal()
    until(lambda: n_of("observed") >= 1, "a reading")
    here("abort", "--reason", "it smells", "--by", "ann")
    assert running.wait(LIMIT_S) == 0
    assert status()["stopped"] == "aborted by ann: it smells"
    told = [json.loads(line)["command"] for line in Path("record.jsonl").read_text().splitlines()]
    assert told[-1] == "make_safe"
    assert n_of("observed") == len(commands("answer"))


def test_a_word_to_a_controller_that_was_killed_is_taken_all_the_same(slow, terminal):
    running = terminal()
    until(lambda: n_of("acting") > n_of("observed") >= 1, "a reading, and a trial under way")
    os.kill(running.pid, 9)
    running.wait()
    assert "is paused" in here("pause", "--by", "ann").stdout
    assert "cut off" in here("status").stdout and len(status()["cut_off"]) == 1 and not status()["running"]
    here("resume", "slow", "--executor", "inline", "--no-wait", code=7)
    assert not status()["running"]
