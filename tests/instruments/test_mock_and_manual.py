"""The mock and the manual instrument, and that the contracts catch what they are for."""

import math

import pytest

from closedloop.controller.errors import CampaignError, OutcomeUnknown, SourceError
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


@pytest.mark.parametrize("target", ["nowhere:f", "math:nothing", "math", ""])
def test_a_mock_of_nothing_is_refused(target):
    with pytest.raises(CampaignError, match="module:function"):
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
        (SimulatorContract, Moody, "test_it_is_pure"),
        (SimulatorContract, Moody, "test_members_at_once_are_members_one_by_one"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*FileIO:pytest.PytestUnraisableExceptionWarning")
def test_the_contract_catches(contract, source, law):
    case = type("Case", (contract,), {"make": source, "setting": {"x": 1.0}, "responses": ["y"]})()
    with pytest.raises(AssertionError):
        getattr(case, law)()
