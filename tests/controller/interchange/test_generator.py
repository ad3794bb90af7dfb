"""closedloop as a gest-api generator: in the loops of Xopt and libEnsemble, and held to the interface's own words."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import closedloop as cl
from closedloop.controller.ledger import reader as ledger_reader

pytest.importorskip("gest_api", reason="gest-api is not installed")
from gest_api.generator import Generator as GestGenerator
from gest_api.vocs import VOCS

BOX = {"x": [0.0, 1.0], "z": [0.0, 1.0]}


def bowl(point: dict) -> dict:
    return {"f": (point["x"] - 0.3) ** 2 + (point["z"] - 0.6) ** 2}


def drive(generator: cl.Generator, f, n: int, batch: int = 1) -> list[dict]:
    done: list[dict] = []
    while len(done) < n:
        points = [{**p, **f(p)} for p in generator.suggest(batch)]
        generator.ingest(points)
        done += points
    return done


def test_it_is_a_generator_of_the_standard_and_finds_the_bottom(tmp_path: Path) -> None:
    vocs = VOCS(variables=BOX, objectives={"f": "MINIMIZE"}, constants={"k": 3.0}, observables=["o"])
    generator = cl.Generator(vocs, ledger=tmp_path / "l.db", seed=1)
    assert isinstance(generator, GestGenerator) and generator.returns_id
    done = drive(generator, lambda p: {**bowl(p), "o": [1, 2]}, 14)
    assert min(p["f"] for p in done) < 5e-3
    assert all(p["k"] == 3.0 for p in done) and [p["_id"] for p in done] == list(range(1, 15))
    generator.finalize()
    events = ledger_reader.events(tmp_path / "l.db")
    kinds = [e.kind for e in events]
    assert kinds.count("proposed") == kinds.count("observed") == 14
    assert next(e for e in events if e.kind == "observed").reading.info == {"o": [1, 2]}


def test_all_kinds_of_variables_keep_their_values_and_their_names() -> None:
    variables = {
        "QUAD:LI21:B": [-1.0, 1.0],
        "n turns": {3, 1, 2},
        "ratio": {0.1, 10.0, 1.0},
        "gas": {"Ar", "N2"},
        "one": {7.0},
        "switch": {True, False},
        "log": [1.0, 2.0],
    }
    vocs = VOCS(
        variables=variables,
        objectives={"y:1": "MAXIMIZE"},
        constraints={"c": ["BOUNDS", -1, 1], "d": ["GREATER_THAN", 0]},
    )
    generator = cl.Generator(vocs)
    points = generator.suggest(12)
    for name, domain in variables.items():
        values = {p[name] for p in points}
        if isinstance(domain, set):
            assert values <= domain and (len(values) == len(domain))
            assert {type(v) for v in values} <= {type(v) for v in domain}
        else:
            assert all(domain[0] <= v <= domain[1] for v in values) and len(values) == 12
    generator.ingest([{**p, "y:1": 1.0, "c": 0.0, "d": 1.0} for p in points])
    goal = generator.session.state.campaign.goal
    assert goal.maximize == "y_1" and set(goal.subject_to) == {"c >= -1.0", "c <= 1.0", "d >= 0.0"}
    generator.finalize()


def test_the_same_points_whatever_the_order_of_a_set() -> None:
    """Sets of strings have another order in each process."""
    code = (
        "import closedloop as cl; from gest_api.vocs import VOCS\n"
        "v = VOCS(variables={'a': {'p', 'q', 'r', 's'}, 'x': [0, 1]}, objectives={'f': 'MINIMIZE'})\n"
        "print([(p['a'], p['x']) for p in cl.Generator(v, seed=5).suggest(6)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


def test_pending_points_are_not_suggested_again() -> None:
    generator = cl.Generator(VOCS(variables=BOX, objectives={"f": "MINIMIZE"}), seed=2)
    drive(generator, bowl, 6)
    pending = generator.suggest(2) + generator.suggest(2)
    assert len({(p["x"], p["z"]) for p in pending}) == 4
    assert [t.number for t in generator.session.pending] == [p["_id"] for p in pending]
    generator.ingest([{**pending[2], **bowl(pending[2])}])  # in any order
    assert len(generator.session.pending) == 3
    generator.finalize()


def test_failed_points_are_failures_and_kept_away_from() -> None:
    generator = cl.Generator(VOCS(variables=BOX, objectives={"f": "MINIMIZE"}), seed=3)
    lost = [None, math.nan, np.float64("inf")]
    for value in lost:
        (point,) = generator.suggest(1)
        generator.ingest([{**point, "f": value}])
    generator.ingest([{"x": 0.9, "z": 0.9, "f": None}])  # one that nobody suggested
    trials = generator.session.state.trials
    assert [t.status for t in trials.values()] == ["failed"] * 4
    assert "f is nan" in trials[2].failure.message
    generator.finalize()


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"x": 0.1, "z": 0.2, "_id": 99, "f": 1.0}, "99 was never proposed"),
        ({"x": 0.1, "z": 0.2, "_id": "a", "f": 1.0}, "_id 'a' is unknown"),
        ({"x": 0.1, "z": 0.2}, "lacks 'f'"),
        ({"x": 0.1, "f": 1.0}, "lacks the variable 'z'"),
        ({"x": 7.0, "z": 0.2, "f": 1.0}, "x=7.0"),
        ({"x": "left", "z": 0.2, "f": 1.0}, "x='left'"),
    ],
)
def test_what_cannot_be_ingested_is_a_value_error_and_changes_nothing(result: dict, words: str) -> None:
    generator = cl.Generator(VOCS(variables=BOX, objectives={"f": "MINIMIZE"}))
    (point,) = generator.suggest(1)
    good = {"x": 0.5, "z": 0.5, "f": 1.0}
    with pytest.raises(ValueError, match=".") as raised:
        generator.ingest([good, result])
    assert words in str(raised.value)
    assert len(generator.session.state.trials) == 1
    generator.ingest([{**point, "f": 1.0}])
    with pytest.raises(ValueError, match="observed"):
        generator.ingest([{**point, "f": 2.0}])
    generator.finalize()


@pytest.mark.parametrize(
    ("vocs", "words"),
    [
        ({"variables": BOX}, "no objectives and no observables"),
        ({"variables": {}, "objectives": {"f": "MINIMIZE"}}, "no variables"),
        (
            {"variables": {"x": [0, 1], "t": "CONTEXTUAL"}, "objectives": {"f": "MINIMIZE"}},
            "domains={'t': (low, high)}",
        ),
        ({"variables": {"x": [0, math.inf]}, "objectives": {"f": "MINIMIZE"}}, "bound it"),
        ({"variables": BOX, "objectives": {"x": "MINIMIZE"}}, "both an input and an output"),
        ({"variables": BOX, "objectives": {"f": "EXPLORE", "g": "MINIMIZE"}}, "to explore f"),
        ({"variables": {"x": {1, "1"}}, "objectives": {"f": "MINIMIZE"}}, "look alike"),
    ],
)
def test_a_vocs_without_meaning_here_is_a_value_error(vocs: dict, words: str) -> None:
    with pytest.raises(ValueError, match=".") as raised:
        cl.Generator(VOCS(**vocs))
    assert words in str(raised.value)


def test_exactly_as_many_points_as_asked_or_a_value_error() -> None:
    generator = cl.Generator(VOCS(variables=BOX, objectives={"f": "MINIMIZE"}), max_trials=3)
    assert len(generator.suggest()) == 1
    with pytest.raises(ValueError, match="budget"):
        generator.suggest(3)
    with pytest.raises(ValueError, match="at least one"):
        generator.suggest(0)
    assert len(generator.suggest(2)) == 2
    generator.finalize()


def test_several_objectives_and_exploring() -> None:
    both = VOCS(variables=BOX, objectives={"f": "MINIMIZE", "g": "MAXIMIZE"})
    generator = cl.Generator(both, seed=4)
    drive(generator, lambda p: {**bowl(p), "g": p["x"]}, 7)
    assert generator.session.state.campaign.goal.kind == "trade_off"
    generator.finalize()
    explorer = cl.Generator(VOCS(variables={"x": [0, 1]}, observables=["y"]), seed=4)
    done = drive(explorer, lambda p: {"y": math.sin(6 * p["x"])}, 8)
    xs = sorted(p["x"] for p in done)
    assert max(np.diff([0.0, *xs, 1.0])) < 0.35  # all of it is looked at
    explorer.finalize()


def test_contexts_come_with_the_results() -> None:
    vocs = VOCS(variables={"x": [0, 1], "room": "CONTEXTUAL"}, objectives={"f": "MINIMIZE"})
    generator = cl.Generator(vocs, domains={"room": (10, 30)}, seed=5)
    for k in range(6):
        (point,) = generator.suggest(1)
        assert "room" not in point
        generator.ingest([{**point, "room": 20.0 + k / 10, "f": (point["x"] - 0.5) ** 2}])
    read = [t.reading.achieved["room"] for t in generator.session.state.observed()]
    assert read == [pytest.approx(20.0 + k / 10) for k in range(6)]
    generator.ingest([{"x": 0.1, "room": 25.0, "f": 0.2}])
    generator.finalize()


def test_a_ledger_goes_on_where_it_stood_and_a_temporary_one_goes(tmp_path: Path) -> None:
    vocs = VOCS(variables=BOX, objectives={"f": "MINIMIZE"})
    first = cl.Generator(vocs, ledger=tmp_path / "l.db", seed=6)
    (pending,) = first.suggest(1)
    first.finalize()
    second = pickle.loads(pickle.dumps(cl.Generator(vocs, ledger=tmp_path / "l.db", seed=6)))
    second.ingest([{**pending, **bowl(pending)}])
    assert second.session.state.n_readings("evaluator") == 1
    with pytest.raises(cl.ClosedLoopError, match="finalize it first"):
        pickle.dumps(second)
    assert copy.deepcopy(second) is second
    second.finalize()
    passing = cl.Generator(vocs)
    passing.suggest(1)
    place = passing.ledger
    assert place.is_file()
    passing.finalize()
    del passing
    assert not place.exists()


def test_xopt_drives_it(tmp_path: Path) -> None:
    xopt = pytest.importorskip("xopt", reason="xopt is not installed")
    vocs = VOCS(
        variables={"x": [0.0, 1.0], "n": {1, 2, 3}},
        objectives={"f": "MINIMIZE"},
        constraints={"c": ["LESS_THAN", 0.5]},
        constants={"k": 2.0},
    )

    def measure(point: dict) -> dict:
        if point["x"] > 0.9:
            raise RuntimeError("the lamp burnt out")
        return {"f": (point["x"] - 0.4) ** 2 + point["n"] / 10, "c": point["x"] - 0.2}

    generator = cl.Generator(vocs, ledger=tmp_path / "l.db", seed=1)
    x = xopt.Xopt(generator=generator, evaluator=xopt.Evaluator(function=measure), strict=False)
    x.evaluate_data({"x": [0.95, 0.1], "n": [1, 3]})
    for _ in range(10):
        x.step()
    assert x.generator is generator and len(x.data) == 12
    assert x.data["f"].min() < 0.105
    state = generator.session.state
    assert state.trials[1].status == "failed" and "lamp" in state.trials[1].failure.message
    generator.finalize()
    again = cl.Generator(vocs, ledger=tmp_path / "l.db", seed=1)
    xopt.Xopt(generator=again, evaluator=xopt.Evaluator(function=measure), strict=False, data=x.data)
    assert len(again.session.state.trials) == 14  # what came without an id cannot be told from new points
    again.finalize()


def test_libensemble_drives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("libensemble", reason="libensemble is not installed")
    from libensemble import Ensemble
    from libensemble.alloc_funcs.start_only_persistent import only_persistent_gens
    from libensemble.specs import AllocSpecs, ExitCriteria, GenSpecs, LibeSpecs, SimSpecs

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["test"])
    vocs = VOCS(variables=BOX, objectives={"f": "MINIMIZE"})
    generator = cl.Generator(vocs, ledger=tmp_path / "l.db", seed=1)
    ensemble = Ensemble(
        libE_specs=LibeSpecs(comms="threads", nworkers=2, disable_log_files=True),
        gen_specs=GenSpecs(generator=generator, vocs=vocs, batch_size=2, initial_batch_size=4),
        sim_specs=SimSpecs(simulator=bowl, vocs=vocs),
        alloc_specs=AllocSpecs(alloc_f=only_persistent_gens),
        exit_criteria=ExitCriteria(sim_max=12),
    )
    history, _, flag = ensemble.run()
    done = history[history["sim_ended"]]
    assert flag == 0 and len(done) >= 12 and done["f"].min() < 0.05
    assert len(generator.session.state.trials) >= 12
    assert generator.session.state.n_readings("evaluator") >= 10
    generator.finalize()
