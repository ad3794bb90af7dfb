"""Whatever a driver does becomes exactly one answer, with the cause that fits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from closedloop.controller.errors import OutcomeUnknown
from closedloop.controller.inline import InlineExecutor
from closedloop.controller.perform import MAX_TEXT, perform
from closedloop.controller.records import Observed, Reading, Trial, dump_event, load_event
from closedloop.controller.source import Binding
from closedloop.instruments.instrument import Instrument, instrument
from closedloop.simulators.simulator import Simulator


class Unpicklable(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.lock = threading.Lock()


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def answer_of(function, responses=("hardness",)):
    cls = instrument()(lambda x: function())
    binding = Binding(name="furnace", cls=cls, responses=responses)
    event = perform(cls(), Trial(number=1, source="furnace", setting={"x": 1.0}), binding)
    assert load_event(dump_event(event), seq=0, time=None) == event
    return event


def raising(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ({"hardness": 2}, 2.0),
        ({"hardness": np.float32(0.5)}, 0.5),
        ({"hardness": np.int64(3)}, 3.0),
        ({"hardness": np.array(4.0)}, 4.0),
        ({"hardness": Fraction(1, 2)}, 0.5),
        (Reading(values={"hardness": 5.0}), 5.0),
    ],
)
def test_fault_35_a_number_of_any_make_is_a_reading(answer, value):
    assert answer_of(lambda: answer).reading.values == {"hardness": value}


def test_fault_35_a_torch_scalar_is_a_reading():
    torch = pytest.importorskip("torch")
    assert answer_of(lambda: {"hardness": torch.tensor(2.5)}).reading.values == {"hardness": 2.5}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"hardness": float("nan")}, "not finite"),
        ({"hardness": float("-inf")}, "not finite"),
        ({"hardness": np.float64("nan")}, "not finite"),
        ({"hardness": 10**400}, "not finite"),
        ({"hardness": "61.2"}, r"hardness='61.2' \(str\)"),
        ({"hardness": [61.2]}, "one number"),
        ({"hardness": np.array([61.2])}, "one number"),
        ({"hardness": None}, "one number"),
        ({"hardness": True}, "one number"),
        ({"hardness": np.bool_(True)}, "one number"),
        ({"hardness": 1 + 2j}, "one number"),
        ({"Hardness": 61.2}, r"\['Hardness'\] without \['hardness'\]"),
        ({}, "without"),
        (61.2, "dict of responses or a Reading"),
        (None, "dict of responses or a Reading"),
        ("hardness", "dict of responses or a Reading"),
        ([("hardness", 1.0)], "dict of responses or a Reading"),
        (Reading(values={"other": 1.0}), "without"),
        (Reading(values={"hardness": 1.0}, achieved={"x": float("nan")}), "achieved of x"),
        (
            Reading.model_construct(values={"hardness": float("nan")}, sd={}, achieved={}, cost={}, info={}),
            "not finite",
        ),
    ],
)
def test_fault_35_and_36_what_is_no_reading_is_invalid_and_says_why(answer, said):
    failed = answer_of(lambda: answer)
    assert (failed.kind, failed.cause) == ("failed", "invalid")
    assert re.search(said, failed.message)
    assert "furnace" in failed.message


@pytest.mark.parametrize(
    ("error", "cause", "said"),
    [
        (ValueError("lamp is cold"), "error", "ValueError: lamp is cold (test_driver_faults.py, line"),
        (OutcomeUnknown("no reply to DOSE"), "unknown", "no reply to DOSE"),
        (Unpicklable("locked", 2), "error", "Unpicklable: locked"),
        (Mute(), "error", "cannot be printed"),
        (SystemExit(3), "error", "SystemExit: 3"),
        (UnicodeDecodeError("ascii", b"\xff", 0, 1, "bad"), "error", "UnicodeDecodeError"),
        (OSError("\udcff surrogate"), "error", "OSError"),
    ],
)
def test_what_a_driver_raises_is_kept(error, cause, said):
    failed = answer_of(raising(error))
    assert failed.cause == cause
    assert said in failed.message


def test_a_reading_that_the_driver_itself_could_not_make_is_invalid():
    for make, says in (
        (lambda: Reading(values={"hardness": float("nan")}), "not finite"),
        (lambda: Reading(values={"hardness": 1.0}, cost={"money": float("inf")}), "cost.money=inf"),
        (lambda: Reading(values={"hardness": 1.0}, cost={"money": -5.0}), "cost.money=-5.0"),
        (lambda: Reading(values={"hardness": 1.0}, sd={"hardness": -0.1}), "sd.hardness=-0.1"),
    ):
        failed = answer_of(make)
        assert failed.cause == "invalid"
        assert says in failed.message
        assert "pydantic" not in failed.message


def test_fault_29_a_long_message_is_cut():
    assert len(answer_of(raising(ValueError("x" * 10**6))).message) <= MAX_TEXT


def test_fault_36_extra_keys_are_kept_beside_the_reading_whatever_they_are():
    cyclic: list[object] = []
    cyclic.append(cyclic)
    extras = {
        "raw": "OK\udcff",
        "trace": np.arange(3.0),
        "bad": float("nan"),
        "self": cyclic,
        "thing": object(),
    }
    reading = answer_of(lambda: {"hardness": 1.0, "n": 3, **extras}).reading
    assert reading.values == {"hardness": 1.0}
    assert (reading.info["n"], reading.info["trace"]) == (3, [0.0, 1.0, 2.0])
    assert set(reading.info) == {"n", *extras}


def test_a_driver_that_changes_its_setting_does_not_change_the_trial():
    class Rude(Instrument):
        def measure(self, setting):
            setting.clear()
            return {"hardness": 1.0}

    trial = Trial(number=1, source="rude", setting={"x": 1.0})
    perform(Rude(), trial, Binding(name="rude", cls=Rude))
    assert trial.setting == {"x": 1.0}


class Explosive(Simulator):
    """Ends its process."""

    def simulate(self, setting, unknowns):
        if setting["x"] > 1:
            os._exit(7)
        return {"hardness": setting["x"]}


class Pump(Instrument):
    """Writes down what was done to it."""

    def __init__(self, log):
        self.log = log

    def note(self, what):
        with open(self.log, "a") as file:
            file.write(f"{what}\n")

    def measure(self, setting):
        self.note(f"dose {os.getpid()}")
        time.sleep(setting["takes"])
        if setting["x"] > 1:
            raise Unpicklable("locked", 2)
        return {"hardness": setting["x"]}

    def make_safe(self):
        self.note("safe")


class Shy(Instrument):
    """Connects the first time only."""

    def __init__(self, log):
        self.log = Path(log)

    def connect(self):
        if self.log.exists():
            raise OSError("port is gone")
        self.log.touch()

    def measure(self, setting):
        os._exit(1)


def bindings(tmp_path, timeout=None):
    return {
        "model": Binding(name="model", cls=Explosive, responses=("hardness",), is_repeatable=True),
        "pump": Binding(
            name="pump",
            cls=Pump,
            settings={"log": str(tmp_path / "log")},
            timeout=timeout,
            responses=("hardness",),
        ),
        "shy": Binding(name="shy", cls=Shy, settings={"log": str(tmp_path / "shy")}),
    }


@pytest.fixture
def ray_executor(tmp_path, shared_ray):
    from closedloop.controller.actors.executor import RayExecutor

    executor = RayExecutor(bindings(tmp_path))
    yield executor
    executor.close()


def lines_of(tmp_path, *, until):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        lines = (tmp_path / "log").read_text().split() if (tmp_path / "log").exists() else []
        if until in lines:
            return lines
        time.sleep(0.02)
    raise AssertionError(f"{until} was never written")


@pytest.mark.ray
def test_a_simulator_that_ends_its_process_fails_one_trial_and_no_other(ray_executor):
    for n, x in ((1, 2.0), (2, 1.0)):
        ray_executor.submit(Trial(number=n, source="model", setting={"x": x}))
    first, second = ray_executor.wait(), ray_executor.wait()
    assert (first.trial, first.cause) == (1, "crashed")
    assert second == Observed(trial=2, reading=Reading(values={"hardness": 1.0}))


@pytest.mark.ray
def test_fault_10_an_instrument_whose_actor_is_killed_has_acted_once_is_unknown_and_is_made_safe(
    ray_executor, tmp_path
):
    ray_executor.submit(Trial(number=1, source="pump", setting={"x": 1.0, "takes": 60.0}))
    pid = int(lines_of(tmp_path, until="dose")[1])
    os.kill(pid, signal.SIGKILL)
    answer = ray_executor.wait()
    assert (answer.trial, answer.cause) == (1, "unknown")
    assert lines_of(tmp_path, until="safe") == ["dose", str(pid), "safe"]
    ray_executor.submit(Trial(number=2, source="pump", setting={"x": 1.0, "takes": 0.0}))
    assert ray_executor.wait().kind == "observed"


@pytest.mark.ray
def test_fault_29_an_exception_that_cannot_be_pickled_crosses_ray_as_text(ray_executor):
    ray_executor.submit(Trial(number=1, source="pump", setting={"x": 2.0, "takes": 0.0}))
    answer = ray_executor.wait()
    assert (answer.cause, answer.message.split(" (")[0]) == ("error", "Unpicklable: locked")


@pytest.mark.ray
def test_an_instrument_that_does_not_come_back_answers_every_trial_all_the_same(ray_executor):
    for n in (1, 2, 3):
        ray_executor.submit(Trial(number=n, source="shy", setting={"x": 1.0}))
    causes = {a.trial: (a.cause, "port is gone" in a.message) for a in (ray_executor.wait() for _ in range(3))}
    assert causes == {1: ("unknown", False), 2: ("error", True), 3: ("error", True)}


def test_an_inline_instrument_that_does_not_come_back_answers_every_trial_all_the_same(tmp_path):
    class Gone(Shy):
        def measure(self, setting):
            time.sleep(0.5)

    executor = InlineExecutor(
        {"gone": Binding(name="gone", cls=Gone, settings={"log": str(tmp_path / "g")}, timeout=0.1)}
    )
    for n in (1, 2):
        executor.submit(Trial(number=n, source="gone", setting={"x": 1.0}))
    first, second = executor.wait(), executor.wait()
    assert (first.cause, second.cause) == ("timeout", "error")
    assert "port is gone" in second.message


ALONE = """
import os, re, signal, stat, subprocess, sys, threading, time
sys.path.insert(0, sys.argv[1])
import psutil
from closedloop.controller.actors.executor import RayExecutor
from closedloop.controller.records import Trial
from closedloop.controller.source import Binding
from closedloop.instruments.instrument import Instrument

class Pump(Instrument):
    def measure(self, setting):
        time.sleep(60)
    def __init__(self, log):
        self.log = log
    def make_safe(self):
        open(self.log, "w").close()

LOG = sys.argv[1] + "/safe"
executor = RayExecutor({"pump": Binding(name="pump", cls=Pump, settings={"log": LOG})})
token = os.environ["RAY_AUTH_TOKEN_PATH"]
family = psutil.Process().children(recursive=True)
pids = {p.pid for p in family} | {os.getpid()}
listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True).stdout.splitlines()
ours = [line for line in listening if pids & set(map(int, re.findall(r"pid=(\\d+)", line)))]
hosts = {line.split()[3].rsplit(":", 1)[0] for line in ours}
print(sorted(hosts))
print(oct(stat.S_IMODE(os.stat(token).st_mode)))
executor.submit(Trial(number=1, source="pump", setting={"x": 1.0}))
threading.Timer(1.0, os.killpg, (0, signal.SIGINT)).start()  # what a terminal does on Ctrl-C
try:
    executor.wait()
except KeyboardInterrupt:
    executor.make_safe()
    print("safe", os.path.exists(LOG))
executor.close()
print("left", [p.name() for p in family if p.is_running() and p.status() != "zombie"])
"""


@pytest.mark.ray
def test_fault_45_our_ray_keeps_to_loopback_survives_ctrl_c_and_leaves_nothing_behind(tmp_path):
    environment = dict(os.environ)
    environment = {k: v for k, v in environment.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        start_new_session=True,
        timeout=120,
    )
    hosts, mode, safe, left = done.stdout.splitlines()
    assert hosts in ("['127.0.0.1', '[::ffff:127.0.0.1]']", "['127.0.0.1']")
    assert (mode, safe, left) == ("0o600", "safe True", "left []")
