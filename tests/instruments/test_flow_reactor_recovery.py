"""What the bench remembers, and what its driver makes of that after a crash: nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from closedloop.controller.errors import InvalidReading, OutcomeUnknown, SourceError
from closedloop.controller.records import Reading, Trial
from closedloop.controller.source import NotStarted, Unknown
from closedloop.instruments.bench_process import BenchProcess
from closedloop.instruments.flow_reactor_memory import Memory
from closedloop.instruments.instrument import Instrument, instrument
from closedloop.instruments.scpi import FlowReactor, LinkError

SETTING = {"temperature": 60.0, "residence_time": 0.5, "equivalents": 2.0, "concentration": 0.3}
FAST, SLOW = ["--time-scale", "0.0005"], ["--time-scale", "0.008"]  # a run of 0.12 s and of 1.9 s


def trial(number=7, key="0a1b2c3d", **setting):
    return Trial(number=number, source="reactor", setting={**SETTING, **setting}, key=key)


@pytest.fixture
def start(tmp_path):
    made = []

    def start_one(*arguments, record=tmp_path / "bench.jsonl"):
        made.append(BenchProcess(*arguments, record=record))
        return made[-1]

    yield start_one
    for bench in made:
        bench.end()


def driver(bench, **settings):
    return FlowReactor(**bench.settings, **{"reply_timeout_s": 0.5, **settings})


def measured(bench, of, **settings):
    reactor = driver(bench, **settings)
    try:
        reactor.begin(of)
        return reactor.measure(dict(of.setting))
    finally:
        reactor.close()


def recovered(bench, of, **settings):
    reactor = driver(bench, **settings)
    try:
        return reactor.recover(of)
    finally:
        reactor.close()


def until(is_so, limit_s=5.0):
    end = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


# The bench's own record.


def test_the_record_is_all_that_the_bench_was_commanded_in_order(start):
    bench = start(*FAST)
    bench.tell("SOUR:TEMP 80", "SOUR:TEMP 200", "INIT a", "*OPC?", "ABORT")
    entries = bench.commanded()
    said = [(e["command"], e.get("value"), "refused" in e, e["is_on"]) for e in entries]
    assert said == [
        ("SOUR:TEMP", 80.0, False, False),
        ("SOUR:TEMP", None, True, False),
        ("INIT", None, False, True),
        ("DONE", None, False, True),
        ("ABORT", None, False, False),
    ]
    assert entries[2]["run"] == "a" and entries[2]["setting"]["temperature"] == 80.0
    assert [e["device_s"] for e in entries] == sorted(e["device_s"] for e in entries)
    assert json.loads(bench.ask("SYST:REC?")[0]) == entries


def test_what_is_asked_is_not_recorded(start):
    bench = start(*FAST)
    bench.ask("*IDN?", "LAST?", "LAST? x", "FETCH?", "MEAS:PRES?", "SYST:LOG?", "OUTP:TIME?", "STAT:OPER?")
    assert bench.commanded() == []


def test_the_bench_says_what_became_of_any_run(start):
    bench = start(*FAST)
    bench.tell("INIT a", "*OPC?", "INIT b", "ABORT")
    done, aborted, none = bench.ask("LAST? a", "LAST? b", "LAST? c")
    assert done.startswith("a,DONE,") and done.endswith(",GOOD") and len(done.split(",")) == 9
    assert (aborted, none) == ("b,ABORTED", "c,NONE")
    assert bench.ask("LAST?") == ["b,ABORTED"]


def test_the_time_with_the_output_on_is_kept(start):
    bench = start(*FAST)
    assert bench.ask("OUTP:TIME?") == ["0.000"]
    bench.tell("INIT a", "*OPC?", "ABORT")
    off = float(bench.ask("OUTP:TIME?")[0])
    begun, ended = (bench.commanded(c)[0]["device_s"] for c in ("INIT", "ABORT"))
    assert off == pytest.approx(ended - begun, abs=0.01)
    assert float(bench.ask("OUTP:TIME?")[0]) == off


@pytest.mark.parametrize("is_torn", [False, True])
def test_a_bench_whose_power_went_remembers_its_runs(start, is_torn):
    bench = start(*SLOW)
    bench.tell("INIT a", "*OPC?", "INIT b")
    done = bench.ask("LAST? a")
    bench.kill()
    if is_torn:
        with bench.record.open("a") as file:
            file.write('{"command": "SOUR:TE')
    again = start(*SLOW)
    assert again.ask("LAST? a") == done
    assert again.ask("LAST? b;OUTP?;SYST:MEM?") == ["b,ABORTED;0;KEPT"]
    assert "already taken" in again.ask("INIT a;SYST:ERR?")[0]
    times = [e["device_s"] for e in again.commanded()]
    assert times == sorted(times)
    assert [e["command"] for e in again.commanded()] == ["INIT", "DONE", "INIT", "POWER", "INIT"]


def test_a_memory_is_the_sum_of_its_entries(tmp_path):
    path = tmp_path / "record"
    memory = Memory(path)
    memory.note("INIT", device_s=1.0, is_on=True, run="a", setting={"x": 1.0})
    memory.note("DONE", device_s=3.0, is_on=True, run="a", results=["1"], quality="GOOD")
    memory.note("INIT", device_s=4.0, is_on=True, run="a", setting={"x": 2.0}, refused="taken")
    memory.note("ABORT", device_s=5.0, is_on=False)
    again = Memory(path)
    assert again.runs == memory.runs and again.run("a").setting == {"x": 1.0}
    assert again.entries[:-1] == memory.entries
    assert again.on_s == memory.on_s == 4.0


def test_the_pressure_follows_the_flow_and_the_temperature(start):
    bench = start(*FAST)

    def running_at(*commands):
        bench.tell(*commands, "INIT " + str(time.monotonic_ns()), "*OPC?")
        return float(bench.ask("MEAS:PRES?")[0])

    off = float(bench.ask("MEAS:PRES?")[0])
    gentle, fast, hot = running_at(), running_at("SOUR:TIME 0.5"), running_at("SOUR:TEMP 120")
    assert off == 1.0 < gentle < fast < hot
    bench.tell("TEST:PRES 3.5")
    assert float(bench.ask("MEAS:PRES?")[0]) == pytest.approx(hot + 3.5, abs=0.2)
    bench.tell("TEST:CLEAR", "ABORT")
    assert bench.ask("MEAS:PRES?") == ["1.000"]


# What the driver makes of it.


def test_a_controller_killed_in_mid_run_gets_the_same_run_after_its_crash(start):
    bench = start(*SLOW)
    code = (
        "import sys, json\nfrom closedloop.controller.records import Trial\n"
        "from closedloop.instruments.scpi import FlowReactor\n"
        "trial = Trial.model_validate_json(sys.argv[2])\n"
        "reactor = FlowReactor(sys.argv[1])\nreactor.begin(trial)\nreactor.measure(trial.setting)\n"
    )
    command = [sys.executable, "-c", code, bench.settings["resource"], trial().model_dump_json()]
    controller = subprocess.Popen(command)
    until(lambda: bench.commanded("INIT"), limit_s=20)
    os.kill(controller.pid, signal.SIGKILL)
    controller.wait()
    found = recovered(bench, trial())
    assert isinstance(found, Reading) and found.info["recovered"]
    assert found.info["run"] == "7-0a1b2c3d-1"
    assert found.info["raw"] in bench.ask("LAST? 7-0a1b2c3d-1")[0].replace(",DONE", "")
    assert len(bench.commanded("INIT")) == 1


def test_what_is_recovered_is_what_was_measured(start):
    bench = start(*FAST)
    lost = measured(bench, trial())
    found = recovered(bench, trial())
    assert found.info.pop("recovered")
    assert found == lost


def test_a_trial_that_was_never_begun_is_known_as_such(start):
    bench = start(*FAST)
    measured(bench, trial(number=6))
    before = bench.commanded()
    assert isinstance(recovered(bench, trial()), NotStarted)
    assert isinstance(recovered(bench, trial(number=6, key="another")), NotStarted)
    assert bench.commanded() == before


def test_a_device_that_forgets_never_says_that_a_trial_was_not_begun(start):
    bench = start(*FAST, record=None)
    answer = recovered(bench, trial())
    assert isinstance(answer, Unknown) and "does not remember" in answer.text


def test_without_a_key_nothing_is_recovered(start):
    bench = start(*FAST)
    measured(bench, trial(key=""))
    assert isinstance(recovered(bench, trial(key="")), Unknown)


def test_an_aborted_run_is_no_reading_and_not_run_again_by_itself(start):
    bench = start(*SLOW)
    bench.tell("INIT 7-0a1b2c3d-1")
    driver(bench).make_safe()
    answer = recovered(bench, trial())
    assert isinstance(answer, Unknown) and "ABORTED" in answer.text


def test_a_run_without_end_is_waited_for_in_vain_and_bounded(start):
    bench = start("--time-scale", "0.1")
    bench.tell("INIT 7-0a1b2c3d-1")
    answer = recovered(bench, trial(), run_timeout_s=0.2)
    assert isinstance(answer, Unknown) and "still under way" in answer.text


def test_each_attempt_is_a_run_of_its_own_and_the_last_one_counts(start):
    bench = start(*FAST)
    bench.tell("INIT 7-0a1b2c3d-1", "ABORT")
    reading = measured(bench, trial())
    assert reading.info["run"] == "7-0a1b2c3d-2"
    assert recovered(bench, trial()).values == reading.values


def test_a_begun_trial_is_told_once(start):
    bench = start(*FAST)
    reactor = driver(bench)
    reactor.begin(trial())
    runs = [reactor.measure(SETTING).info["run"] for _ in range(2)]
    reactor.close()
    assert runs[0] == "7-0a1b2c3d-1" and not runs[1].startswith("7-")


def test_a_run_at_another_setting_is_not_taken_for_the_trials(start):
    bench = start(*FAST)
    measured(bench, trial())
    with pytest.raises(InvalidReading, match="not carried out at the trial's setting") as caught:
        recovered(bench, trial(equivalents=3.0))
    assert caught.value.info["clipped"] == {"equivalents": [3.0, 2.0]}


def test_a_device_that_is_gone_cannot_be_asked(start):
    bench = start(*FAST)
    bench.kill()
    with pytest.raises(LinkError):
        recovered(bench, trial())


# Beside the driver that measures.


def test_a_guard_looks_on_and_makes_safe_over_connections_of_its_own(start):
    bench = start(*SLOW)
    ended = []

    def measure():
        try:
            ended.append(measured(bench, trial()))
        except SourceError as error:
            ended.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    guard = driver(bench)
    until(lambda: bench.commanded("INIT"))
    until(lambda: guard.monitor()["temperature"] > 25.0)
    assert guard.monitor()["pressure"] > 2.0
    assert not ended, "looking on must not disturb the run"
    guard.make_safe()
    thread.join(3)
    guard.close()
    assert "ABORTED" in str(ended[0]) and not isinstance(ended[0], OutcomeUnknown)
    assert bench.ask("OUTP?;STAT:OPER?") == ["0;0"]


def test_two_connections_measure_and_look_on_without_mixing_their_replies(start):
    bench = start(*FAST)
    guard, stopped, faults = driver(bench), threading.Event(), []

    def look_on():
        while not stopped.is_set():
            try:
                seen = guard.monitor()
                assert 20 < seen["temperature"] < 130 and 0.9 < seen["pressure"] < 20
            except Exception as error:
                faults.append(error)
                return

    thread = threading.Thread(target=look_on)
    thread.start()
    readings = [measured(bench, trial(number=n)) for n in range(1, 9)]
    stopped.set()
    thread.join(3)
    guard.close()
    assert not faults
    assert [r.info["run"].split("-")[0] for r in readings] == [str(n) for n in range(1, 9)]
    assert len(bench.commanded("INIT")) == 8


def test_the_device_returns_to_a_setting_that_it_takes(start):
    bench = start(*FAST)
    driver(bench).return_to({"temperature": 25, "residence_time": 2.0})
    assert bench.ask("SOUR:TEMP?;SOUR:TIME?;OUTP?") == ["25.0;2.0;0"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"temperature": 200.0}, "may not be at .*-222"),
        ({"temperature": float("nan")}, "nothing was sent"),
        ({"colour": 1.0}, "no .*colour"),
    ],
)
def test_what_it_does_not_take_is_said(start, setting, said):
    bench = start(*FAST)
    with pytest.raises(SourceError, match=said):
        driver(bench).return_to({"residence_time": 2.0, **setting})
    assert bench.ask("SOUR:TEMP?") == ["25.0"]


def test_it_returns_nowhere_while_a_run_is_under_way(start):
    bench = start(*SLOW)
    bench.tell("INIT a")
    with pytest.raises(SourceError, match="-221"):
        driver(bench).return_to({"temperature": 30.0})


def test_a_driver_that_cannot_return_says_so():
    class Furnace(Instrument):
        def measure(self, setting):
            return {}

    with pytest.raises(NotImplementedError, match="safe_setting"):
        Furnace().return_to({"temperature": 20.0})


# The decorator.


def test_a_function_is_guarded_only_where_it_says_how_to_make_safe():
    done = []

    @instrument(make_safe=lambda: done.append("safe"), recover=lambda t: NotStarted(str(t.number)), repeatable=True)
    def pump(x: float) -> dict:
        return {"y": x}

    @instrument()
    def sum_of(x: float) -> dict:
        return {"y": x}

    assert pump.is_real and pump.is_repeatable and not sum_of.is_real and not sum_of.is_repeatable
    pump().make_safe()
    assert done == ["safe"]
    assert pump().recover(trial(number=3)) == NotStarted("3")
    assert isinstance(sum_of().recover(trial()), Unknown)
    assert pump().measure({"x": 2.0}) == {"y": 2.0}
