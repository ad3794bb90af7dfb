"""Guards on Ray: what they hold is said once, and they hear that the controller lives as long as it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import closedloop
from closedloop.controller.guard.fence import Fence, Owner, device_key
from closedloop.controller.guard.gate import DeviceGate
from closedloop.controller.guard.link import GuardLink, GuardStatus, needs_guard
from closedloop.controller.guard.news import GuardNews
from closedloop.controller.records import Paused, Resumed, Trial
from closedloop.controller.rules import GuardRules, Interlock
from closedloop.controller.source import Binding
from closedloop.instruments.instrument import Instrument

HOT = Interlock(trip="heat >= 80", every_s=0.2, resume_after_s=1.0)
DOOR = Interlock(trip="door >= 1", every_s=0.2)


class Oven(Instrument):
    """Its heat stands in a file; it writes down what was done to it."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def note(self, what):
        with open(self.folder / "log", "a") as file:
            file.write(f"{what}\n")

    def measure(self, setting):
        self.note(f"bake {setting['x']:g}")
        time.sleep(setting["takes"])
        return {"colour": setting["x"]}

    def monitor(self):
        return {"heat": float((self.folder / "heat").read_text()), "door": 0.0}

    def make_safe(self):
        self.note("safe")


def gates(binding):
    fence = Fence(device_key(binding), 1, Owner.here("bake", "ledger"), name=binding.name)
    fence.take()
    return DeviceGate(binding, fence=fence, link=GuardLink.start(binding) if needs_guard(binding) else None)


def binding(folder, *, deadman_s=5.0):
    rules = GuardRules(interlocks=(HOT, DOOR), deadman_s=deadman_s)
    settings = {"folder": str(folder)}
    return Binding(name="oven", cls=Oven, settings=settings, responses=("colour",), guard=rules)


class Kitchen:
    def __init__(self, folder, **options):
        from closedloop.controller.actors.executor import RayExecutor

        self.folder = folder
        self.heat(20)
        self.executor = RayExecutor({"oven": binding(folder, **options)}, gates=gates)

    def heat(self, degrees):
        new = self.folder / "new"
        new.write_text(str(degrees))
        new.replace(self.folder / "heat")

    def submit(self, number, takes=0.0):
        self.executor.submit(Trial(number=number, source="oven", setting={"x": float(number), "takes": takes}))

    def lines(self):
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def wait_for(self, line):
        until(lambda: line in self.lines())

    def guard(self):
        pulse = self.executor._slots["oven"][0].place.pulse
        return int(Path(pulse).stem.removeprefix("guard-"))


def until(is_so, *, within_s=20):
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.05)


@pytest.fixture
def kitchen(tmp_path, shared_ray):
    made = []

    def make(**options):
        made.append(Kitchen(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.executor.close()


@pytest.mark.ray
def test_what_trips_in_mid_trial_pauses_once_leaves_it_in_doubt_and_resumes_by_itself(kitchen):
    oven = kitchen()
    oven.submit(1, takes=60.0)
    oven.wait_for("bake 1")
    oven.heat(90)
    paused, failed = oven.executor.wait(), oven.executor.wait()
    assert (paused.kind, paused.by) == ("paused", "guard of 'oven'")
    assert "heat >= 80" in paused.reason
    assert (failed.trial, failed.cause, failed.is_in_doubt) == (1, "unknown", True)
    assert "safe" in oven.lines()
    assert oven.executor.listen(4.0) is None  # it trips still, and that was said
    oven.heat(20)
    resumed = oven.executor.listen(15.0)
    assert (resumed.kind, resumed.by) == ("resumed", "guard of 'oven'")
    oven.submit(2)
    assert oven.executor.wait().kind == "observed"


@pytest.mark.ray
def test_what_trips_between_two_trials_lets_none_begin_before_somebody_resumed(kitchen):
    oven = kitchen()
    oven.submit(1)
    assert oven.executor.wait().kind == "observed"
    oven.heat(90)
    oven.wait_for("safe")
    time.sleep(2.5)  # the guard has spoken, and nobody heard it yet
    oven.submit(2)
    paused, cancelled = (oven.executor.wait(), oven.executor.wait())
    if paused.kind == "failed":
        paused, cancelled = cancelled, paused
    assert (paused.kind, cancelled.trial, cancelled.cost, cancelled.is_in_doubt) == ("paused", 2, {}, False)
    assert "bake 2" not in oven.lines()
    assert "it trips still" in oven.executor.why_held()
    oven.submit(3)  # as if somebody resumed all the same
    assert oven.executor.wait().by == "guard of 'oven'"
    answer = oven.executor.wait()
    assert (answer.trial, answer.kind, answer.cost) == (3, "failed", {})
    assert "heat >= 80" in answer.message
    oven.heat(20)
    assert oven.executor.listen(15.0).kind == "resumed"
    oven.submit(4)
    assert oven.executor.wait().kind == "observed"
    assert [line for line in oven.lines() if line.startswith("bake")] == ["bake 1", "bake 4"]


@pytest.mark.ray
def test_a_guard_that_dies_interrupts_its_trial_and_is_replaced(kitchen):
    oven = kitchen()
    oven.submit(1, takes=60.0)
    oven.wait_for("bake 1")
    old = oven.guard()
    os.kill(old, signal.SIGKILL)
    paused, failed = oven.executor.wait(), oven.executor.wait()
    assert "its process is gone" in paused.reason
    assert (failed.trial, failed.is_in_doubt) == (1, True)
    assert "safe" in oven.lines()
    oven.submit(2)
    assert oven.executor.wait().kind == "observed"
    assert oven.guard() != old
    assert psutil.pid_exists(oven.guard())


@pytest.mark.ray
def test_a_mind_that_thinks_for_long_is_not_taken_for_a_dead_controller(kitchen):
    oven = kitchen(deadman_s=3.0)
    oven.submit(1)
    assert oven.executor.wait().kind == "observed"
    time.sleep(8.0)
    assert "safe" not in oven.lines()
    oven.submit(2)
    assert oven.executor.wait().kind == "observed"


SCRIPT = """
import json, sys, time
sys.path[:0] = [{tests!r}, {folder!r}]
import test_ray_guards as t
from pathlib import Path
kitchen = t.Kitchen(Path({folder!r}), deadman_s=3.0)
kitchen.submit(1, takes=60.0)
print(json.dumps(kitchen.guard()), flush=True)
while True:
    print(kitchen.executor.wait().model_dump_json(), flush=True)
"""


@pytest.fixture
def alone(tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    places = os.pathsep.join([str(Path(closedloop.__path__[0]).parent), str(Path(__file__).parent)])
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**kept, "PYTHONPATH": places}
    )
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def lines_of(folder):
    return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []


@pytest.mark.ray
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_controller_that_ends_or_stands_still_in_mid_trial_leaves_the_device_safe(alone, tmp_path, how):
    guard = int(alone.stdout.readline())
    until(lambda: "bake 1" in lines_of(tmp_path))
    time.sleep(2.0)
    assert lines_of(tmp_path) == ["bake 1"]
    alone.send_signal(how)
    until(lambda: "safe" in lines_of(tmp_path), within_s=10)
    if how == signal.SIGKILL:
        until(lambda: not psutil.pid_exists(guard), within_s=20)
        return
    alone.send_signal(signal.SIGCONT)
    paused, failed = json.loads(alone.stdout.readline()), json.loads(alone.stdout.readline())
    assert "heard nothing of the controller for too long" in paused["reason"]
    assert (failed["trial"], failed["is_in_doubt"]) == (1, True)


def status(**fields):
    return GuardStatus(**{"is_alive": True, **fields})


def test_news_are_told_once_and_only_what_may_resumes_by_itself(tmp_path):
    news = GuardNews(binding(tmp_path))
    assert news.hear(None) is news.hear(status()) is None
    hot = status(tripped="interlock 'heat >= 80' tripped at heat=90")
    assert isinstance(news.hear(hot), Paused)
    assert news.hear(hot) is None
    assert news.hear(status(clear_for_s=0.9)) is None
    assert isinstance(news.hear(status(clear_for_s=1.0)), Resumed)
    assert isinstance(news.hear(hot), Paused)
    clear = status(tripped=hot.tripped, clear_for_s=1.0, may_resume=True)
    assert isinstance(news.hear(clear), Resumed)
    assert news.hear(clear, must_arm=True) is None
    assert isinstance(news.hear(hot, must_arm=True), Paused)


@pytest.mark.parametrize(
    "held",
    [
        status(tripped="interlock 'door >= 1' tripped at door=1"),  # it has no resume_after_s
        status(tripped="interlock 'heat >= 80' tripped at heat=90; interlock 'door >= 1' tripped at door=1"),
        status(deadman_fired=True),
        GuardStatus(is_alive=False),
    ],
)
def test_the_rest_waits_for_a_person(tmp_path, held):
    news = GuardNews(binding(tmp_path))
    assert isinstance(news.hear(held), Paused)
    assert news.hear(status(clear_for_s=1e6)) is None
    news.resumed()
    assert isinstance(news.hear(held), Paused)
