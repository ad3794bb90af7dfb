"""The mock and the manual instrument, and that the contracts catch what they are for."""

import json
import math
import subprocess
import sys

import pytest

from closedloop.controller.errors import CampaignError, OutcomeUnknown, SourceError
from closedloop.controller.records import Reading, Trial
from closedloop.controller.source import NotStarted, Unknown
from closedloop.instruments.flow_reactor_bench import true_response
from closedloop.instruments.instrument import Instrument, instrument
from closedloop.instruments.manual import Manual
from closedloop.instruments.mock import Mock
from closedloop.instruments.testing import InstrumentContract
from closedloop.simulators.simulator import Simulator, simulator
from closedloop.simulators.testing import SimulatorContract

SETTING = {"temperature": 60.0, "residence_time": 0.5, "equivalents": 2.0, "concentration": 0.3}


THREE = {"x": 3.0}


def square(x):
    return {"y": x * x}


class TestMock(InstrumentContract):
    make = lambda: Mock(lambda setting: square(**setting), sd={"y": 0.1})  # noqa: E731
    setting = THREE
    responses = ("y",)


class TestMockWithARecord(InstrumentContract):
    setting = THREE
    responses = ("y",)

    @pytest.fixture(autouse=True)
    def _with(self, tmp_path):
        record = tmp_path / "record"
        type(self).make = lambda: Mock(lambda s: square(**s), sd={"y": 0.1}, record=str(record))
        type(self).witness = lambda: record.read_text() if record.exists() else ""


class TestDecorated(InstrumentContract):
    make = instrument()(square)
    setting = THREE
    responses = ("y",)


class TestSimulatorWithoutUnknowns(SimulatorContract):
    make = simulator()(square)
    setting = THREE
    responses = ("y",)


def test_the_mock_answers_the_function_it_is_named():
    mock = Mock("closedloop.instruments.flow_reactor_bench:true_response")
    assert mock.measure(SETTING).values == pytest.approx(true_response(SETTING))


def test_the_same_seed_makes_the_same_noise():
    def five(seed):
        mock = Mock(lambda s: square(**s), sd={"y": 1.0}, seed=seed)
        return [mock.measure({"x": 1.0}).values["y"] for _ in range(5)]

    assert five(1) == five(1) != five(2)
    assert len(set(five(1))) == 5


def test_faults_come_when_they_are_due():
    mock = Mock(lambda s: square(**s), error_every=2, nan_every=3, unknown_every=5)
    seen = []
    for _ in range(5):
        try:
            answer = mock.measure({"x": 2.0})
            seen.append(answer["y"] if isinstance(answer, dict) else answer.values["y"])
        except SourceError as error:
            seen.append(type(error))
    assert seen[0] == 4.0 and math.isnan(seen[2])
    assert seen[1] is seen[3] is SourceError and seen[4] is OutcomeUnknown


def trial(number=1, key="k"):
    return Trial(number=number, source="mock", setting={"x": 2.0}, key=key)


def mock_with(tmp_path, **settings):
    return Mock(lambda s: square(**s), record=str(tmp_path / "record"), **settings)


def test_an_answer_that_was_lost_is_recovered_by_another_process_once(tmp_path):
    code = (
        "import sys\nfrom closedloop.controller.records import Trial\nfrom closedloop.instruments.mock import Mock\n"
        "mock = Mock(lambda s: {'y': s['x'] ** 2}, record=sys.argv[1], exit_every=1)\n"
        "mock.begin(Trial(number=1, source='mock', setting={'x': 2.0}, key='k'))\nmock.measure({'x': 2.0})\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "record")], check=False)
    assert done.returncode == 1
    found = mock_with(tmp_path).recover(trial())
    assert found.values == {"y": 4.0} and found.info["recovered"]
    commands = [json.loads(line)["command"] for line in (tmp_path / "record").read_text().splitlines()]
    assert commands == ["measure", "answer"]
    assert isinstance(mock_with(tmp_path).recover(trial(number=2)), NotStarted)
    assert isinstance(mock_with(tmp_path).recover(trial(key="other")), NotStarted)


def test_a_measurement_that_was_begun_and_did_not_end_is_unknown(tmp_path):
    mock = mock_with(tmp_path, nan_every=1)
    mock.begin(trial())
    mock.measure({"x": 2.0})
    assert isinstance(mock.recover(trial()), Unknown)


def test_a_mock_without_a_record_remembers_only_what_it_did_itself():
    mock = Mock(lambda s: square(**s))
    mock.begin(trial())
    mock.measure({"x": 2.0})
    assert mock.recover(trial()).values == {"y": 4.0}
    assert isinstance(Mock(lambda s: square(**s)).recover(trial()), Unknown)
    forgetful = Mock(lambda s: square(**s), is_forgetful=True)
    forgetful.begin(trial())
    forgetful.measure({"x": 2.0})
    assert isinstance(forgetful.recover(trial()), Unknown)


def test_live_readings_change_from_outside(tmp_path):
    file = tmp_path / "live.json"
    file.write_text('{"pressure": 2.0}')
    mock = Mock(lambda s: square(**s), live=str(file))
    assert mock.monitor() == {"pressure": 2.0}
    file.write_text('{"pressure": 9.0}')
    assert mock.monitor() == {"pressure": 9.0}


def test_make_safe_can_be_made_to_fail():
    mock = Mock(lambda s: square(**s), safe_error="the relay sticks")
    mock.measure({"x": 1.0})
    with pytest.raises(SourceError, match="the relay sticks"):
        mock.make_safe()
    assert not mock.is_safe


@pytest.mark.parametrize("target", ["nowhere:f", "math:nothing", "math", ""])
def test_a_mock_of_nothing_is_refused(target):
    with pytest.raises(CampaignError, match="outside closedloop"):
        Mock(target)


def test_a_person_answers_through_ingest():
    assert Manual.is_manual
    with pytest.raises(SourceError, match="closedloop ingest"):
        Manual().measure({"x": 1.0})


class Sloppy(Instrument):
    """Opens at birth, ignores names, answers NaN."""

    def __init__(self):
        self.file = open(__file__)

    def close(self):
        self.file.close()

    def measure(self, setting):
        return {"y": math.nan}


class Unsafe(Instrument):
    """Real, and nothing makes it safe. It measures again when it is asked, forgets, and shows NaN."""

    def measure(self, setting):
        return {"y": 1.0}

    def recover(self, trial):
        self.measure(trial.setting)
        return Unknown()

    def monitor(self):
        return {"pressure": math.nan}


class Liar(Instrument):
    """Says of everything that it never began."""

    is_real = False

    def measure(self, setting):
        return {"y": 1.0}

    def recover(self, trial):
        return NotStarted()


class Inventor(Liar):
    """Has a reading of everything."""

    def recover(self, trial):
        return Reading(values={"y": 2.0})


class Moody(Simulator):
    """Differs from call to call, and together from alone."""

    is_vectorised = True
    unknowns = dict.fromkeys("k", 1.0)
    n_calls = 0

    def simulate(self, setting, unknowns):
        Moody.n_calls += 1
        return {"y": 0 * unknowns["k"] + Moody.n_calls}


@pytest.mark.parametrize(
    ("contract", "source", "law"),
    [
        (InstrumentContract, Sloppy, "test_making_one_opens_nothing"),
        (InstrumentContract, Sloppy, "test_it_measures_what_it_declares"),
        (InstrumentContract, Sloppy, "test_a_name_it_does_not_know_is_refused"),
        (InstrumentContract, Unsafe, "test_a_real_device_has_a_safe_state"),
        (InstrumentContract, Unsafe, "test_recover_asks_and_does_not_command"),
        (InstrumentContract, Unsafe, "test_what_it_monitors_are_numbers"),
        (InstrumentContract, Liar, "test_a_reading_that_is_recovered_is_the_one_that_was_lost"),
        (InstrumentContract, Inventor, "test_a_reading_that_is_recovered_is_the_one_that_was_lost"),
        (InstrumentContract, Inventor, "test_recover_asks_and_does_not_command"),
        (SimulatorContract, Moody, "test_it_is_pure"),
        (SimulatorContract, Moody, "test_members_at_once_are_members_one_by_one"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*FileIO:pytest.PytestUnraisableExceptionWarning")
def test_the_contract_catches(contract, source, law):
    case = type("Case", (contract,), {"make": source, "setting": {"x": 1.0}, "responses": ["y"]})()
    with pytest.raises(AssertionError):
        getattr(case, law)()
