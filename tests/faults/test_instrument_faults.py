"""Faults 19 to 26 at the driver's border, each on the real bench over TCP, as the trial's one answer tells it."""

from __future__ import annotations

import threading
import time

import pytest

from closedloop.controller.errors import CampaignError, InvalidReading, OutcomeUnknown, SourceError
from closedloop.controller.perform import perform, recovered
from closedloop.controller.records import Failed, Observed, Trial, dump_event, load_event
from closedloop.controller.source import Binding
from closedloop.instruments.bench_process import BenchProcess
from closedloop.instruments.scpi import FlowReactor, LinkError

SETTING = {"temperature": 60.0, "residence_time": 0.5, "equivalents": 2.0, "concentration": 0.3}
RESPONSES = ("sty", "e_factor", "conversion", "byproducts")
BINDING = Binding(name="reactor", cls=FlowReactor, responses=RESPONSES)
REPLY_S = 0.3
NUMBERS = iter(range(1, 10_000))


@pytest.fixture(scope="module")
def module_bench(tmp_path_factory):
    with BenchProcess("--time-scale", "0.0005", record=tmp_path_factory.mktemp("bench") / "record") as bench:
        yield bench


@pytest.fixture
def bench(module_bench):
    module_bench.tell("TEST:CLEAR")
    yield module_bench
    module_bench.tell("TEST:CLEAR")
    module_bench.tell("ABORT")


@pytest.fixture
def reactor(bench):
    driver = FlowReactor(**bench.settings, reply_timeout_s=REPLY_S)
    driver.connect()
    yield driver
    driver.close()


def a_trial(**setting):
    return Trial(number=next(NUMBERS), source="reactor", setting={**SETTING, **setting}, key="cafe")


def answered(reactor, trial):
    answer = perform(reactor, trial, BINDING)
    assert load_event(dump_event(answer), seq=0, time=None) == answer
    return answer


def runs_of(bench, trial):
    return [e["run"] for e in bench.commanded("INIT") if "refused" not in e and e["run"].startswith(f"{trial.number}-")]


# 19: the reply never comes.


def test_19_a_reply_that_never_comes_ends_the_trial_in_time(bench, reactor):
    bench.tell("TEST:MUTE 1,SOUR:TEMP?")
    begun = time.monotonic()
    answer = answered(reactor, trial := a_trial())
    assert time.monotonic() - begun < 10
    assert (answer.cause, answer.is_in_doubt) == ("error", False)  # nothing was begun
    assert "no answer to 'SOUR:TEMP?'" in answer.message
    assert runs_of(bench, trial) == []


def test_19_a_reply_that_never_comes_once_the_run_was_begun_is_in_doubt(bench, reactor):
    trial = a_trial()
    bench.tell("TEST:MUTE 1,LAST:SET?")
    answer = answered(reactor, trial)
    assert (answer.cause, answer.is_in_doubt) == ("unknown", True)
    bench.tell("TEST:CLEAR")
    assert recovered(reactor, trial, BINDING).kind == "observed"
    assert len(runs_of(bench, trial)) == 1


# 20: the reply comes late.


@pytest.mark.parametrize("header", ["SOUR:TEMP?", "LAST?", "SYST:ERR?"])
def test_20_a_late_reply_is_never_the_next_answer(bench, reactor, header):
    bench.tell(f"TEST:LATE {2 * REPLY_S},{header}")
    with pytest.raises(LinkError, match="no answer"):
        reactor.query(header) if header != "SYST:ERR?" else reactor.write("SOUR:TIME 0.5")
    bench.tell("TEST:CLEAR")
    time.sleep(2.5 * REPLY_S)  # the late reply has gone out by now
    assert reactor.query("*IDN?").startswith("CLOSEDLOOP")
    answer = answered(reactor, trial := a_trial())
    assert answer.kind == "observed"
    assert answer.reading.info["run"] == runs_of(bench, trial)[0]


# 21: single bytes; two replies in one packet.


def test_21_replies_in_single_bytes_are_put_together(bench):
    reactor = FlowReactor(**bench.settings, reply_timeout_s=5.0)
    bench.tell("TEST:DRIP 0.0005")
    answer = answered(reactor, a_trial())
    reactor.close()
    assert answer.kind == "observed"


def test_21_a_drip_that_takes_longer_than_a_reply_may_is_ended(bench, reactor):
    bench.tell("TEST:DRIP 0.05")
    begun = time.monotonic()
    with pytest.raises(LinkError, match="no end of line"):
        reactor.query("*IDN?")
    assert time.monotonic() - begun < 10


def test_21_the_second_reply_of_a_packet_is_never_the_next_answer(bench, reactor):
    bench.tell("TEST:TWICE 1,MEAS:TEMP?")
    with pytest.raises(LinkError, match="more than was asked for"):
        reactor.query("MEAS:TEMP?")  # its error queue is not asked: the line is out of step
    assert reactor.query("*IDN?").startswith("CLOSEDLOOP")
    assert answered(reactor, a_trial()).kind == "observed"


def test_21_two_answers_that_were_asked_for_in_one_line_are_both_there(bench, reactor):
    assert reactor.query("STAT:OPER?;*IDN?").partition(";")[2].startswith("CLOSEDLOOP")


# 22: overload markers.


@pytest.mark.parametrize("marker", ["9.9E37", "9.91E37", "-9.9E37", "OVLD", "-999", "-9.99E+2", "nan", "inf", ""])
def test_22_an_overload_is_invalid_and_kept_as_the_device_said_it(bench, reactor, marker):
    bench.tell(f"TEST:OVER {marker},e_factor")
    answer = answered(reactor, trial := a_trial())
    assert (answer.kind, answer.cause, answer.is_in_doubt) == ("failed", "invalid", False)
    fields = answer.info["raw"].split(",")
    assert (fields[0], fields[2]) == (runs_of(bench, trial)[0], marker)
    assert "no finite number" in answer.message


def test_22_a_marker_counts_only_where_the_driver_declares_it(bench):
    class Cryostat(FlowReactor):
        markers = ()

    bench.tell("TEST:OVER -999,conversion")
    reactor = Cryostat(**bench.settings)
    assert answered(reactor, a_trial()).reading.values["conversion"] == -999.0
    reactor.close()


def test_22_an_overload_among_the_live_readings_is_no_reading(bench, reactor):
    bench.tell("TEST:PRES 9.9E37")
    with pytest.raises(InvalidReading):
        reactor.monitor()


# 23: the peer closes in mid action.


@pytest.mark.parametrize("header", ["INIT", "LAST:SET?"])
def test_23_a_peer_that_closes_in_mid_action_is_unknown_at_once_and_can_be_asked(bench, header):
    reactor = FlowReactor(**bench.settings, reply_timeout_s=30.0)
    trial = a_trial()
    bench.tell(f"TEST:DROP 1,{header}")
    begun = time.monotonic()
    answer = answered(reactor, trial)
    assert time.monotonic() - begun < 10  # not the 30 s that a reply may take
    assert (answer.cause, answer.is_in_doubt) == ("unknown", True)
    assert "closed the connection" in answer.message
    found = recovered(reactor, trial, BINDING)
    reactor.close()
    assert isinstance(found, Observed) and found.reading.info["recovered"]
    assert runs_of(bench, trial) == [found.reading.info["run"]]


def test_23_a_peer_that_closes_before_the_run_is_no_doubt(bench, reactor):
    bench.tell("TEST:DROP 1,SOUR:CONC")
    answer = answered(reactor, trial := a_trial())
    assert (answer.cause, answer.is_in_doubt, runs_of(bench, trial)) == ("error", False, [])


def test_23_a_peer_that_always_closes_is_connected_to_once_a_trial(bench, reactor, monkeypatch):
    from closedloop.instruments import scpi_link

    opened, really_open = [], scpi_link.Link.open
    monkeypatch.setattr(scpi_link.Link, "open", lambda link: (opened.append(link), really_open(link))[1])
    bench.tell("TEST:DROP 1000")
    causes = [answered(reactor, a_trial()).cause for _ in range(5)]
    assert causes == ["error"] * 5
    assert len(opened) <= 5


# 24: the setpoint is clipped.


def test_24_a_clipped_setpoint_fails_the_trial_and_says_both(bench, reactor):
    bench.tell("TEST:CLIP 55,TEMP")
    answer = answered(reactor, trial := a_trial())
    assert (answer.cause, answer.is_in_doubt) == ("error", False)
    assert "SOUR:TEMP reads back 55 after 60 was set" in answer.message
    assert runs_of(bench, trial) == []


def test_24_or_the_model_is_told_what_was_really_set_and_both_are_kept(bench):
    reactor = FlowReactor(**bench.settings, on_clip="use")
    bench.tell("TEST:CLIP 1.5,EQUIV")
    answer = answered(reactor, trial := a_trial())
    assert answer.reading.achieved["equivalents"] == 1.5
    assert answer.reading.info["clipped"] == {"equivalents": [2.0, 1.5]}
    entry = bench.commanded("SOUR:EQUIV")[-1]
    assert (entry["asked"], entry["value"]) == (2.0, 1.5)
    assert recovered(reactor, trial, BINDING).reading.achieved == answer.reading.achieved
    reactor.close()


def test_24_another_policy_is_refused_before_anything_runs():
    with pytest.raises(CampaignError, match="on_clip='ignore' is none of fail, use"):
        FlowReactor("TCPIP::127.0.0.1::1::SOCKET", on_clip="ignore")


def test_24_a_setpoint_that_another_hand_changed_before_the_run_is_noticed(bench, reactor):
    trial = a_trial()
    really_written = reactor.write

    def written(command):
        if command.startswith("INIT"):
            bench.tell("SOUR:TEMP 33")
        really_written(command)

    reactor.write = written
    answer = answered(reactor, trial)
    assert (answer.cause, answer.info["clipped"]) == ("invalid", {"temperature": [60.0, 33.0]})


# 25: bad quality.


@pytest.mark.parametrize("quality", ["BAD", "UNCERTAIN"])
def test_25_a_reading_of_bad_quality_is_not_used_and_its_quality_is_kept(bench, reactor, quality):
    bench.tell(f"TEST:QUAL {quality}")
    answer = answered(reactor, trial := a_trial())
    assert (answer.cause, answer.info["quality"]) == ("invalid", quality)
    assert answer.info["raw"].startswith(runs_of(bench, trial)[0])
    bench.tell("TEST:CLEAR")
    with pytest.raises(InvalidReading, match=quality):
        reactor.recover(trial)  # what was bad stays bad


def test_25_good_quality_is_kept_too(reactor):
    assert answered(reactor, a_trial()).reading.info["quality"] == "GOOD"


# 26: a setpoint that is not finite.


BAD = [float("nan"), float("inf"), float("-inf"), 9.9e37, 10**400, "nan", "hot", "", None]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad!r:.10}")
@pytest.mark.parametrize("name", SETTING)
def test_26_what_is_no_finite_number_is_never_sent(bench, reactor, bad, name):
    sent = bench.commanded()
    trial = a_trial().model_copy(update={"setting": {**SETTING, name: bad}})  # past every border before this one
    answer = perform(reactor, trial, BINDING)
    assert isinstance(answer, Failed) and answer.cause == "error"
    assert "no finite number" in answer.message
    assert bench.commanded() == sent


# Safe in spite of them.


@pytest.mark.parametrize("fault", ["MUTE 1", "LATE 5", "DROP 1000", "DRIP 0.1", "TWICE 1"])
def test_make_safe_is_bounded_and_the_command_is_carried_out_whatever_the_wire_does(bench, fault):
    reactor = FlowReactor(**bench.settings, reply_timeout_s=REPLY_S)
    bench.tell("INIT " + f"safe-{time.monotonic_ns()}", f"TEST:{fault}")
    begun = time.monotonic()
    try:
        reactor.make_safe()
    except SourceError as error:
        assert "switch it off by hand" in str(error)  # it was not confirmed
    assert time.monotonic() - begun < 10
    assert bench.commanded()[-1]["command"] == "ABORT" and not bench.commanded()[-1]["is_on"]


def test_a_run_that_hangs_is_unknown_and_leaves_others_alone(bench):
    reactor = FlowReactor(**bench.settings, reply_timeout_s=REPLY_S, run_timeout_s=0.05)
    with pytest.raises(OutcomeUnknown, match="still under way"):
        reactor.measure({**SETTING, "residence_time": 2.5})
    reactor.close()
    assert bench.ask("*IDN?")[0].startswith("CLOSEDLOOP")


def test_eight_drivers_on_one_device_run_one_trial_at_a_time(bench):
    answers = []

    def measure(trial):
        reactor = FlowReactor(**bench.settings)
        answers.append((trial, answered(reactor, trial)))
        reactor.close()

    threads = [threading.Thread(target=measure, args=(a_trial(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    for trial, answer in answers:
        assert len(runs_of(bench, trial)) == (answer.kind == "observed")
