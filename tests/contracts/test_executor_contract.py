"""The contract of every executor, held against the one in this process and the one on Ray."""

from __future__ import annotations

import threading
import time

import pytest

from closedloop.controller.errors import OutcomeUnknown, SourceError
from closedloop.controller.inline import InlineExecutor
from closedloop.controller.records import Failed, Noted, Observed, Paused, Reading, Resumed, Trial
from closedloop.controller.source import Binding, NotStarted, Unknown, find_source
from closedloop.instruments.instrument import Instrument
from closedloop.simulators.simulator import Simulator


class Furnace(Instrument):
    """Writes down what was done to it; its settings make it misbehave."""

    def __init__(self, log: str, is_there: bool = True) -> None:
        self.log, self.is_there = log, is_there

    def note(self, what: object) -> None:
        with open(self.log, "a") as file:
            file.write(f"{what}\n")

    def connect(self) -> None:
        if not self.is_there:
            raise SourceError("furnace: nobody answers on port 7; switch it on")
        self.note("connect")

    def measure(self, setting):
        self.note(f"begin {setting['x']}")
        time.sleep(setting.get("takes", 0.0))
        self.note(f"end {setting['x']}")
        return {"hardness": 2.0 * setting["x"]}

    def recover(self, trial):
        if trial.setting["found"] == "reading":
            return {"hardness": 2.0 * trial.setting["x"]}
        return NotStarted() if trial.setting["found"] == "not started" else Unknown("no memory")

    def make_safe(self) -> None:
        self.note("safe")

    def close(self) -> None:
        self.note("close")


class Model(Simulator):
    """Has one unknown."""

    unknowns = {"k": 2.0}

    def simulate(self, setting, unknowns):
        time.sleep(setting.get("takes", 0.0))
        return {"hardness": unknowns["k"] * setting["x"]}


class Person(Instrument):
    """Answers by the inbox."""

    is_manual = True

    def measure(self, setting):
        raise AssertionError("a manual source is never run")


class Bad(Instrument):
    """Cannot be connected."""

    def connect(self) -> None:
        raise OSError("no route to host")

    def measure(self, setting):
        raise OutcomeUnknown("x")


def trial(number: int, source: str = "furnace", **fields) -> Trial:
    unknowns = fields.pop("unknowns", {})
    return Trial(number=number, source=source, setting={"x": float(number), **fields}, unknowns=unknowns)


class Lab:
    """Bindings, a log of the furnace and an inbox, for one test."""

    def __init__(self, make, folder):
        self.make, self.log, self.posted, self.open = make, folder / "log", [], []
        self.log.touch()

    def start(self, timeout: float | None = None, **others: Binding):
        settings = {"log": str(self.log)}
        bindings = {
            "furnace": Binding(
                name="furnace", cls=Furnace, settings=settings, timeout=timeout, responses=("hardness",)
            ),
            "model": Binding(name="model", cls=Model, timeout=timeout, responses=("hardness",)),
            "person": Binding(name="person", cls=Person, responses=("hardness",)),
            **others,
        }
        self.open.append(self.make(bindings, inbox=self.inbox))
        return self.open[-1]

    def inbox(self):
        posted, self.posted = self.posted, []
        return posted

    def lines(self) -> list[str]:
        return self.log.read_text().split("\n")[:-1]

    def wait_for(self, line: str) -> None:
        until = time.monotonic() + 20
        while line not in self.lines() and time.monotonic() < until:
            time.sleep(0.02)
        assert line in self.lines()


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.ray)])
def lab(request, tmp_path):
    if request.param == "ray":
        request.getfixturevalue("shared_ray")
        from closedloop.controller.actors.executor import RayExecutor as Maker
    else:
        Maker = InlineExecutor
    lab = Lab(Maker, tmp_path)
    yield lab
    for executor in lab.open:
        executor.close()


class TestExecutor:
    def test_each_trial_is_answered_exactly_once(self, lab):
        executor = lab.start()
        for n in range(1, 21):
            executor.submit(trial(n, "furnace" if n % 2 else "model"))
        answers = [executor.wait() for _ in range(20)]
        assert sorted(a.trial for a in answers) == list(range(1, 21))
        assert {a.trial: a.reading.values["hardness"] for a in answers} == {n: 2.0 * n for n in range(1, 21)}
        with pytest.raises(RuntimeError, match="nothing is in flight"):
            executor.wait()

    def test_an_instrument_runs_one_trial_at_a_time_oldest_first(self, lab):
        executor = lab.start()
        for n in (1, 2, 3):
            executor.submit(trial(n, takes=0.05))
        assert [executor.wait().trial for _ in range(3)] == [1, 2, 3]
        assert lab.lines() == ["connect", *(f"{w} {n}.0" for n in (1, 2, 3) for w in ("begin", "end"))]

    def test_a_simulator_is_given_its_unknowns(self, lab):
        executor = lab.start()
        executor.submit(trial(3, "model", unknowns={"k": (1.0, 3.0)}))
        assert executor.wait() == Observed(
            trial=3,
            reading=Reading(values={"hardness": 6.0}, sd={"hardness": 3.0}, members={"hardness": (3.0, 9.0)}),
        )

    def test_a_person_answers_by_the_inbox_while_others_run(self, lab):
        executor = lab.start()
        lab.posted = [
            Noted(text="lamp changed"),
            Observed(trial=2, reading=Reading(values={"hardness": 9.0})),
        ]
        executor.submit(trial(1, "person"))
        executor.submit(trial(2, "person"))
        executor.submit(trial(3))
        late = Failed(trial=1, cause="error", message="broken")
        threading.Timer(0.3, lambda: lab.posted.append(late)).start()
        answers = [executor.wait() for _ in range(4)]
        assert [a for a in answers if a.kind == "noted"] == [Noted(text="lamp changed")]
        assert {a.trial: a.kind for a in answers if a.kind != "noted"} == {
            1: "failed",
            2: "observed",
            3: "observed",
        }

    def test_what_people_say_is_heard_whether_or_not_a_trial_waits_for_it(self, lab):
        """Whether it fits is decided by the state, not by the hands."""
        executor = lab.start()
        lab.posted = [
            Observed(trial=5, reading=Reading(values={"hardness": 9.0}), letter=3),
            Paused(by="a", reason="b"),
        ]
        executor.submit(trial(4, "person"))
        assert not executor.is_busy
        first, second = executor.wait(), executor.wait()
        assert (first.trial, first.letter, second.kind) == (5, 3, "paused")
        lab.posted = [Failed(trial=4, cause="error", message="x")]
        assert executor.wait().trial == 4
        assert not executor.is_busy
        assert executor.listen(0.0) is None
        lab.posted = [Resumed(by="a")]
        assert executor.listen(None).kind == "resumed"

    def test_a_driver_is_asked_what_became_of_a_trial_in_doubt(self, lab):
        executor = lab.start()
        for n in (1, 2, 3):
            executor.recover(trial(n, found=["reading", "not started", "unknown"][n - 1]))
        found, not_started, unknown = (executor.wait() for _ in range(3))
        assert found == Observed(trial=1, reading=Reading(values={"hardness": 2.0}))
        assert (not_started.kind, not_started.outcome, not_started.by) == ("settled", "not_started", "driver")
        assert (unknown.kind, unknown.outcome) == ("settled", "unknown")
        assert lab.lines() == ["connect"]

    def test_a_trial_that_has_not_begun_can_be_cancelled_and_is_answered(self, lab):
        executor = lab.start()
        for n in (1, 2):
            executor.submit(trial(n, takes=0.1))
        executor.submit(trial(3, "person"))
        executor.cancel(2)
        executor.cancel(3)
        answers = {a.trial: a.kind for a in (executor.wait() for _ in range(3))}
        assert answers == {1: "observed", 2: "failed", 3: "failed"}
        assert "begin 2.0" not in lab.lines()

    def test_a_trial_that_hangs_is_ended_and_made_safe_before_another_begins(self, lab):
        executor = lab.start(timeout=0.5)
        executor.submit(trial(1, takes=4.0))
        said = [executor.wait()]
        if isinstance(said[0], Paused):  # a thread cannot be stopped: the source is held until it has ended
            assert said[0].by == "hands of 'furnace'" and "hangs in trial 1" in said[0].reason
            executor.submit(trial(3))
            said = [executor.wait() for _ in range(3)]
            assert isinstance(said[1], Paused) and said[2].message.startswith("its driver still") and said[2].is_held
            assert (said[2].trial, said[2].cause, said[2].cost) == (3, "cancelled", {})
            while not isinstance(executor.listen(10.0), Resumed):
                pass
        assert (said[0].trial, said[0].kind, said[0].cause) == (1, "failed", "timeout")
        assert "0.5 s" in said[0].message
        executor.submit(trial(2))
        second = executor.wait()
        assert (second.trial, second.kind) == (2, "observed")
        lines = lab.lines()
        assert lines.index("begin 1.0") < lines.index("safe") < lines.index("begin 2.0")
        assert lines.count("begin 1.0") == 1 and "begin 3.0" not in lines

    def test_an_answer_that_came_while_nobody_waited_came_in_time(self, lab):
        """The mind may be busy for longer than a trial may take."""
        executor = lab.start(timeout=1.5)
        executor.submit(trial(1, takes=0.1))
        time.sleep(2.5)
        assert executor.wait().kind == "observed"

    def test_what_was_never_begun_costs_nothing(self, lab):
        executor = lab.start()
        executor.submit(trial(1, takes=0.3))
        executor.submit(trial(2))
        executor.cancel(2)
        answers = {a.trial: a for a in (executor.wait(), executor.wait())}
        assert answers[1].kind == "observed"
        assert (answers[2].kind, answers[2].cost) == ("failed", {})

    def test_a_source_that_is_not_there_stops_all_before_anything_runs(self, lab):
        absent = Binding(name="absent", cls=Furnace, settings={"log": str(lab.log), "is_there": False})
        with pytest.raises(SourceError, match="nobody answers on port 7; switch it on"):
            lab.start(absent=absent)
        with pytest.raises(SourceError, match="'bad' cannot be connected: OSError: no route to host"):
            lab.start(bad=Binding(name="bad", cls=Bad))
        assert set(lab.lines()) <= {"connect", "close"}
        assert lab.lines().count("connect") == lab.lines().count("close")

    def test_make_safe_reaches_every_instrument_and_close_closes_them(self, lab):
        executor = lab.start()
        executor.submit(trial(1))
        executor.wait()
        executor.make_safe()
        assert lab.lines()[-1] == "safe"
        executor.close()
        executor.close()
        assert lab.lines()[-1] == "close"

    def test_a_class_from_a_file_of_the_user_runs(self, lab, tmp_path):
        (tmp_path / "mine.py").write_text(
            "from closedloop.instruments.instrument import Instrument\n"
            "FACTOR = 3.0\n"
            "class Mine(Instrument):\n"
            "    def measure(self, setting):\n"
            "        return {'hardness': FACTOR * setting['x'], 'colour': 'red'}\n"
        )
        mine = Binding(
            name="mine", cls=find_source("mine.py:Mine", folder=tmp_path, allow_code=True), responses=("hardness",)
        )
        executor = lab.start(mine=mine)
        executor.submit(trial(2, "mine"))
        assert executor.wait().reading == Reading(values={"hardness": 6.0}, info={"colour": "red"})


@pytest.mark.ray
def test_a_simulation_that_runs_can_be_cancelled(tmp_path, shared_ray):
    from closedloop.controller.actors.executor import RayExecutor

    lab = Lab(RayExecutor, tmp_path)
    executor = lab.start(model=Binding(name="model", cls=Model, n_slots=2, responses=("hardness",)))
    executor.submit(trial(1, "model", takes=60.0))
    time.sleep(0.2)
    executor.cancel(1)
    executor.submit(trial(2, "model"))
    executor.submit(trial(3, "model"))
    answers = {a.trial: a.kind for a in (executor.wait() for _ in range(3))}
    executor.close()
    assert answers == {1: "failed", 2: "observed", 3: "observed"}


@pytest.mark.ray
def test_an_instrument_that_measures_is_made_safe_all_the_same(tmp_path, shared_ray):
    from closedloop.controller.actors.executor import RayExecutor

    lab = Lab(RayExecutor, tmp_path)
    executor = lab.start()
    executor.submit(trial(1, takes=60.0))
    lab.wait_for("begin 1.0")
    executor.make_safe()
    assert lab.lines()[-1] == "safe"
    answer = executor.wait()
    executor.close()
    assert (answer.trial, answer.kind, answer.cause) == (1, "failed", "unknown")
    assert "end 1.0" not in lab.lines()


@pytest.mark.ray
def test_a_cluster_that_is_not_there_is_named_at_once():
    from closedloop.controller.actors import session as ray_session

    with pytest.raises(OSError, match="refused"):
        ray_session._join("127.0.0.1:1")
