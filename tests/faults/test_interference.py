"""What is done to a device while a trial runs on it: its answer is not believed, and nothing else is commanded."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import closedloop as cl
from closedloop.controller.errors import SourceError
from closedloop.controller.guard.fence import Fence, Owner, device_key
from closedloop.controller.guard.gate import DeviceGate
from closedloop.controller.guard.gates import Gates
from closedloop.controller.guard.link import GuardStatus
from closedloop.controller.guard.news import GuardNews
from closedloop.controller.inline import InlineExecutor
from closedloop.controller.perform import perform
from closedloop.controller.records import Ending, Failed, Noted, Observed, Paused, Resumed, Trial
from closedloop.controller.rules import GuardRules, Interlock, OnFailure
from closedloop.controller.source import Binding
from closedloop.instruments.instrument import Instrument


class Kiln(Instrument):
    """Writes down what is done to it in a file that its guard's driver shares."""

    deadman_s = 30.0

    def __init__(self, folder: str, takes_s: float = 0.0, is_broken: bool = False) -> None:
        self.folder, self.takes_s, self.is_broken = Path(folder), takes_s, is_broken

    def note(self, what: str) -> None:
        with (self.folder / "kiln.log").open("a") as file:
            file.write(f"{what}\n")

    def measure(self, setting):
        self.note(f"measure {setting['t']:g}")
        time.sleep(self.takes_s)
        self.note("end")
        return {"y": setting["t"]}

    def make_safe(self) -> None:
        if self.is_broken:
            raise OSError("the valve is stuck")
        self.note("safe")

    def return_to(self, setting) -> None:
        self.note(f"return {setting['t']:g}")

    def monitor(self):
        path = self.folder / "live.json"
        return json.loads(path.read_text()) if path.exists() else {"p": 1.0}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CLOSEDLOOP_RUNTIME_DIR", str(tmp_path / "runtime"))
    return tmp_path


def binding(folder: Path, *, timeout: float | None = None, guard: GuardRules | None = None, **settings) -> Binding:
    return Binding(
        name="kiln",
        cls=Kiln,
        settings={"folder": str(folder), **settings},
        timeout=timeout,
        responses=("y",),
        device="kiln 3",
        guard=guard or GuardRules(),
    )


def gates(kiln: Binding) -> Gates:
    return Gates("bake", "ledger", {"kiln": 1})


def lines(folder: Path) -> list[str]:
    path = folder / "kiln.log"
    return path.read_text().splitlines() if path.exists() else []


def until(condition, limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def trial(number: int, t: float = 100.0) -> Trial:
    return Trial(number=number, source="kiln", setting={"t": t})


def while_measuring(kiln: Binding, folder: Path, act) -> object:
    """The answer of a trial during which ``act`` is done to its gate."""
    gate = gates(kiln)(kiln)
    found: list[object] = []
    try:
        worker = threading.Thread(target=lambda: found.append(perform(kiln.make(), trial(1), kiln, gate=gate)))
        worker.start()
        until(lambda: "measure 100" in lines(folder))
        act(gate)
        worker.join(30)
    finally:
        gate.close()
    return found[0]


def is_in_doubt(answer: object, words: str) -> bool:
    assert isinstance(answer, Failed), answer
    assert (answer.cause, answer.is_in_doubt, answer.info) == ("unknown", True, {"reading": {"y": 100.0}})
    return words in answer.message


def test_a_reading_that_nothing_interfered_with_is_believed(folder):
    assert isinstance(while_measuring(binding(folder, takes_s=0.3), folder, lambda gate: gate.link.beat()), Observed)


def test_an_interlock_that_trips_in_mid_trial_leaves_its_reading_in_doubt(folder):
    kiln = binding(folder, takes_s=2.0, guard=GuardRules(interlocks=(Interlock(trip="p >= 6", every_s=0.2),)))
    (folder / "live.json").write_text('{"p": 1.0}')

    def trip(gate) -> None:
        (folder / "live.json").write_text('{"p": 9.0}')
        until(lambda: "safe" in lines(folder))
        (folder / "live.json").write_text('{"p": 1.0}')  # clear again before the driver answers

    assert is_in_doubt(while_measuring(kiln, folder, trip), "interlock 'p >= 6' tripped at p=9")


def test_a_guard_that_is_killed_in_mid_trial_leaves_its_reading_in_doubt(folder):
    answer = while_measuring(binding(folder, takes_s=1.5), folder, lambda gate: os.kill(gate.link.pid, signal.SIGKILL))
    assert is_in_doubt(answer, "its end makes the device safe")


def test_a_controller_that_was_silent_too_long_does_not_believe_the_reading_it_gets(folder):
    kiln = binding(folder, takes_s=4.0, guard=GuardRules(deadman_s=2.0))
    answer = while_measuring(kiln, folder, lambda gate: until(lambda: "safe" in lines(folder)))
    assert is_in_doubt(answer, "no beat of the controller for 2 s")


def test_a_device_that_was_made_safe_or_commanded_meanwhile_gives_no_reading_that_is_believed(folder):
    kiln = binding(folder, takes_s=1.0)
    assert is_in_doubt(while_measuring(kiln, folder, lambda gate: gate.make_safe(None)), "made safe meanwhile")
    (folder / "kiln.log").unlink()
    assert is_in_doubt(while_measuring(kiln, folder, lambda gate: gate.refuse(trial(2))), "commanded again meanwhile")


def test_no_command_comes_before_the_interlocks_were_looked_at(folder):
    (folder / "live.json").write_text('{"p": 9.0}')
    kiln = binding(folder, guard=GuardRules(interlocks=(Interlock(trip="p >= 6", every_s=60.0),)))
    gate = gates(kiln)(kiln)
    try:
        with pytest.raises(SourceError, match=r"tripped at p=9, so nothing is commanded"):
            gate.refuse(trial(1))
    finally:
        gate.close()


def test_what_a_guard_lets_not_through_is_taken_back_and_pauses_but_is_no_failure(folder):
    (folder / "live.json").write_text('{"p": 9.0}')
    kiln = binding(folder, guard=GuardRules(interlocks=(Interlock(trip="p >= 6", every_s=0.2),)))
    executor = InlineExecutor({"kiln": kiln}, gates=gates(kiln))
    try:
        executor.submit(trial(1))
        said = [executor.wait()]
        while not isinstance(said[-1], Failed):
            said.append(executor.wait())
        assert {p.by for p in said[:-1]} == {"guard of 'kiln'"} and "tripped at p=9" in said[0].reason
        assert (said[-1].cause, said[-1].cost) == ("cancelled", {})
        assert "tripped at p=9; it trips still" in executor.why_held()
        (folder / "live.json").write_text('{"p": 1.0}')
        until(lambda: not executor.why_held())
        executor.submit(trial(2))
        while not isinstance(answer := executor.wait(), Observed):
            assert isinstance(answer, Paused), answer
    finally:
        executor.close()
    assert lines(folder).count("measure 100") == 1


def test_an_abort_is_heard_while_an_inline_instrument_measures(folder):
    kiln = binding(folder, takes_s=30.0)
    asked: list[Ending] = []

    def inbox():
        said, asked[:] = list(asked), []
        return said

    executor = InlineExecutor({"kiln": kiln}, inbox=inbox, gates=gates(kiln))
    try:
        executor.submit(trial(1))
        threading.Timer(1.0, lambda: asked.append(Ending(by="ana", mode="abort"))).start()
        began = time.monotonic()
        assert isinstance(executor.wait(), Ending)
        assert executor.make_safe() == {}
        assert time.monotonic() - began < 15.0
        answer = executor.wait()
        assert (answer.trial, answer.cause, answer.is_in_doubt) == (1, "unknown", True)
        assert "safe" in lines(folder) and "end" not in lines(folder)
    finally:
        executor.close()


def test_a_late_reading_of_a_device_that_was_made_safe_is_told_and_not_believed(folder):
    kiln = binding(folder, takes_s=4.0, timeout=0.5)
    executor = InlineExecutor({"kiln": kiln}, gates=gates(kiln))
    try:
        executor.submit(trial(1))
        paused, failed = executor.wait(), executor.wait()
        assert (paused.by, failed.cause) == ("hands of 'kiln'", "timeout")
        assert "hangs in trial 1" in executor.why_held()
        told = executor.listen(10.0)
        assert isinstance(told, Noted) and "trial 1 answered late, {'y': 100.0}" in told.text
        assert executor.listen(10.0).by == "hands of 'kiln'" and executor.why_held() == ""
    finally:
        executor.close()


def test_what_cannot_be_made_safe_is_named(folder):
    kiln = binding(folder, is_broken=True)
    executor = InlineExecutor({"kiln": kiln}, gates=gates(kiln))
    try:
        faults = executor.make_safe()
    finally:
        executor.close()
    assert list(faults) == ["kiln"] and "the valve is stuck" in faults["kiln"]


def test_steps_are_counted_from_where_the_guard_has_sent_the_device(folder):
    guard = GuardRules(max_step={"t": 50.0}, safe_setting={"t": 20.0})
    kiln = binding(folder, guard=guard)
    gate = gates(kiln)(kiln)
    source = kiln.make()
    assert isinstance(perform(source, trial(1), kiln, gate=gate), Observed)
    assert gate.make_safe(source) == ""
    refused = gate.refuse(trial(2, 110.0))
    assert refused.rule == "max_step.t" and refused.places == ({"t": 20.0},)
    assert gate.refuse(trial(3, 60.0)) is None
    gate.reached()
    gate.close()
    assert lines(folder)[-2:] == ["safe", "return 20"]
    fence = Fence(device_key(kiln), 2, Owner.here("bake", "ledger"), name="kiln")
    fence.take()
    fence.release()
    assert fence.last().setting == {"t": 60.0}


HELD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_interference import binding, gates, trial
from closedloop.controller.perform import perform
from closedloop.controller.rules import GuardRules
from pathlib import Path
kiln = binding(Path(sys.argv[2]), guard=GuardRules(max_step={"t": 50.0}, safe_setting={"t": 20.0}))
gate = gates(kiln)(kiln)
perform(kiln.make(), trial(1), kiln, gate=gate)
print("done", flush=True)
time.sleep(60)
"""


def test_the_next_controller_counts_its_steps_from_where_the_guard_of_a_dead_one_has_sent_the_device(folder):
    here = str(Path(__file__).parent)
    holder = subprocess.Popen([sys.executable, "-c", HELD, here, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "done\n"
    guards = [p for p in psutil.process_iter(["cmdline"]) if "closedloop.controller.guard.process" in str(p.info)]
    holder.kill()
    holder.wait()
    until(lambda: "return 20" in lines(folder))
    psutil.wait_procs(guards, timeout=10)
    kiln = binding(folder, guard=GuardRules(max_step={"t": 50.0}, safe_setting={"t": 20.0}))
    gate = gates(kiln)(kiln)
    try:
        assert gate.refuse(trial(2, 110.0)).places == ({"t": 20.0},)
        assert gate.refuse(trial(3, 60.0)) is None
    finally:
        gate.close()


def test_a_trial_that_was_given_up_while_it_waited_for_the_guards_rate_commands_nothing(folder):
    kiln = binding(folder, timeout=8.0, guard=GuardRules(max_rate={"t": 10.0}))
    asked: list[Ending] = []

    def inbox():
        said, asked[:] = list(asked), []
        return said

    executor = InlineExecutor({"kiln": kiln}, inbox=inbox, gates=gates(kiln))
    try:
        executor.submit(trial(1, 100.0))
        assert isinstance(executor.wait(), Observed)
        executor.submit(trial(2, 130.0))  # 3 s away
        threading.Timer(0.5, lambda: asked.append(Ending(by="ana", mode="abort"))).start()
        assert isinstance(executor.wait(), Ending)
        assert executor.make_safe() == {}
        assert executor.wait().is_in_doubt
        time.sleep(4.0)
        assert executor.heard() is None
    finally:
        executor.close()
    assert "measure 130" not in lines(folder) and lines(folder)[-1] == "safe"


def test_the_tries_of_a_trial_that_was_given_up_end(folder):
    class Flaky(Kiln):
        def measure(self, setting):
            self.note("try")
            time.sleep(0.7)
            raise OSError("no contact")

    kiln = dataclasses.replace(
        binding(folder, timeout=1.0), cls=Flaky, is_repeatable=True, on_failure=OnFailure(retries=5, backoff_s=1.0)
    )
    executor = InlineExecutor({"kiln": kiln}, gates=gates(kiln))
    try:
        executor.submit(trial(1))
        while not isinstance(answer := executor.wait(), Failed):
            pass
        assert answer.cause == "timeout"
        n_tries = lines(folder).count("try")
        while executor.listen(6.0) is not None:
            pass
        assert lines(folder).count("try") == n_tries == 1 and not executor.why_held()
    finally:
        executor.close()


def test_an_alarm_does_not_end_by_itself_when_the_driver_comes_back(folder):
    kiln = binding(folder, takes_s=5.0, timeout=0.5, is_broken=True)
    executor = InlineExecutor({"kiln": kiln}, gates=gates(kiln))
    try:
        executor.submit(trial(1))
        said = [executor.wait()]
        while not isinstance(said[-1], Failed):
            said.append(executor.wait())
        paused = [e for e in said if isinstance(e, Paused)]
        assert [e.unsafe for e in said if isinstance(e, Noted)] == ["kiln"]
        assert len(paused) == 1 and "the valve is stuck" in paused[0].reason
        while (word := executor.listen(6.0)) is not None:
            assert not isinstance(word, Resumed), word
        assert not executor.why_held()
    finally:
        executor.close()


def test_a_driver_that_still_runs_keeps_its_guard_and_its_device(folder):
    kiln = binding(folder, takes_s=4.0, timeout=0.5)
    executor = InlineExecutor({"kiln": kiln}, gates=gates(kiln))
    executor.submit(trial(1))
    while not isinstance(executor.wait(), Failed):
        pass
    n_safe = lines(folder).count("safe")
    executor.close()
    until(lambda: lines(folder).count("safe") == n_safe + 1)  # by its guard, which heard no goodbye
    with pytest.raises(SourceError, match="is commanded by campaign 'bake'"):
        other = Gates("other", "another ledger", {"kiln": 1})
        other(kiln)


def test_a_guard_that_could_not_make_its_device_safe_says_so_and_does_not_resume_by_itself(folder):
    rules = GuardRules(interlocks=(Interlock(trip="p >= 6", every_s=0.2, resume_after_s=0.5),))
    news = GuardNews(binding(folder, guard=rules))
    tripped = "interlock 'p >= 6' tripped at p=9"
    paused = news.hear(GuardStatus(is_alive=True, tripped=tripped))
    assert isinstance(paused, Paused) and paused.is_temporary
    told = news.hear(GuardStatus(is_alive=True, tripped=tripped, fault="the valve is stuck"))
    assert isinstance(told, Noted) and told.unsafe == "kiln" and "the valve is stuck" in told.text
    clear = GuardStatus(is_alive=True, tripped=tripped, clear_for_s=9.0, may_resume=True, fault="the valve is stuck")
    assert news.hear(clear) is None
    assert isinstance(news.hear(dataclasses.replace(clear, fault="")), Resumed)


def test_a_run_waits_for_a_guard_that_resumes_by_itself_and_returns_where_a_person_must(folder):
    def run(name: str, resume_after_s: float | None) -> cl.Result:
        (folder / "live.json").write_text('{"p": 9.0}')
        rule = {"trip": "p >= 6", "every_s": 0.2, "resume_after_s": resume_after_s}
        kiln = {"instrument": Kiln, "settings": {"folder": str(folder)}, "cost": {"money": 1}}
        campaign = cl.Campaign(
            name=name,
            parameters={"t": {"low": 0, "high": 9}},
            responses=["y"],
            sources={"kiln": {**kiln, "guard": {"interlocks": [rule]}}},
            goal={"maximize": "y"},
            budget={"money": 2},
            belief="climatology",
        )
        timer = threading.Timer(4.0, lambda: (folder / "live.json").write_text('{"p": 1.0}'))
        timer.start()
        try:
            return cl.run(campaign, ledger=folder / "l.db", executor="inline")
        finally:
            timer.join()

    assert run("asks", None).state.paused.by == "guard of 'kiln'"
    done = run("by_itself", 0.5).state
    assert done.stopped and done.spent["money"] == 2.0


def test_what_is_held_for_another_reason_than_a_trip_does_not_resume_by_itself(folder):
    rules = GuardRules(interlocks=(Interlock(trip="p >= 6", every_s=0.2, resume_after_s=0.5),))
    news = GuardNews(binding(folder, guard=rules))
    assert news.hear(GuardStatus(is_alive=True, tripped="interlock 'p >= 6' tripped at p=9"))
    news.resumed()
    calm = GuardStatus(is_alive=True, clear_for_s=60.0)
    held = news.held(calm, "it was taken from this controller")
    assert (held.reason, held.is_temporary) == ("it was taken from this controller", False)
    assert news.hear(calm) is None


def test_a_slow_neighbour_does_not_silence_the_guard_of_a_device_that_is_ready(folder):
    class Slow(Kiln):
        def connect(self):
            time.sleep(4.0)

    kiln = binding(folder, guard=GuardRules(deadman_s=2.0))
    slow = Binding(name="slow", cls=Slow, settings={"folder": str(folder)}, responses=("y",), needs_make_safe=False)
    executor = InlineExecutor({"kiln": kiln, "slow": slow}, gates=Gates("bake", "ledger", {"kiln": 1}))
    try:
        assert executor.listen(2.5) is None and not executor.why_held()
    finally:
        executor.close()


def test_a_device_has_one_name_whatever_else_its_settings_say(folder):
    class Named(Kiln):
        device_settings = ("folder",)

    def key(cls, device="", **settings):
        return device_key(Binding(name="k", cls=cls, settings=settings, device=device))

    assert key(Named, folder="a", takes_s=1.0) == key(Named, folder="a", takes_s=2.0) != key(Named, folder="b")
    assert key(Kiln, folder="a", takes_s=1.0) != key(Kiln, folder="a", takes_s=2.0)
    assert key(Kiln, "kiln 3", folder="a") == key(Named, "kiln 3", folder="b")


def test_a_simulator_is_not_doubted(folder):
    gate = DeviceGate(Binding(name="kiln", cls=type("Model", (Kiln,), {"kind": "simulator"})))
    assert gate.refuse(trial(1)) is None and gate.refuse(trial(2)) is None
    assert gate.doubt(trial(1)) == ""
