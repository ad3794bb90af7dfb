"""Faults 15 and 16: Ctrl-C once and twice at a real terminal, and a polite kill; never stuck in "running"."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import signal
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from closedloop.controller.ledger import reader as ledger_reader

SCRIPT = Path(sys.executable).with_name("closedloop")
SOURCES = """
import time
from closedloop.instruments.mock import Mock

class Device(Mock):
    cost = {"money": 1.0}
    def __init__(self, record="record.jsonl", **faults):
        super().__init__(lambda setting: {"y": setting["x"]}, record=record, **faults)
    def close(self):
        self._note("close")
"""
CAMPAIGN = """
name: c
seed: 3
parameters: {{x: {{low: 0, high: 5}}}}
responses: [y]
sources: {{device: {{instrument: "./sources.py:Device", settings: {settings}, on_unknown: {on_unknown}}}}}
goal: {{maximize: y}}
budget: {{money: {money}}}
belief: climatology
"""
RUN = (str(SCRIPT), "run", "c.yaml", "--executor", "inline")
ENDED = "from closedloop.controller.cli import departure, main; departure.GRACE_S = {grace}; main()"
LIMIT_S = 60.0


class Terminal:
    """A process at the foreground of a terminal of its own; what it prints is kept."""

    def __init__(self, *command: str) -> None:
        self.keys, screen = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(screen)
        self._parts: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def ctrl_c(self) -> None:
        os.write(self.keys, b"\x03")

    def end(self) -> int:
        code = self.process.wait(LIMIT_S)
        self._reader.join(5)
        return code

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self.keys, 65536)
            except OSError:  # the last process has let go of the terminal
                return
            if not part:
                return
            self._parts.append(part.decode(errors="replace"))


@pytest.fixture
def declared(tmp_path, monkeypatch):
    """Writes the campaign into the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sources.py").write_text(SOURCES)

    def write(*, money: int = 1000, on_unknown: str = "ask", **settings: float | str) -> None:
        text = CAMPAIGN.format(settings=json.dumps(settings), money=money, on_unknown=on_unknown)
        (tmp_path / "c.yaml").write_text(text)

    return write


@pytest.fixture
def terminal():
    begun: list[Terminal] = []

    def begin(*command: str) -> Terminal:
        begun.append(Terminal(*command))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def events() -> list:
    try:
        return ledger_reader.events("closedloop.db")
    except Exception:
        return []


def kinds() -> list[str]:
    return [e.kind for e in events()]


def until(condition, one: Terminal) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert one.process.poll() is None and time.monotonic() < end, (one.text[-2000:], kinds())
        time.sleep(0.02)


def record(command: str) -> list[dict]:
    lines = Path("record.jsonl").read_text().splitlines()
    return [c for line in lines if (c := json.loads(line))["command"] == command]


def command(*args: object, code: int = 0) -> str:
    done = subprocess.run([str(SCRIPT), *map(str, args)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, (args, done.stdout, done.stderr)
    return done.stdout


def status() -> dict:
    return json.loads(command("status", "--json"))


def is_measuring() -> bool:
    """The device has been commanded and has not answered."""
    return Path("record.jsonl").exists() and len(record("measure")) > max(1, len(record("answer")))


def test_fault_15_ctrl_c_once_in_an_action_finishes_it_and_pauses(declared, terminal):
    declared(delay_s=1.0)
    one = terminal(*RUN)
    until(is_measuring, one)
    one.ctrl_c()
    assert one.end() == 130
    assert "press Ctrl-C again to abort" in one.text and "closedloop resume c" in one.text
    assert "Traceback" not in one.text
    assert status()["paused"]["reason"].startswith("Ctrl-C")
    assert status()["running"] == [] and status()["in_doubt"] == []
    assert kinds().count("observed") == len(record("measure")) == kinds().count("acting")
    assert kinds()[kinds().index("paused") :].count("proposed") == 0
    assert len(record("make_safe")) == 1 and len(record("close")) == 1


def test_fault_15_ctrl_c_twice_in_an_action_aborts_and_nothing_is_repeated_blindly(declared, terminal):
    declared(delay_s=4.0)
    one = terminal(*RUN)
    until(lambda: Path("record.jsonl").exists() and record("measure"), one)
    one.ctrl_c()
    until(lambda: "press Ctrl-C again" in one.text, one)
    one.ctrl_c()
    began = time.monotonic()
    assert one.end() == 130
    assert time.monotonic() - began < 10
    assert "instruments made safe" in one.text and "Traceback" not in one.text
    assert record("make_safe") and len(record("measure")) == 1 and not record("answer")
    command("resume", "c", "--executor", "inline", "--no-wait", code=7)
    assert status()["running"] == [] and status()["in_doubt"] == [1]
    assert len(record("measure")) == 1
    assert "approve 1 --again" in command("pending")


def test_fault_15_ctrl_c_while_closing_does_not_stop_the_making_safe(declared, terminal):
    declared(money=2, delay_s=0.0, safe_delay_s=2.0)
    one = terminal(*RUN)
    until(lambda: "stopped" in kinds(), one)
    for _ in range(3):
        time.sleep(0.3)
        one.ctrl_c()
    assert one.end() == 0
    assert "one moment" in one.text and "Traceback" not in one.text
    assert len(record("make_safe")) == 1 and len(record("close")) == 1


def test_fault_15_ctrl_c_once_leaves_where_a_person_is_waited_for(declared, terminal):
    declared()
    text = Path("c.yaml").read_text()
    Path("c.yaml").write_text(
        text.replace('"./sources.py:Device"', "manual, cost: {money: 1}").replace("settings: {}, ", "")
    )
    one = terminal(*RUN)
    until(lambda: "proposed" in kinds(), one)
    time.sleep(0.5)
    one.ctrl_c()
    assert one.end() == 130
    assert "closedloop resume c" in one.text and "Traceback" not in one.text
    command("ingest", 1, "y=3")
    assert kinds().count("observed") == 1


@pytest.mark.parametrize("seed", range(4))
def test_fault_15_ctrl_c_at_any_instant_also_in_a_commit_loses_nothing(declared, terminal, seed):
    declared(delay_s=0.0, on_unknown="rerun")  # it does nothing but commit
    rng = random.Random(seed)
    one = terminal(*RUN)
    if seed:
        until(lambda: "observed" in kinds(), one)
    time.sleep(rng.random())
    one.ctrl_c()
    if seed % 2:
        time.sleep(0.3 * rng.random())
        if one.process.poll() is None:
            one.ctrl_c()
    assert one.end() == 130
    assert "Traceback" not in one.text
    if not events():
        return
    assert "whole" in command("verify")
    command("amend", f"budget.money={kinds().count('acting') + 2}")
    command("resume", "c", "--executor", "inline", "--quiet")
    told = status()
    assert told["stopped"] and told["running"] == []
    observed, doubted = kinds().count("observed"), sum(e.kind == "failed" and e.is_in_doubt for e in events())
    assert observed <= len(record("measure")) <= observed + doubted


def test_ctrl_c_while_python_imports_gives_no_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = "from closedloop.controller.cli import main; print('go', flush=True); main()"
    for wait_s in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4):
        process = subprocess.Popen(
            [sys.executable, "-c", program, "run", "reactor", "--executor", "inline"], stdout=-1, stderr=-1, text=True
        )
        assert process.stdout.readline() == "go\n"
        time.sleep(wait_s)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert said.startswith("interrupted") and said.count("\n") == 1, said
    assert not Path("closedloop.db").exists()


@pytest.mark.parametrize(
    ("executor", "n_kills"), [("inline", 1), ("inline", 3), pytest.param("ray", 1, marks=pytest.mark.ray)]
)
def test_fault_16_sigterm_finishes_what_runs_and_pauses(declared, terminal, executor, n_kills):
    declared(delay_s=1.0)
    one = terminal(*RUN[:-1], executor)
    until(is_measuring, one)
    for _ in range(n_kills):  # schedulers send several
        one.process.terminate()
        time.sleep(0.05)
    assert one.end() == 130
    assert "Traceback" not in one.text and "closedloop resume c" in one.text
    assert status()["paused"]["reason"].startswith("SIGTERM")
    assert status()["running"] == []
    assert kinds().count("observed") == len(record("measure"))
    assert len(record("make_safe")) == 1


def test_fault_16_a_device_that_may_not_be_safe_is_an_event_and_an_exit_code(declared, terminal):
    declared(delay_s=0.0, money=3, safe_error="the valve is stuck")
    one = terminal(*RUN)
    assert one.end() == 8
    assert "'device' may not be safe: mock: the valve is stuck" in one.text and "best:" in one.text
    assert [e.unsafe for e in events() if e.kind == "noted" and e.unsafe] == ["device"]
    assert kinds().count("observed") == 3 and "whole" in command("verify")


def test_fault_16_the_danger_is_told_also_where_nothing_can_be_written_any_more(declared, terminal):
    declared(delay_s=0.3, safe_error="the valve is stuck")
    one = terminal(*RUN)
    until(lambda: kinds().count("observed") >= 1, one)
    with sqlite3.connect("closedloop.db", timeout=10) as ledger:
        ledger.execute("delete from lease")
    assert one.end() == 8
    assert "lease" in one.text and "the valve is stuck" in one.text and "Traceback" not in one.text


TWICE = """
import sys
import closedloop as cl
campaign = cl.Campaign(
    name="two", parameters={"x": {"low": 0, "high": 1}}, responses=["y"], goal={"maximize": "y"}, belief="climatology",
    sources={n: {"instrument": "./sources.py:Device", "settings": {"delay_s": 0.5, "safe_delay_s": 1.0,
             "record": f"{n}.jsonl"}} for n in ("a", "b")},
    budget={"money": 100},
)
try:
    cl.run(campaign, ledger="two.db", executor="inline")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_fault_15_a_second_ctrl_c_does_not_keep_the_next_instrument_from_being_made_safe(declared):
    declared()
    process = subprocess.Popen([sys.executable, "-c", TWICE], stdout=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + LIMIT_S
    while not (Path("a.jsonl").exists() and Path("a.jsonl").stat().st_size) and time.monotonic() < end:
        time.sleep(0.05)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.4)
    assert process.communicate(timeout=LIMIT_S)[0] == "interrupted\n"
    for name in ("a", "b"):
        assert '"make_safe"' in Path(f"{name}.jsonl").read_text(), name


def test_fault_16_what_does_not_end_within_the_grace_is_aborted(declared, terminal):
    declared(delay_s=30.0)
    one = terminal(sys.executable, "-c", ENDED.format(grace=1.0), *RUN[1:])
    until(lambda: Path("record.jsonl").exists() and record("measure"), one)
    began = time.monotonic()
    one.process.terminate()
    assert one.end() == 130
    assert 1.0 <= time.monotonic() - began < 15.0
    assert "instruments made safe" in one.text and "Traceback" not in one.text
    assert record("make_safe") and not record("answer")
    assert "whole" in command("verify")


def test_fault_16_the_grace_leaves_time_to_make_safe_before_a_scheduler_kills():
    from closedloop.controller.cli.departure import GRACE_S
    from closedloop.controller.guard.gate import SAFE_S

    assert GRACE_S + SAFE_S < 30
