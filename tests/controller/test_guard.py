"""Laws of the guard's rules: nothing gets past them, and what cannot be worked out is refused."""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import closedloop as cl
from closedloop.controller.errors import CampaignError, SourceError
from closedloop.controller.guard.check import SLACK, Guard, Latch
from closedloop.controller.guard.fence import Commanded, Fence, Fenced, Owner, device_key, ledger_key, runtime_folder
from closedloop.controller.guard.gate import DeviceGate
from closedloop.controller.guard.link import needs_guard, refuse_unsafe
from closedloop.controller.records import Trial
from closedloop.controller.rules import GuardRules, Interlock
from closedloop.controller.source import Binding
from closedloop.instruments.instrument import instrument
from closedloop.instruments.manual import Manual
from closedloop.instruments.mock import Mock
from closedloop.simulators.simulator import Simulator

LIMITS = {"x": (-5.0, 5.0), "y": (0.0, 10.0)}
RULES = GuardRules(limits=LIMITS, max_step={"x": 2.0}, max_rate={"y": 3.0}, forbidden=("x + y >= 12", "x * y <= -20"))

anything = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-6, 11) | st.integers(-10, 12)
settings_ = st.fixed_dictionaries({"x": anything, "y": anything})


@given(st.lists(st.tuples(settings_, st.floats(0.0, 2.0)), max_size=30))
def test_no_sequence_of_settings_gets_past_the_rules(commands):
    guard, now, sent = Guard(RULES, name="oven"), 0.0, []
    for setting, pause in commands:
        now += pause
        if guard.refusal(setting, now_s=now) is None:
            guard.commanded(setting, now)
            sent.append((setting, now))
    for setting, _ in sent:
        assert all(math.isfinite(v) for v in setting.values())
        assert all(low <= setting[name] <= high for name, (low, high) in LIMITS.items())
        assert setting["x"] + setting["y"] < 12
        assert setting["x"] * setting["y"] > -20
    for (a, before), (b, after) in pairwise(sent):
        assert abs(b["x"] - a["x"]) <= 2.0 * (1 + SLACK)
        assert abs(b["y"] - a["y"]) <= 3.0 * (after - before) * (1 + SLACK)


@given(settings_)
def test_before_the_first_command_only_limits_and_regions_apply(setting):
    rules = GuardRules(max_step={"x": 0.0}, max_rate={"y": 0.0})
    is_finite = all(math.isfinite(v) for v in setting.values())
    assert (Guard(rules, name="oven").refusal(setting, now_s=0.0) is None) == is_finite


@given(st.floats(0.01, 5), st.floats(0, 1))
def test_a_rate_is_kept_after_the_wait_that_the_refusal_names(step, pause):
    guard = Guard(GuardRules(max_rate={"x": 1.0}), name="oven")
    guard.commanded({"x": 0.0}, 10.0)
    refusal = guard.refusal({"x": step}, now_s=10.0 + pause)
    assert (refusal is None) == (step <= pause * (1 + SLACK))
    if refusal is not None:
        assert guard.refusal({"x": step}, now_s=10.0 + pause + refusal.wait_s * (1 + SLACK) + SLACK) is None


def test_a_clock_that_goes_back_allows_no_change_but_no_change():
    guard = Guard(GuardRules(max_rate={"x": 1.0}), name="oven")
    guard.commanded({"x": 0.0}, 10.0)
    assert guard.refusal({"x": 0.0}, now_s=5.0) is None
    assert guard.refusal({"x": 0.1}, now_s=5.0).rule == "max_rate.x"


def refused(rules, setting, last=None):
    guard = Guard(rules, name="oven")
    if last:
        guard.commanded(last, 0.0)
    return guard.refusal(setting, now_s=1.0)


@pytest.mark.parametrize(
    ("rules", "setting", "last", "rule", "words"),
    [
        ({"limits": {"t": (0, 120)}}, {"t": 140.0}, None, "limits.t",
         "t=140 is above the guard's limit 120 of 'oven'; lower it, or change guard.limits.t"),
        ({"limits": {"t": (0, 120)}}, {"t": -1}, None, "limits.t", "t=-1 is below the guard's limit 0 of 'oven'"),
        ({"max_step": {"t": 5}}, {"t": 20.0}, {"t": 10.0}, "max_step.t", "t=20 is 10 from the last commanded 10"),
        ({"max_rate": {"t": 5}}, {"t": 20.0}, {"t": 10.0}, "max_rate.t", "wait 1 s more or change it less"),
        ({"max_rate": {"t": 0}}, {"t": 20.0}, {"t": 10.0}, "max_rate.t", "change it less"),
        ({"forbidden": ("t >= 5",)}, {"t": 5.0}, None, "forbidden.t >= 5", "t=5 lies where 't >= 5' holds"),
        ({}, {"t": math.nan}, None, "finite", "t=nan is not a finite number"),
        ({}, {"t": 10**400}, None, "finite", "not a finite number"),
        ({}, {"t": True}, None, "finite", "t=True is not a finite number"),
        ({}, {"t": None}, None, "finite", "t=None is not a finite number"),
        ({"limits": {"t": (0, 120)}}, {"u": 1.0}, None, "guard", "the setting has no 't'"),
        ({"limits": {"t": (0, 120)}}, {"t": "hot"}, None, "guard", "t='hot' is no number"),
        ({"max_step": {"t": 1}}, {"t": "hot"}, {"t": 1.0}, "guard", "t='hot' is no number"),
        ({"forbidden": ("u >= 5",)}, {"t": 5.0}, None, "guard", "there is no 'u'"),
        ({"forbidden": ("log(t) >= 5",)}, {"t": -1.0}, None, "guard", "cannot be worked out (ValueError"),
        ({"forbidden": ("1 / t >= 5",)}, {"t": 0.0}, None, "guard", "cannot be worked out (ZeroDivisionError"),
        ({"forbidden": ("t ** 0.5 >= 5",)}, {"t": -1.0}, None, "guard", "its value is"),
        ({"forbidden": ("1e308 * t >= 5",)}, {"t": 100.0}, None, "guard", "its value is"),
    ],
)  # fmt: skip
def test_a_refusal_names_rule_value_and_remedy(rules, setting, last, rule, words):
    refusal = refused(GuardRules(**rules), setting, last)
    assert refusal.rule == rule
    assert words in refusal.reason


@pytest.mark.parametrize("setting", [{"t": 0.4}, {"t": np.float64(0.4)}, {"t": 0.2}, {"t": 0.3, "kind": "A"}])
def test_a_step_as_large_as_allowed_passes(setting):
    assert refused(GuardRules(max_step={"t": 0.1}, limits={"t": (0, 0.4)}), setting, {"t": 0.3}) is None


@pytest.mark.parametrize("part", ["limits", "max_step", "max_rate", "safe_setting", "forbidden"])
def test_a_name_that_is_no_parameter_is_refused_at_birth_with_what_may_be_meant(part):
    value = {"limits": {"temprature": (0, 1)}, "forbidden": ("temprature >= 5",)}.get(part, {"temprature": 1.0})
    with pytest.raises(CampaignError, match=rf"guard\.{part}.*'oven': 'temprature'.*did you mean 'temperature'\?"):
        Guard(GuardRules(**{part: value}), name="oven").check_names(["temperature", "time"])
    Guard(GuardRules(limits={"time": (0, 1)}, forbidden=("time >= 5",)), name="oven").check_names(["time"])


# Interlocks.


@given(st.dictionaries(st.sampled_from(["p", "q"]), st.floats() | st.none() | st.text(max_size=2)) | st.none())
def test_an_interlock_is_clear_only_where_its_readings_say_so(readings):
    guard = Guard(GuardRules(interlocks=(Interlock(trip="p >= 6"),)), name="oven")
    p = (readings or {}).get("p")
    is_clear = isinstance(p, float) and math.isfinite(p) and p < 6
    assert (guard.tripped(readings) == "") == is_clear


def test_a_latch_holds_until_armed_and_counts_how_long_it_is_clear():
    rules = GuardRules(interlocks=(Interlock(trip="p >= 6", resume_after_s=2.0), Interlock(trip="q >= 1")))
    latch = Latch(rules)
    assert not latch.look({"p": 1.0, "q": 0.0}, 0.0)
    assert latch.look({"p": 7.5, "q": 0.0}, 1.0)
    assert latch.text == "interlock 'p >= 6' tripped at p=7.5"
    assert not latch.look({"p": 8.0, "q": 0.0}, 2.0)  # the device is safe already
    assert "it trips still" in latch.arm()
    latch.look({"p": 1.0, "q": 0.0}, 3.0)
    assert (latch.clear_for_s(4.5), latch.may_resume(4.5), latch.may_resume(5.0)) == (1.5, False, True)
    assert latch.text != ""
    assert latch.look({"p": 9.0, "q": 0.0}, 6.0)  # again: the device is made safe again
    assert latch.clear_for_s(6.0) == 0.0
    latch.look({"p": 1.0, "q": 1.0}, 7.0)
    latch.look({"p": 1.0, "q": 0.0}, 8.0)
    assert not latch.may_resume(100.0)  # the second asks for a person
    assert latch.arm() == ""
    assert latch.text == ""


# Which sources are guarded.


class Bare(cl.Instrument):
    def measure(self, setting):
        return {"y": 1.0}


class Heater(Bare):
    def make_safe(self):
        pass


class BigHeater(Heater):
    pass


class Model(Simulator):
    def run(self, setting, unknowns):
        return {"y": 1.0}


@instrument()
def plain(x):
    return {"y": x}


@instrument(make_safe=lambda: None)
def switched(x):
    return {"y": x}


TRIP = GuardRules(interlocks=(Interlock(trip="p >= 6"),))


@pytest.mark.parametrize(
    ("cls", "options", "is_guarded"),
    [
        (Heater, {}, True),
        (BigHeater, {}, True),
        (switched, {}, True),
        (Heater, {"needs_make_safe": False}, False),
        (Heater, {"needs_make_safe": False, "guard": TRIP}, True),  # an interlock is never left unwatched
        (Manual, {}, False),
        (Mock, {}, False),
        (plain, {}, False),
        (Model, {}, False),
    ],
)
def test_real_instruments_are_guarded(cls, options, is_guarded):
    assert needs_guard(Binding(name="oven", cls=cls, **options)) is is_guarded


@pytest.mark.parametrize("cls", [Heater, BigHeater, switched, Manual, Mock, plain, Model])
def test_fault_31_what_can_be_made_safe_or_needs_it_not_is_let_through(cls):
    refuse_unsafe(Binding(name="oven", cls=cls))


@pytest.mark.parametrize(
    ("cls", "guard", "words"),
    [
        (Bare, GuardRules(), "source 'oven': Bare has no make_safe.*write one, or say needs_make_safe: false"),
        (Heater, GuardRules(safe_setting={"t": 20.0}), "Heater has no return_to.*or leave safe_setting out"),
        (Heater, TRIP, "Heater has no monitor.*'p >= 6'.*or leave the interlocks out"),
    ],
)
def test_fault_31_a_real_instrument_that_cannot_be_made_safe_is_refused(cls, guard, words):
    with pytest.raises(CampaignError, match=words):
        refuse_unsafe(Binding(name="oven", cls=cls, guard=guard))


def test_fault_31_needs_make_safe_false_is_taken_at_its_word():
    refuse_unsafe(Binding(name="oven", cls=Bare, needs_make_safe=False))


# The fence.


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("CLOSEDLOOP_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def an_owner(ledger="a", process=None):
    here = Owner.here("anneal", ledger)
    return here if process is None else Owner("anneal", ledger, process.pid, time.time())


@pytest.fixture
def neighbour():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_the_key_of_a_device_tells_its_settings_apart_and_shows_none(tmp_path):
    def key(**settings):
        return device_key(Binding(name="n", cls=Heater, settings=settings))

    assert key(host="a", port=1) == key(port=1, host="a")
    assert len({key(host="a"), key(host="b"), key(path=tmp_path), key(path=tmp_path / "b"), key()}) == 5
    assert key(truth=lambda s: s) == key(truth=lambda s: s) != key(truth=math.sin)
    assert "hunter2" not in key(token="hunter2")


def test_the_key_of_a_ledger_is_that_of_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ledger_key("lab.db") == ledger_key(tmp_path / "lab.db") != ledger_key("other.db")


def test_fault_14_a_device_that_a_living_controller_of_another_ledger_holds_is_refused(neighbour):
    Fence("k", 9, an_owner("theirs", neighbour)).take()
    mine = Fence("k", 50, an_owner("ours"), name="oven")
    with pytest.raises(
        SourceError, match=f"'oven' is commanded by campaign 'anneal' of another ledger.*{neighbour.pid}"
    ):
        mine.take(wait_s=0.1)
    with pytest.raises(Fenced, match="was taken from this controller"):
        mine.check()
    neighbour.kill()
    neighbour.wait()
    mine.take(wait_s=0.1)  # its token is another ledger's and says nothing here
    mine.check()


def test_fault_14_a_holder_that_is_about_to_end_is_waited_for(neighbour):
    Fence("k", 1, an_owner("theirs", neighbour)).take()
    neighbour.stdin.close()
    mine = Fence("k", 1, an_owner("ours"))
    mine.take(wait_s=20)
    assert neighbour.poll() is not None or neighbour.wait(5) == 0
    mine.check()


def test_fault_50_a_controller_that_was_replaced_cannot_command_any_more(neighbour):
    old = Fence("k", 1, an_owner("a", neighbour))
    old.take()
    new = Fence("k", 2, an_owner("a"))
    new.take(wait_s=0.1)
    for forbidden in (old.check, lambda: old.remember({"x": 1.0}, 1.0)):
        with pytest.raises(Fenced, match="token 1.*token 2.*end this controller"):
            forbidden()
    with pytest.raises(SourceError, match="token 2 above our 1.*replaced"):
        old.take(wait_s=0)
    old.release()
    new.check()  # what is not ours is not given back


def test_a_device_is_taken_again_by_its_holder_and_not_by_a_second_one_of_the_same_token(neighbour):
    Fence("k", 1, an_owner()).take()
    Fence("k", 1, an_owner()).take(wait_s=0)
    with pytest.raises(SourceError, match="of this ledger"):
        Fence("k", 1, an_owner(process=neighbour)).take(wait_s=0)


def test_a_device_that_was_given_back_is_free_and_its_last_setting_is_known():
    first = Fence("k", 1, an_owner("a"))
    first.take()
    first.remember({"x": 1.5, "kind": "A"}, 7.0)
    first.release()
    second = Fence("k", 1, an_owner("b"))
    second.take(wait_s=0)
    assert second.last() == Commanded({"x": 1.5, "kind": "A"}, 7.0)
    with pytest.raises(Fenced):
        first.check()


def test_what_was_commanded_before_this_boot_is_as_old_as_its_clock():
    fence = Fence("k", 1, an_owner())
    fence.take()
    fence.remember({"x": 1.0}, 1e9)
    text = fence.path.read_text()
    fence.path.write_text(text.replace('"boot":"', '"boot":"earlier-'))
    assert fence.last() == Commanded({"x": 1.0}, 0.0)


def test_files_are_private_and_a_folder_that_is_not_is_refused(runtime):
    fence = Fence("k", 1, an_owner())
    fence.take()
    assert {p.stat().st_mode & 0o777 for p in runtime.iterdir()} == {0o600}
    assert runtime.stat().st_mode & 0o777 == 0o700
    runtime.chmod(0o755)
    with pytest.raises(SourceError, match="nobody else may open.*chmod 700"):
        fence.check()
    runtime.chmod(0o700)
    os.rename(runtime, runtime.with_name("elsewhere"))
    runtime.symlink_to("elsewhere")
    with pytest.raises(SourceError, match="must be a folder of yours"):
        runtime_folder()


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff\xfe", b"null", b'{"token": "x"}', b'{"token": 1, "born": NaN}'])
def test_garbage_in_the_file_is_a_message(garbage):
    fence = Fence("k", 1, an_owner(), name="oven")
    fence.take()
    fence.path.write_bytes(garbage)
    for use in (fence.take, fence.check, fence.last, fence.release, lambda: fence.remember({"x": 1.0}, 1.0)):
        with pytest.raises(SourceError, match=r"'oven': .*k\.json cannot be read.*then delete that file"):
            use()
    fence.path.unlink()
    fence.take()


def test_files_that_a_cleaner_took_are_written_again(runtime):
    fence = Fence("k", 3, an_owner())
    fence.take()
    fence.remember({"x": 1.0}, 5.0)
    for path in runtime.iterdir():
        path.unlink()
    runtime.rmdir()
    fence.check()
    assert fence.last() == Commanded({"x": 1.0}, 5.0)
    with pytest.raises(SourceError, match="token 3 above our 2"):
        Fence("k", 2, an_owner()).take(wait_s=0)


def test_a_lock_that_is_held_for_ever_is_named(monkeypatch):
    fence = Fence("k", 1, an_owner())
    monkeypatch.setattr("closedloop.controller.guard.fence.LOCK_S", 0.2)
    with fence._locked(), pytest.raises(SourceError, match=r"k\.lock is locked for more than 0.2 s"):
        Fence("k", 1, an_owner()).check()


CUT = """
import fcntl, os, signal, sys
from closedloop.controller.guard.fence import Fence, Owner

fence = Fence("k", int(sys.argv[1]), Owner.here("anneal", "a"))
fence.take()
fence.remember({"x": 1.0}, 1.0)
n = 0

def cut(function):
    def wrapped(*arguments, **options):
        global n
        n += 1
        if n == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return wrapped

for module, name in ((os, "open"), (os, "fdopen"), (os, "fsync"), (os, "replace"), (fcntl, "flock")):
    setattr(module, name, cut(getattr(module, name)))
fence.remember({"x": 2.0}, 2.0)
print(n)
"""


def test_a_fence_survives_sigkill_at_each_step_of_a_write():
    """The old setting stands or the new one; the next controller takes the device and goes on."""
    seen = set()
    for cut in range(1, 100):
        done = subprocess.run([sys.executable, "-c", CUT, str(cut)], stdout=subprocess.PIPE, text=True, check=False)
        fence = Fence("k", cut, an_owner())
        seen.add((done.returncode, fence.last().setting["x"]))
        fence.take(wait_s=0)
        fence.check()
        if done.returncode == 0:
            break
    assert seen == {(-signal.SIGKILL, 1.0), (0, 2.0)}
    assert int(done.stdout) == cut - 1 >= 5  # each step was cut


def test_fenced_crosses_processes():
    error = pickle.loads(pickle.dumps(Fenced("gone")))
    assert (str(error), type(error)) == ("gone", Fenced)


# The gate.


def gate_for(cls=Heater, *, token=1, **rules):
    fence = Fence("k", token, an_owner())
    fence.take()
    return DeviceGate(Binding(name="oven", cls=cls, guard=GuardRules(**rules)), fence=fence)


def a_trial(**setting):
    return Trial(number=7, source="oven", setting=setting)


@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf])
def test_fault_26_a_setpoint_that_is_not_finite_never_passes_the_gate(x):
    refused = gate_for().refuse(a_trial(t=x))
    assert (refused.trial, refused.by, refused.rule) == (7, "guard of 'oven'", "finite")
    assert gate_for().fence.last() is None


def test_fault_27_steps_and_rates_are_kept_across_the_death_of_the_actor():
    assert gate_for(max_step={"t": 5.0}).refuse(a_trial(t=10.0)) is None
    again = gate_for(token=2, max_step={"t": 5.0})  # another process, with no memory of its own
    assert again.refuse(a_trial(t=100.0)).rule == "max_step.t"
    assert again.refuse(a_trial(t=15.0)) is None
    once_more = gate_for(token=3, max_step={"t": 5.0})
    assert once_more.refuse(a_trial(t=20.0)).rule == "max_step.t"  # it may still be at 10: no answer said otherwise
    assert once_more.refuse(a_trial(t=12.0)) is None
    once_more.reached()
    assert gate_for(token=4, max_step={"t": 5.0}).refuse(a_trial(t=17.0)) is None


def test_what_was_refused_is_not_remembered_as_commanded():
    gate = gate_for(limits={"t": (0, 50)}, max_step={"t": 5.0})
    assert gate.refuse(a_trial(t=10.0)) is None
    assert gate.refuse(a_trial(t=60.0)).rule == "limits.t"
    assert gate.refuse(a_trial(t=15.0)) is None
    assert gate.fence.last().setting == {"t": 15.0}


def test_a_simulator_is_held_to_limits_and_takes_no_steps():
    gate = DeviceGate(Binding(name="model", cls=Model, guard=GuardRules(limits={"t": (0, 50)}, max_step={"t": 5.0})))
    assert [gate.refuse(a_trial(t=t)) is None for t in (0.0, 50.0, 51.0)] == [True, True, False]


def test_fault_50_a_gate_whose_fence_is_lost_lets_nothing_through():
    old = gate_for()
    gate_for(token=2)
    with pytest.raises(Fenced):
        old.refuse(a_trial(t=1.0))
