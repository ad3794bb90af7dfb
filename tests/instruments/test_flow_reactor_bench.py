"""The bench as a real process over TCP, alone and under its driver."""

import json
import re
import socket
import statistics
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from closedloop.controller.errors import InvalidReading, OutcomeUnknown, SourceError
from closedloop.instruments.bench_process import BenchProcess
from closedloop.instruments.flow_reactor_bench import true_optimum, true_response
from closedloop.instruments.flow_reactor_plant import (
    AMINE_DELIVERED,
    CAMPAIGN,
    ENERGIES,
    FEED_DELIVERED,
    NOISE,
    RATES,
    achieved_temperature,
)
from closedloop.instruments.scpi import FlowReactor
from closedloop.instruments.testing import InstrumentContract
from closedloop.simulators.flow_reactor import FlowReactor as Model

SETTING = {"temperature": 60.0, "residence_time": 0.5, "equivalents": 2.0, "concentration": 0.3}
SLOW = ["--time-scale", "0.02"]  # a run of 4.8 s, to be cut short


class Process(BenchProcess):
    def driver(self, **settings):
        return FlowReactor(**self.settings, **settings)


def ask(lines, command):
    lines.write(command + "\n")
    lines.flush()
    return lines.readline().strip()


@pytest.fixture(scope="module")
def bench():
    process = Process("--time-scale", "0.0005", "--seed", "3")
    yield process
    process.end()


@pytest.fixture
def slow_bench():
    process = Process(*SLOW)
    yield process
    process.end()


@pytest.fixture
def reactor(bench):
    driver = bench.driver()
    driver.connect()
    yield driver
    driver.close()


@pytest.fixture
def running(slow_bench):
    """A measurement under way in a thread: the bench and a list that will hold how it ended."""
    driver, ended = slow_bench.driver(reply_timeout_s=0.5), []

    def measure():
        try:
            ended.append(driver.measure(SETTING))
        except Exception as error:
            ended.append(error)
        finally:
            driver.close()

    thread = threading.Thread(target=measure)
    thread.start()
    with slow_bench.client() as lines:
        until(lambda: ask(lines, "STAT:OPER?") == "2")
    yield slow_bench, thread, ended
    thread.join(5)


def until(is_so, limit_s=5.0):
    end = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


class TestFlowReactorDriver(InstrumentContract):
    setting = SETTING
    responses = ("sty", "e_factor", "conversion", "byproducts")

    @pytest.fixture(autouse=True)
    def _with(self, bench):
        type(self).make = lambda: bench.driver()
        type(self).witness = lambda: bench.commanded()


# The device.


def test_setpoints_are_kept_and_read_back(bench):
    assert bench.ask("SOUR:TEMP 80.25;:SOUR:TEMP?", "SYST:ERR?") == ["80.25", '0,"No error"']


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("SOUR:TEMP 200", -222),
        ("SOUR:TEMP nan", -222),
        ("SOUR:TEMP inf", -222),
        ("SOUR:TEMP hot", -104),
        ("SOUR:TIME", -104),
        ("INIT ../x", -104),
        ("HEAT 12", -113),
        ("\x00\x07", -113),
    ],
)
def test_a_bad_command_is_refused_and_changes_nothing(bench, command, code):
    with bench.client() as lines:
        before = [ask(lines, f"SOUR:{k}?") for k in ("TEMP", "TIME")]
        assert int(ask(lines, f"{command};SYST:ERR?").split(",")[0]) == code
        assert [ask(lines, f"SOUR:{k}?") for k in ("TEMP", "TIME")] == before
        assert ask(lines, "STAT:OPER?;SYST:ERR?") == '0;0,"No error"'


def test_each_client_has_its_own_errors(bench):
    with bench.client() as one, bench.client() as other:
        one.write("NONSENSE\n")
        one.flush()
        assert ask(other, "SYST:ERR?") == '0,"No error"'
        assert ask(one, "SYST:ERR?").startswith("-113")


def test_it_outlives_garbage_endless_lines_and_clients_that_go(bench):
    for rubbish in (b"\xff\xfe\x00" * 50 + b"\n", b"x" * 100_000, b"*IDN?", b"MEAS:TEMP?\n" * 50, b""):
        with socket.create_connection(("127.0.0.1", bench.port)) as wire:
            wire.sendall(rubbish)
    assert bench.ask("*IDN?") == ["CLOSEDLOOP,FLOWBENCH,0001,1.0"]


def test_a_line_cut_off_is_no_command(bench):
    bench.ask("SOUR:TEMP 80;*OPC?")
    with socket.create_connection(("127.0.0.1", bench.port)) as wire:
        wire.sendall(b"SOUR:TEMP 30")
    time.sleep(0.05)
    assert bench.ask("SOUR:TEMP?") == ["80.0"]


def test_a_command_may_come_byte_by_byte(bench):
    with bench.client() as lines:
        for byte in "*IDN?\n":
            lines.write(byte)
            lines.flush()
            time.sleep(0.005)
        assert "FLOWBENCH" in lines.readline()


def test_a_run_id_is_taken_once_and_a_run_is_not_disturbed(slow_bench):
    with slow_bench.client() as lines:
        assert ask(lines, "LAST?") == "none,NONE"
        assert ask(lines, "INIT a;SYST:ERR?") == '0,"No error"'
        assert "a is under way" in ask(lines, "INIT b;SYST:ERR?")
        assert ask(lines, "SOUR:TEMP 90;SYST:ERR?").startswith("-221")
        assert ask(lines, "LAST?;OUTP?") == "a,RUNNING;1"
        assert ask(lines, "ABORT;OUTP?;STAT:OPER?;LAST?") == "0;0;a,ABORTED"
        assert ask(lines, "FETCH?").startswith("a,9.91E37")
        assert "already taken" in ask(lines, "*CLS;INIT a;SYST:ERR?")
        assert ask(lines, "SYST:LOG?") == '1,"a 25 1 1 0.1"'


def test_it_ends_with_whoever_started_it():
    process = Process()
    process.process.stdin.close()
    assert process.process.wait(5) == 0
    process.process.stdout.close()


def test_it_ends_when_its_starter_is_killed():
    script = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'closedloop.instruments.flow_reactor_bench', '--quiet'],"
        " stdin=subprocess.PIPE)\n"
        "time.sleep(60)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    port = int(json.loads(starter.stdout.readline())["resource"].split("::")[2])
    starter.kill()
    starter.wait()
    starter.stdout.close()
    until(lambda: not is_listening(port))


def is_listening(port):
    with socket.socket() as wire:
        return wire.connect_ex(("127.0.0.1", port)) == 0


# The truth.


def test_the_truth_is_the_model_with_other_constants_and_other_inlets():
    rng = np.random.default_rng(2)
    setting = {k: rng.uniform(*b, 60) for k, b in CAMPAIGN.items()}
    inlet = {
        "temperature": achieved_temperature(setting["temperature"], setting["residence_time"]),
        "residence_time": setting["residence_time"],
        "equivalents": AMINE_DELIVERED * setting["equivalents"],
        "concentration": FEED_DELIVERED * setting["concentration"],
    }
    expected = Model().simulate(inlet, dict(zip(Model.unknowns, RATES + ENERGIES, strict=True)))
    for name, values in true_response(setting).items():
        assert values == pytest.approx(expected[name], rel=5e-4)


def test_the_optimum_lies_on_both_limits_and_beats_its_neighbours():
    limits = {"e_factor": 9.8, "byproducts": 8.0}
    setting, responses = true_optimum(limits, n_rounds=60)
    assert responses["sty"] == pytest.approx(10829.6, rel=1e-3)
    assert {k: responses[k] for k in limits} == pytest.approx(limits, rel=2e-3)
    rng = np.random.default_rng(4)
    near = {k: np.clip(setting[k] + 0.05 * (b - a) * rng.uniform(-1, 1, 400), a, b) for k, (a, b) in CAMPAIGN.items()}
    others = true_response(near)
    allowed = (others["e_factor"] <= 9.8) & (others["byproducts"] <= 8.0)
    assert np.max(others["sty"][allowed], initial=0.0) <= 1.001 * responses["sty"]


# The driver.


def test_a_reading_is_the_truth_within_noise_and_drift(reactor):
    reading = reactor.measure(SETTING)
    truth = true_response(SETTING)
    for name, value in reading.values.items():
        assert value == pytest.approx(truth[name], rel=4.5 * NOISE[name] + 0.02)
        assert reading.sd[name] == pytest.approx(NOISE[name] * value)
    assert reading.achieved["temperature"] == pytest.approx(achieved_temperature(60.0, 0.5), abs=0.5)
    assert reading.achieved["temperature"] < 58.5  # the reactor loses heat
    assert reading.info["raw"].startswith(reading.info["run"])
    assert reactor.last_run() == (reading.info["run"], "DONE")


def test_each_measurement_is_one_run(bench, reactor):
    def n_runs():
        return int(bench.ask("SYST:LOG?")[0].split(",")[0])

    before = n_runs()
    reactor.measure(SETTING)
    reactor.measure(SETTING)
    assert n_runs() == before + 2


def test_out_of_range_is_refused_in_the_words_of_the_device(bench, reactor):
    with pytest.raises(SourceError, match=re.escape("-222") + ".*takes 20 to 130, not 200"):
        reactor.measure({**SETTING, "temperature": 200.0})
    assert bench.ask("STAT:OPER?") == ["0"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "hot", 9.9e37])
def test_what_is_no_number_is_not_sent(reactor, bad):
    with pytest.raises(SourceError, match="no finite number"):
        reactor.measure({**SETTING, "temperature": bad})


def test_abort_from_elsewhere_ends_the_run_with_a_reason(running):
    bench, thread, ended = running
    bench.driver().make_safe()
    thread.join(3)
    assert isinstance(ended[0], SourceError) and not isinstance(ended[0], OutcomeUnknown)
    assert "is ABORTED" in str(ended[0])
    assert bench.ask("OUTP?") == ["0"]


def test_a_bench_killed_in_mid_run_leaves_the_outcome_unknown(running):
    bench, thread, ended = running
    bench.process.kill()
    begun = time.monotonic()
    thread.join(5)
    assert isinstance(ended[0], OutcomeUnknown)
    assert time.monotonic() - begun < 3
    with pytest.raises(SourceError, match="may not be safe"):
        bench.driver(reply_timeout_s=0.5).make_safe()


def test_what_is_no_result_is_kept_as_it_came(reactor):
    with pytest.raises(InvalidReading, match="not six numbers") as caught:
        reactor._reading("mine,1,2,3,GOOD", "mine", {})
    assert caught.value.info["raw"] == "mine,1,2,3,GOOD"


def test_a_run_without_end_leaves_the_outcome_unknown(slow_bench):
    driver = slow_bench.driver(run_timeout_s=0.1)
    with pytest.raises(OutcomeUnknown, match=r"still under way after 0\.1 s"):
        driver.measure(SETTING)
    driver.make_safe()
    assert slow_bench.ask("STAT:OPER?") == ["0"]
    driver.close()


def test_one_question_takes_less_than_a_delayed_acknowledgement(reactor):
    times = []
    for _ in range(30):
        begun = time.perf_counter()
        reactor.write("SOUR:TEMP 60")
        times.append(time.perf_counter() - begun)
    assert statistics.median(times) < 0.02  # 40 ms where Nagle's algorithm is on
