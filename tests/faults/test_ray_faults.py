"""What is killed, stopped, hung or starved on Ray is answered once, in bounded time, and leaves nothing behind."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from closedloop.controller.actors import reaper as ray_reaper
from closedloop.controller.actors.resources import check_offer, demand
from closedloop.controller.errors import SourceError
from closedloop.controller.records import Reading, Trial
from closedloop.controller.source import Binding
from closedloop.instruments.instrument import Instrument
from closedloop.simulators.simulator import Simulator

pytestmark = pytest.mark.ray


class Pump(Instrument):
    """Writes down what was done to it; the setting says how it misbehaves."""

    parameters = ("x", "how")

    def __init__(self, log):
        self.log = log

    def note(self, what):
        with open(self.log, "a") as file:
            file.write(f"{what}\n")

    def connect(self):
        self.note(f"connect {os.getpid()}")

    def measure(self, setting):
        self.note(f"dose {setting['x']:g}")
        return {"flow": setting["x"], **(MISDEEDS[setting["how"]]() or {})}

    def make_safe(self):
        self.note("safe")


class Model(Simulator):
    """Costs memory, or its life."""

    def simulate(self, setting, unknowns):
        return {"flow": setting["x"]}

    def run(self, setting, unknowns):
        return Reading(values=self.simulate(setting, unknowns), info=MISDEEDS[setting["how"]]() or {})


def exhaust_memory():
    used = psutil.Process().memory_info().vms
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, before[1]))
    try:
        return {"much": bytearray(1_000_000_000)}
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def hold_the_interpreter():
    ctypes.PyDLL(None).sleep(7)  # as a Fortran driver does: no other thread of the process runs


MISDEEDS = {
    "well": lambda: None,
    "hang": lambda: time.sleep(600),
    "deaf": hold_the_interpreter,
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),  # what the system does when memory ends
    "memory": exhaust_memory,
    "large": lambda: {"trace": [0.1] * 5_000_000},  # 20 MB in JSON
    "huge": lambda: {"raw": "x" * 200_000_000},  # more than the object store has
}


class Lab:
    """An executor with a pump and a model, and the pump's log."""

    def __init__(self, folder):
        from closedloop.controller.actors.executor import RayExecutor

        self.log = folder / "log"
        pump = Binding(name="pump", cls=Pump, settings={"log": str(self.log)}, responses=("flow",))
        model = Binding(name="model", cls=Model, responses=("flow",), is_repeatable=True)
        self.executor = RayExecutor({"pump": pump, "model": model})
        self.n = 0

    def submit(self, how, source="pump"):
        self.n += 1
        self.executor.submit(Trial(number=self.n, source=source, setting={"x": float(self.n), "how": how}))

    def answer(self, how, source="pump"):
        self.submit(how, source)
        return self.executor.wait()

    def lines(self):
        return self.log.read_text().splitlines()

    def pids(self):
        return [int(line.split()[1]) for line in self.lines() if line.startswith("connect")]

    def wait_for(self, line):
        until(lambda: line in self.lines(), within_s=20)


def until(is_so, *, within_s):
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


def is_gone(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.fixture
def lab(tmp_path, shared_ray):
    lab = Lab(tmp_path)
    yield lab
    lab.executor.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_fault_10_an_instrument_whose_process_is_lost_in_mid_action_is_in_doubt_once_safe_and_replaced(lab, how):
    lab.submit("hang")
    lab.wait_for("dose 1")
    os.kill(lab.pids()[0], how)
    began = time.monotonic()
    answer = lab.executor.wait()
    assert time.monotonic() - began < 5.0
    assert (answer.trial, answer.cause, answer.is_in_doubt) == (1, "unknown", True)
    until(lambda: is_gone(lab.pids()[0]), within_s=5)  # the system may take a moment
    if how == signal.SIGSTOP:
        assert "stopped by a signal" in answer.message
    assert lab.answer("well").kind == "observed"
    first, second = lab.pids()
    assert lab.lines() == [f"connect {first}", "dose 1", f"connect {second}", "safe", "dose 2"]
    assert not lab.executor.is_busy


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_lost_while_idle_leaves_no_trial_in_doubt(lab, how):
    assert lab.answer("well").kind == "observed"
    os.kill(lab.pids()[0], how)
    until(lambda: is_gone(lab.pids()[0]), within_s=5)  # found though nobody waits: the mind may think for long
    time.sleep(0.2)  # a process that answered a moment ago is taken to be there
    assert lab.answer("well").kind == "observed"
    assert lab.lines()[1:] == ["dose 1", f"connect {lab.pids()[1]}", "safe", "dose 2"]


def test_a_driver_that_lets_no_thread_run_is_not_taken_for_hung(lab):
    assert lab.answer("deaf").reading.values == {"flow": 1.0}
    assert len(lab.pids()) == 1


@pytest.mark.parametrize("source", ["pump", "model"])
@pytest.mark.parametrize(("how", "cause", "says"), [("memory", "error", "MemoryError"), ("large", "invalid", "MB")])
def test_too_much_memory_or_too_large_an_answer_fails_one_trial(lab, source, how, cause, says):
    answer = lab.answer(how, source)
    assert (answer.cause, answer.is_in_doubt) == (cause, False)
    assert says in answer.message
    assert lab.answer("well", source).kind == "observed"


def test_an_answer_larger_than_rays_store_fails_and_the_loop_goes_on(lab):
    answer = lab.answer("huge", "model")
    assert (answer.cause, "write large data to a file" in answer.message) == ("invalid", True)
    assert lab.answer("well", "model").kind == "observed"


def test_fault_30_a_source_that_is_killed_again_and_again_rests_and_says_why(lab):
    from closedloop.controller.actors import slots as ray_slots

    answers = [lab.answer("die") for _ in range(ray_slots.N_ENDS + 3)]
    assert [a.cause for a in answers] == ["unknown"] * ray_slots.N_ENDS + ["error"] * 3
    assert all(a.cost == {} and not a.is_in_doubt for a in answers[-3:])
    assert "5 times in a row" in answers[-1].message
    assert len(lab.pids()) == ray_slots.N_ENDS + 1
    until(lambda: lab.lines()[-1] == "safe", within_s=20)
    slot = lab.executor._slots["pump"][0]
    slot.rests_until = 0.0  # a minute later
    assert lab.answer("well").kind == "observed"


def test_calls_are_never_out_of_order_and_never_done_twice(lab):
    """Ray's own retries of five queued calls behind a killed one were seen to run as 2, 3, 1, 5, 4."""
    for how in ("well", "well", "die", "well", "well", "die", "well"):
        lab.submit(how)
    answers = [lab.executor.wait() for _ in range(7)]
    assert [a.trial for a in answers] == [1, 2, 3, 4, 5, 6, 7]
    assert [a.kind for a in answers] == ["observed", "observed", "failed", "observed", "observed", "failed", "observed"]
    assert [line for line in lab.lines() if line.startswith("dose")] == [f"dose {n}" for n in range(1, 8)]


def asking(**resources):
    return Binding(name="model", cls=Model, resources=resources, n_slots=2)


@pytest.mark.parametrize(
    ("binding", "says"),
    [
        (asking(cpu=-1), "CPU=-1; an amount is a finite number"),
        (asking(cpu=float("nan")), "CPU=nan"),
        (asking(bench=float("inf")), "bench=inf"),
        (asking(cpu=64), "CPU=64, and no computer of this Ray has more than 4"),
        (asking(bench=1), r"bench=1, and no computer .*known here: CPU, lamp\)"),
        (asking(GPU=1), "GPU=1"),
        (asking(cpu=3), "all sources together ask for CPU=6, and this Ray has 4"),
    ],
)
def test_fault_52_a_resource_that_nobody_has_is_named(binding, says):
    with pytest.raises(SourceError, match=says):
        check_offer([binding], [{"CPU": 4.0, "lamp": 1.0, "node:127.0.0.1": 1.0}])


def test_an_instrument_asks_for_no_cpu_and_a_manual_source_for_nothing():
    class Person(Instrument):
        is_manual = True

        def measure(self, setting):
            raise AssertionError

    asked = [asking(cpu=0.5), Binding(name="pump", cls=Pump), Binding(name="p", cls=Person, resources={"bench": 9})]
    assert demand(asked) == {"CPU": 1.0, "bench": 0.0}


def test_a_resource_that_the_running_ray_lacks_stops_all_at_once(shared_ray):
    from closedloop.controller.actors.executor import RayExecutor

    began = time.monotonic()
    with pytest.raises(SourceError, match="source 'model' asks for bench=1"):
        RayExecutor({"model": asking(bench=1)})
    assert time.monotonic() - began < 5.0


ALONE = """
import json, os, sys, time
import psutil
from closedloop.controller.actors.executor import RayExecutor
from closedloop.controller.errors import ClosedLoopError
from closedloop.controller.records import Trial
from closedloop.controller.source import Binding
from closedloop.instruments.instrument import Instrument

class Pump(Instrument):
    def measure(self, setting):
        time.sleep(120)

def say(**words):
    print(json.dumps(words), flush=True)

try:
    executor = RayExecutor({"pump": Binding(name="pump", cls=Pump)})
except ClosedLoopError as error:
    say(refused=str(error))
    sys.exit(error.exit_code)
executor.submit(Trial(number=1, source="pump", setting={"x": 1.0}))
family = psutil.Process().children(recursive=True)
say(folder=executor._session._folder, family={p.pid: p.name() for p in family})
try:
    while True:
        say(answer=json.loads(executor.wait().model_dump_json()))
except ClosedLoopError as error:
    executor.make_safe()
    executor.close()
    say(error=str(error), left=[p.name() for p in family if p.is_running() and p.status() != "zombie"])
"""


class Alone:
    """A controller in a process of its own, with a Ray of its own and a trial in flight."""

    def __init__(self, **environment):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        place = {}
        self.process = subprocess.Popen(
            [sys.executable, "-c", ALONE], stdout=subprocess.PIPE, text=True, env={**kept, **place, **environment}
        )
        self.said = self.next()
        self.family = {int(pid): name for pid, name in self.said.get("family", {}).items()}
        self.folder = self.said.get("folder", "")

    def next(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else {}

    def pid(self, name):
        return next(pid for pid, n in self.family.items() if n == name)

    def left(self):
        return {pid: name for pid, name in self.family.items() if not is_gone(pid)}

    def reapers(self):
        found = (p for p in psutil.process_iter() if any(self.folder == c for c in _command(p)))
        return [p for p in found if p.pid != self.process.pid]


def _command(process):
    with suppress(psutil.Error):
        return process.cmdline()
    return []


@pytest.fixture
def alone():
    made = []

    def make(**environment):
        made.append(Alone(**environment))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()
        one.process.stdout.close()
        until(lambda: not one.left() and not os.path.exists(one.folder), within_s=30)


@pytest.mark.parametrize(("what", "how"), [("gcs_server", 9), ("raylet", 9), ("gcs_server", 19), ("raylet", 19)])
def test_where_ray_itself_is_gone_the_controller_ends_with_a_clear_word_and_leaves_nothing(alone, what, how):
    one = alone()
    os.kill(one.pid(what), how)
    began = time.monotonic()
    said = one.next()
    assert time.monotonic() - began < 20
    assert f"Ray works no more: its process {what}" in said["error"]
    assert "go on with the same command" in said["error"]
    assert said["left"] == []
    assert one.process.wait(20) == 0
    assert not os.path.exists(one.folder)


def test_a_killed_controller_leaves_no_process_and_no_file_and_harms_no_other_ray(alone, shared_ray):
    others = psutil.Process().children(recursive=True)
    one, other = alone(), alone()
    one.process.kill()
    until(lambda: not one.left() and not os.path.exists(one.folder), within_s=20)
    until(lambda: not one.reapers(), within_s=5)
    assert len(other.left()) == len(other.family)
    assert other.process.poll() is None
    assert os.path.exists(other.folder)
    ours = [p for p in others if p.pid not in (one.process.pid, other.process.pid)]
    assert all(p.is_running() for p in ours if p.name() in ("gcs_server", "raylet"))


def test_fault_52_what_a_killed_controller_and_its_killed_reaper_left_goes_when_the_next_one_starts(alone):
    one = alone()
    (reaper,) = one.reapers()
    reaper.kill()
    one.process.kill()
    one.process.wait()
    assert os.path.exists(one.folder)
    alone()
    until(lambda: not one.left() and not os.path.exists(one.folder), within_s=20)


def test_the_reaper_takes_no_process_that_only_mentions_the_folder(tmp_path):
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(tmp_path / "log")])
    try:
        assert ray_reaper.family(str(tmp_path)) == []
    finally:
        innocent.kill()
        innocent.wait()


def test_what_rays_memory_monitor_kills_is_said_to_lack_memory(alone):
    one = alone(RAY_memory_usage_threshold="0.01", RAY_memory_monitor_refresh_ms="100")
    words = one.said.get("refused") or one.next()["answer"]["message"]  # it may just have connected
    assert "the memory of its computer ran out" in words


CAMPAIGN = """
import os, sys, time
import psutil
import closedloop as cl
from closedloop.controller.errors import ClosedLoopError

class Pump(cl.Instrument):
    is_real = False
    parameters = ("x",)
    def __init__(self, log):
        self.log = log
    def begin(self, trial):
        with open(self.log, "a") as file:
            file.write(f"{trial.number}\\n")
    def measure(self, setting):
        time.sleep(0.3)
        return {"flow": setting["x"]}

folder, victim = sys.argv[1:]
campaign = cl.Campaign(
    name="head", parameters={"x": {"low": 0, "high": 1}}, responses=["flow"], goal={"maximize": "flow"},
    sources={"pump": {"instrument": Pump, "settings": {"log": folder + "/log"}, "on_unknown": "abandon"}},
    budget={"trials": 8}, belief="climatology",
)

def watch(state, event):
    if victim and event.kind == "acting" and event.trial == 4:
        family = psutil.Process().children(recursive=True)
        next(p for p in family if p.name() == victim).kill()

try:
    result = cl.run(campaign, ledger=folder + "/lab.db", watch=watch)
    print("stopped:", result.why_stopped)
except ClosedLoopError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_fault_51_a_campaign_whose_head_is_killed_ends_clearly_and_goes_on_with_a_new_ray(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment = dict(kept)

    def run(victim):
        command = [sys.executable, "-c", CAMPAIGN, str(tmp_path), victim]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, timeout=120)

    first = run("gcs_server")
    assert (first.returncode, "Ray works no more" in first.stdout) == (3, True)
    second = run("")
    assert (second.returncode, second.stdout[:8]) == (0, "stopped:")
    begun = [int(line) for line in (tmp_path / "log").read_text().split()]
    assert len(begun) == len(set(begun)) <= 8  # none twice, none beyond the budget
