"""What is done to a device while a trial runs on it: its answer is not believed, and nothing else is commanded."""

from __future__ import annotations

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

from closedloop.controller.errors import SourceError
from closedloop.controller.guard.fence import Fence, Owner, device_key
from closedloop.controller.guard.gate import DeviceGate
from closedloop.controller.guard.gates import Gates
from closedloop.controller.inline import InlineExecutor
from closedloop.controller.perform import perform
from closedloop.controller.records import Ending, Failed, Noted, Observed, Paused, Trial
from closedloop.controller.rules import GuardRules, Interlock
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
