"""Whoever dies, hangs or keeps silent, the device is made safe, and no process of ours is left."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from closedloop.controller.errors import SourceError
from closedloop.controller.guard.gate import DeviceGate
from closedloop.controller.guard.hand import SAFE_S
from closedloop.controller.guard.link import GuardLink, beat_at
from closedloop.controller.guard.process import LEAVE_S
from closedloop.controller.perform import perform
from closedloop.controller.records import Observed, Trial
from closedloop.controller.rules import GuardRules, Interlock
from closedloop.controller.source import Binding, find_source

SOON_S = 15.0  # what takes a moment here may take this long on a busy computer

OVEN = '''
import ctypes, json, os, time
from pathlib import Path

import closedloop as cl


class Oven(cl.Instrument):
    """Writes down what it is told; misbehaves as the files of its folder say."""

    parameters = ("t",)

    def __init__(self, folder):
        self.folder = Path(folder)

    def connect(self):
        self.note("connect")
        self.misbehave("connect")

    def measure(self, setting):
        self.note("measure", **setting)
        return {"y": setting["t"]}

    def make_safe(self):
        self.note("make_safe")
        self.misbehave("make_safe")
        self.note("is safe")

    def monitor(self):
        self.misbehave("monitor")
        return json.loads((self.folder / "live").read_text())

    def close(self):
        self.note("close")

    def note(self, op, **more):
        with (self.folder / "record").open("a") as file:
            file.write(json.dumps({"op": op, "pid": os.getpid(), **more}) + "\\n")

    def misbehave(self, what):
        file = self.folder / what
        modes = file.read_text().split() if file.exists() else ["ok"]
        if len(modes) > 1:
            file.write_text(" ".join(modes[1:]))
        if modes[0] == "raise":
            raise RuntimeError("the fuse has blown")
        if modes[0] == "hang":
            time.sleep(3600)
        if modes[0] == "hold":  # a blocking call of C that lets no other thread of Python run
            ctypes.PyDLL(None).sleep(3600)
        if modes[0] == "exit":
            os._exit(3)
'''

HOLDER = """
import sys, time
from closedloop.controller.source import Binding, find_source
from closedloop.controller.guard.link import GuardLink
from closedloop.controller.rules import GuardRules

folder, deadman_s = sys.argv[1], float(sys.argv[2])
cls = find_source(f"{folder}/oven.py:Oven", allow_code=True)
rules = GuardRules(deadman_s=deadman_s)
link = GuardLink.start(Binding(name="oven", cls=cls, settings={"folder": folder}, guard=rules))
link.acting({"t": 1.0})
print(link.pid, flush=True)
for _ in range(1200):
    link.beat()
    time.sleep(0.05)
"""


class Device:
    """An oven in a folder of its own, and the guards that were started for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "oven.py").write_text(OVEN)
        self.family: list[psutil.Process] = []

    def binding(self, **rules) -> Binding:
        cls = find_source(f"{self.folder}/oven.py:Oven", allow_code=True)
        return Binding(name="oven", cls=cls, settings={"folder": str(self.folder)}, guard=GuardRules(**rules))

    def guard(self, **rules) -> GuardLink:
        link = GuardLink.start(self.binding(**rules))
        self.follow(link.pid)
        return link

    def follow(self, pid: int) -> None:
        guard = psutil.Process(pid)
        self.family += [guard, *guard.children(recursive=True)]

    def let(self, what: str, *modes: str) -> None:
        (self.folder / what).write_text(" ".join(modes))

    def show(self, **readings) -> None:
        new = self.folder / "live.new"
        new.write_text(json.dumps(readings))
        new.replace(self.folder / "live")

    def ops(self, op: str) -> list[int]:
        """The processes that did it."""
        record = self.folder / "record"
        entries = map(json.loads, record.read_text().splitlines()) if record.exists() else ()
        return [e["pid"] for e in entries if e["op"] == op]

    def is_left_alone(self) -> bool:
        return not [p for p in self.family if is_running(p)]


def is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def soon(condition, within_s: float = SOON_S) -> bool:
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def folder(monkeypatch):
    folder = Path(tempfile.mkdtemp(prefix="guard-"))
    monkeypatch.setenv("CLOSEDLOOP_RUNTIME_DIR", str(folder / "run"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def oven(folder):
    device = Device(folder / "oven")
    yield device
    soon(device.is_left_alone, within_s=2.0)
    left = [p for p in device.family if is_running(p)]
    for process in left:
        process.kill()
    assert not left, f"processes were left: {left}"


@pytest.fixture
def holder(oven):
    """A process that holds a guard and beats."""
    script = oven.folder / "holder.py"
    script.write_text(HOLDER)
    process = subprocess.Popen([sys.executable, script, oven.folder, "1.0"], stdout=subprocess.PIPE, text=True)
    oven.follow(int(process.stdout.readline()))
    yield process
    process.kill()
    process.communicate()
    assert soon(oven.is_left_alone)


# 17: the holder ends with the output on.


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_fault_17_whoever_holds_the_guard_is_killed(holder, oven, folder, number):
    _, hand = oven.family
    holder.send_signal(number)
    holder.wait()
    assert soon(lambda: oven.ops("is safe"))
    assert oven.ops("is safe") == [hand.pid]
    assert soon(oven.is_left_alone)
    assert oven.ops("close") == [hand.pid]
    assert (
        "oven: the controller ended without a word: made safe; last commanded: {'t': 1.0}"
        in (folder / "run" / "guard.log").read_text()
    )
    assert list((folder / "run").glob("*.beat")) == []


def test_fault_17_whoever_holds_the_guard_stands_still(holder, oven):
    holder.send_signal(signal.SIGSTOP)
    assert soon(lambda: oven.ops("is safe"))  # the deadman
    assert is_running(oven.family[0])
    holder.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    assert len(oven.ops("is safe")) == 1
    holder.kill()
    assert soon(lambda: len(oven.ops("is safe")) == 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_fault_17_the_guard_is_not_ended_by_what_ends_a_terminal_or_a_job(holder, oven, number):
    for process in oven.family:
        process.send_signal(number)
    time.sleep(0.3)
    assert all(map(is_running, oven.family))
    holder.kill()
    assert soon(lambda: oven.ops("is safe"))


def test_fault_17_the_guard_is_nobodys_child_and_keeps_nothing_open(holder, oven):
    guard, hand = oven.family
    assert guard.ppid() != holder.pid
    assert os.getsid(guard.pid) not in (os.getsid(holder.pid), os.getsid(os.getpid()), guard.pid)
    for process in (guard, hand):
        fds = {int(p.name): os.readlink(p) for p in Path(f"/proc/{process.pid}/fd").iterdir()}
        assert {fds[n] for n in (0, 1, 2)} == {os.devnull}
        assert not [place for place in fds.values() if place.startswith("pipe:")]  # the holder's output
        assert len(fds) <= 8
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert not [name for name in ("libtorch", "_raylet", "sqlalchemy", "sqlite") if name in maps]


def test_fault_17_a_fork_of_the_holder_does_not_keep_the_device_unsafe(oven):
    holder = os.fork()
    if holder == 0:
        link = oven.guard(deadman_s=1000.0)
        (oven.folder / "pid").write_text(f"{link.pid}\n")
        if os.fork() == 0:
            time.sleep(20)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(holder, 0)
    oven.follow(int((oven.folder / "pid").read_text()))
    assert soon(lambda: oven.ops("is safe"), within_s=10.0)
    assert soon(oven.is_left_alone)


def test_fault_17_a_controller_that_keeps_silent_may_not_command_until_it_arms_again(oven):
    link = oven.guard(deadman_s=0.5)
    for _ in range(20):
        link.beat()
        time.sleep(0.05)
    assert not link.status().deadman_fired
    link.acting({"t": 1.0})
    assert soon(lambda: oven.ops("is safe"))
    assert link.status().deadman_fired
    link.beat()
    with pytest.raises(SourceError, match="'oven': no beat of the controller came for 0.5 s.*nothing is commanded"):
        link.acting({"t": 1.0})
    assert soon(lambda: link.status().fault == "")
    link.arm()
    link.acting({"t": 1.0})
    assert not link.status().deadman_fired
    assert soon(lambda: len(oven.ops("is safe")) == 2)  # silent again
    link.close()
    assert soon(oven.is_left_alone)


def test_fault_17_beats_come_from_any_process_for_a_driver_may_let_nobody_else_run(oven):
    link = oven.guard(deadman_s=3.0)
    code = f"import time\nfrom closedloop.controller.guard.link import beat_at\nfor _ in range(40):\n beat_at({link.pulse!r})\n time.sleep(0.1)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not link.status().deadman_fired
    link.close()
    beat_at(link.pulse)  # nobody is there any more, and that is no error
    assert oven.ops("is safe") == []


def test_fault_17_goodbye_leaves_the_device_as_it_is(oven):
    link = oven.guard()
    link.close()
    assert soon(oven.is_left_alone)
    assert (oven.ops("is safe"), len(oven.ops("close"))) == ([], 1)
    assert not link.status().is_alive
    assert link.make_safe() == f"its guard (process {link.pid}) has ended"


def test_fault_17_the_guard_is_killed(oven):
    link = oven.guard()
    os.kill(link.pid, signal.SIGKILL)
    assert soon(lambda: not link.status().is_alive, within_s=1.0)
    for refused in (lambda: link.acting({"t": 1.0}), link.arm):
        with pytest.raises(SourceError, match=rf"its guard \(process {link.pid}\) has ended, so"):
            refused()
    assert soon(lambda: oven.ops("is safe"))  # by its hand, the last one that can
    assert soon(oven.is_left_alone)
    link.close()


def test_fault_17_the_guard_stands_still(oven):
    link = oven.guard()
    os.kill(link.pid, signal.SIGSTOP)
    assert not link.status().is_alive
    with pytest.raises(SourceError, match="does not answer, so nothing is commanded"):
        link.acting({"t": 1.0})
    os.kill(link.pid, signal.SIGCONT)
    assert soon(lambda: link.status().is_alive)
    link.close()
    assert soon(oven.is_left_alone)


def test_fault_17_the_guards_hand_is_killed(oven):
    link = oven.guard()
    oven.family[1].kill()
    assert soon(lambda: not is_running(oven.family[1]))
    assert link.make_safe() == ""
    assert oven.ops("is safe") != [oven.family[1].pid]
    oven.follow(link.pid)
    link.close()
    assert soon(oven.is_left_alone)


def test_fault_17_any_thread_may_ask_while_another_waits_for_the_device(oven):
    oven.let("make_safe", "hold", "ok")
    link = oven.guard(deadman_s=60.0)
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(100):
            link.beat()
            status = link.status()
            if not status.is_alive or status.pid != link.pid:
                wrong.append(status)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    threads += [threading.Thread(target=lambda: wrong.extend(filter(None, [link.make_safe()]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    with pytest.raises(SourceError, match="the device is being made safe"):
        assert soon(lambda: oven.ops("make_safe"))
        link.acting({"t": 1.0})
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(oven.ops("is safe")) == 1  # for all who asked
    link.acting({"t": 1.0})
    oven.follow(link.pid)
    link.close()
    assert soon(oven.is_left_alone)


def test_fault_17_a_guard_that_cannot_be_started_says_how_to_see_why(oven, monkeypatch):
    monkeypatch.setattr("closedloop.controller.guard.link.MODULE", "closedloop.controller.nothing")
    with pytest.raises(SourceError, match=r"'oven': its guard cannot be started \(.*run '.* -m closedloop"):
        oven.guard()


# 28: an interlock trips and clears.


def test_fault_28_an_interlock_trips_and_clears(oven):
    oven.show(p=1.0)
    link = oven.guard(interlocks=(Interlock(trip="p >= 6", every_s=0.05, resume_after_s=0.5),))
    link.acting({"t": 1.0})
    oven.show(p=7.5)
    assert soon(lambda: oven.ops("is safe"))
    assert soon(lambda: link.status().tripped == "interlock 'p >= 6' tripped at p=7.5")
    with pytest.raises(SourceError, match="'p >= 6' tripped at p=7.5, so nothing is commanded; see to the device"):
        link.acting({"t": 1.0})
    with pytest.raises(SourceError, match="it trips still, so it was not armed"):
        link.arm()
    assert (link.status().clear_for_s, link.status().may_resume) == (0.0, False)
    oven.show(p=2.0)
    assert soon(lambda: link.status().may_resume)
    status = link.status()
    assert (status.tripped != "", status.clear_for_s >= 0.5) == (True, True)  # until armed
    link.arm()
    link.acting({"t": 1.0})
    assert link.status().tripped == ""
    assert len(oven.ops("is safe")) == 1
    link.close()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", "the device is silent, which counts as tripped .RuntimeError: the fuse has blown"),
        ("hang", "silent, which counts as tripped .'monitor' of the guard's driver took longer than 2 s"),
        ("hold", "silent, which counts as tripped .'monitor' of the guard's driver took longer than 2 s"),
        ("exit", "silent, which counts as tripped .the process of the guard's driver ended"),
    ],
)
def test_fault_28_a_device_that_cannot_be_asked_counts_as_tripped(oven, how, words):
    oven.show(p=1.0)
    link = oven.guard(interlocks=(Interlock(trip="p >= 6", every_s=0.05),))
    oven.let("monitor", how, "ok")
    assert soon(lambda: oven.ops("is safe"))
    assert soon(lambda: link.status().clear_for_s > 0)  # asked again, over a new connection if need be
    assert re.search(words, link.status().tripped)
    oven.follow(link.pid)
    link.close()
    assert soon(oven.is_left_alone)


@pytest.mark.parametrize(("readings", "words"), [({"q": 1.0}, "there is no 'p'"), ({"p": float("nan")}, "p=nan is no")])
def test_fault_28_a_reading_that_is_missing_counts_as_tripped(oven, readings, words):
    oven.show(**readings)
    link = oven.guard(interlocks=(Interlock(trip="p >= 6", every_s=0.05),))
    assert soon(lambda: words in link.status().tripped)
    assert soon(lambda: oven.ops("is safe"))
    link.close()


# 31: make_safe raises, hangs, or ends its process.


@pytest.mark.parametrize("how", ["raise", "hold", "exit"])
def test_fault_31_a_first_try_that_fails_is_followed_by_one_over_a_new_connection(oven, how):
    oven.let("make_safe", how, "ok")
    link = oven.guard()
    assert link.make_safe() == ""
    first, second = oven.ops("make_safe")
    assert first != second
    assert oven.ops("is safe") == [second]
    assert oven.ops("connect") == [first, second]
    oven.follow(link.pid)
    link.close()
    assert soon(oven.is_left_alone)


def test_fault_31_what_cannot_be_made_safe_is_said_in_time_and_the_rest_is_made_safe(oven, folder):
    other = Device(folder / "other")
    oven.let("make_safe", "hang")
    bad, good = oven.guard(), other.guard()
    begun = time.monotonic()
    faults = [link.make_safe() for link in (bad, good)]
    assert time.monotonic() - begun < LEAVE_S
    assert faults[1] == ""
    assert faults[0].startswith("'make_safe' of the guard's driver took longer than 5 s; over a new connection:")
    assert len(oven.ops("make_safe")) == 2
    assert (bad.status().is_alive, "longer than 5 s" in bad.status().fault) == (True, True)
    oven.let("make_safe", "ok")
    assert (bad.make_safe(), bad.status().fault) == ("", "")
    for link in (bad, good):
        link.close()
    assert soon(lambda: oven.is_left_alone() and other.is_left_alone())


@pytest.mark.parametrize("how", ["hold", "raise"])
def test_fault_31_the_guard_is_gone_in_time_whatever_its_driver_does(holder, oven, folder, how):
    oven.let("make_safe", how)
    holder.kill()
    assert soon(lambda: len(oven.ops("make_safe")) == 2, within_s=SAFE_S + SOON_S)
    assert soon(oven.is_left_alone, within_s=LEAVE_S)
    assert "without a word: " in (log := (folder / "run" / "guard.log").read_text())
    assert "over a new connection" in log


def test_fault_31_make_safe_is_asked_for_while_monitor_hangs(oven):
    oven.show(p=1.0)
    link = oven.guard(interlocks=(Interlock(trip="p >= 6", every_s=0.05),))
    oven.let("monitor", "hold")
    time.sleep(0.2)
    assert link.make_safe() == ""
    assert oven.ops("is safe")
    oven.let("monitor", "ok")
    link.close()
    oven.follow(link.pid) if link.status().is_alive else None
    assert soon(oven.is_left_alone)


def test_fault_31_the_safe_setting_is_where_the_device_is_sent(oven):
    link = oven.guard(safe_setting={"t": 20.0})
    assert "Oven cannot be sent to {'t': 20.0} outside a trial" in link.make_safe()
    link.close()


@pytest.mark.parametrize(
    ("how", "words"),
    [("raise", "RuntimeError: the fuse has blown"), ("exit", "ended"), ("hold", "'start' .* took longer than 10 s")],
)
def test_fault_31_a_guard_that_cannot_connect_does_not_start(oven, how, words):
    oven.let("connect", how)
    with pytest.raises(SourceError, match=f"'oven': its guard.*connection of its own.*{words}.*; let the device take"):
        oven.guard()
    hands = [psutil.Process(pid) for pid in oven.ops("connect") if psutil.pid_exists(pid)]
    assert soon(lambda: not [p for p in hands if is_running(p)])
    assert oven.ops("make_safe") == []  # nothing was commanded


def test_fault_31_settings_that_cannot_be_sent_are_named(oven):
    binding = Binding(name="oven", cls=oven.binding().cls, settings={"folder": "x", "lock": threading.Lock()})
    with pytest.raises(SourceError, match="'oven': Oven and its settings cannot be sent.*open in connect"):
        GuardLink.start(binding)


# 26, 27: what never reaches the device.


@pytest.mark.parametrize(
    ("t", "rule"), [(float("nan"), "finite"), (float("inf"), "finite"), (140.0, "limits.t"), (-1, "limits.t")]
)
def test_fault_26_and_27_a_setpoint_that_may_not_be_is_refused_beside_the_device_and_recorded(oven, t, rule):
    binding = oven.binding(limits={"t": (0.0, 120.0)})
    with_guard = DeviceGate(binding, link=oven.guard(limits={"t": (0.0, 120.0)}))
    driver = binding.make()
    answer = perform(driver, Trial(number=1, source="oven", setting={"t": t}), binding, gate=with_guard)
    assert (answer.kind, answer.by, answer.rule) == ("refused", "guard of 'oven'", rule)
    assert oven.ops("measure") == []
    passed = perform(driver, Trial(number=2, source="oven", setting={"t": 100.0}), binding, gate=with_guard)
    assert isinstance(passed, Observed)
    with_guard.link.close()


def test_fault_28_a_tripped_device_is_not_commanded(oven):
    oven.show(p=9.0)
    binding = oven.binding(interlocks=(Interlock(trip="p >= 6", every_s=0.05),))
    link = oven.guard(interlocks=binding.guard.interlocks)
    gate = DeviceGate(binding, link=link)
    assert soon(lambda: link.status().tripped)
    answer = perform(binding.make(), Trial(number=1, source="oven", setting={"t": 1.0}), binding, gate=gate)
    assert (answer.kind, answer.cost) == ("failed", {})
    assert oven.ops("measure") == []
    link.close()


# 17 as Ray does it.

UNDER_RAY = """
import os, sys, time
from closedloop.controller.guard.link import GuardLink
from closedloop.controller.actors.session import RaySession, ray
from closedloop.controller.rules import GuardRules
from closedloop.controller.source import Binding, find_source

folder, how = sys.argv[1:]
cls = find_source(f"{folder}/oven.py:Oven", allow_code=True)


class Holder:
    def start(self, binding):
        self.link = GuardLink.start(binding)
        return self.link.pid, os.getpid()


ray_session = RaySession(demand={"CPU": 1})
ray.cloudpickle.register_pickle_by_value(sys.modules[cls.__module__])
holder = ray.remote(Holder).options(num_cpus=0, max_restarts=0).remote()
rules = GuardRules(deadman_s=3 if how == "raylet SIGKILL" else 1000)  # that one leaves the actor alive
binding = Binding(name="oven", cls=cls, settings={"folder": folder}, guard=rules)
guard, actor = ray.get(holder.start.remote(binding))
print(guard, actor, flush=True)
input()
if how == "ray.kill":
    ray.kill(holder)
if how == "end":
    ray_session.stop()
time.sleep(60)
"""


@pytest.mark.ray
@pytest.mark.parametrize(
    "how", ["driver SIGKILL", "driver SIGTERM", "actor SIGKILL", "raylet SIGKILL", "ray.kill", "end"]
)
def test_fault_17_under_ray_the_device_is_made_safe_however_it_ends(oven, how):
    script = oven.folder / "driver.py"
    script.write_text(UNDER_RAY)
    driver = subprocess.Popen(
        [sys.executable, script, oven.folder, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    guard, actor = map(int, driver.stdout.readline().split())
    oven.follow(guard)
    ray_family = psutil.Process(driver.pid).children(recursive=True)
    assert oven.family[0] not in ray_family
    if how.startswith("driver"):
        driver.send_signal(signal.SIGKILL if "KILL" in how else signal.SIGTERM)
    elif how == "actor SIGKILL":
        os.kill(actor, signal.SIGKILL)
    elif how == "raylet SIGKILL":
        next(p for p in ray_family if p.name() == "raylet").kill()
    else:
        driver.stdin.write("\n")
        driver.stdin.flush()
    assert soon(lambda: oven.ops("is safe") == [oven.family[1].pid], within_s=30.0)
    if how == "raylet SIGKILL":
        driver.kill()
    assert soon(oven.is_left_alone, within_s=LEAVE_S)
    driver.kill()
    driver.communicate()
    assert soon(lambda: not [p for p in ray_family if is_running(p)], within_s=60.0)
