"""The optimiser benchmark, which takes hours, in a few seconds: what it measures by, and one small run of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

SUITE = Path(__file__).parent / "benchmarks" / "optimiser"
OPTIMA = {
    "branin": {"x1": np.pi, "x2": 2.275},
    "ackley10": {f"x{i + 1}": 0.0 for i in range(10)},
    "levy4_noisy": {f"x{i + 1}": 1.0 for i in range(4)},
    "pressure_vessel": {"shell": 13, "head": 7, "radius": 42.0984, "length": 176.6373},
    "reaction": {"catalyst": "D", "temperature": 68.0295, "concentration": 1.0692, "tanks": 4},
    "borehole": {"r_w": 0.05, "r": 1e4, "T_u": 100, "T_l": 10, "H_u": 990, "H_l": 820, "length": 2000, "K_w": 6000},
    "rosenbrock_a": {"x": 1.0, "y": 1.0},
    "rosenbrock_b": {"x": 1.0, "y": 1.0},
}
HARTMANN = dict(
    zip([f"x{i + 1}" for i in range(6)], [0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573], strict=True)
)
OPTIMA |= dict.fromkeys(("hartmann6", "hartmann6_q4", "augmented_hartmann"), HARTMANN)


@pytest.fixture(scope="module")
def suite() -> Iterator[SimpleNamespace]:
    """The suite's modules, which are scripts and no package."""
    before = set(sys.modules)
    sys.path.insert(0, str(SUITE))
    try:
        import problems
        import statistics_of
        import world

        yield SimpleNamespace(problems=problems, statistics=statistics_of, world=world)
    finally:
        sys.path.remove(str(SUITE))
        for name in set(sys.modules) - before:
            if str(SUITE) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


@pytest.mark.parametrize("name", OPTIMA)
def test_a_stated_optimum_is_reached_at_the_known_setting(suite: SimpleNamespace, name: str) -> None:
    problem = suite.problems.all_problems()[name]
    setting = {p.name: OPTIMA[name].get(p.name, 0.5) for p in problem.parameters}
    true = problem.evaluate(setting, problem.target.name)
    assert all(true[c] <= 0 for c in problem.limited)
    assert true[problem.aims[0].response] == pytest.approx(problem.optimum, rel=1e-4, abs=1e-9)


def test_no_random_setting_is_better_than_a_stated_optimum(suite: SimpleNamespace) -> None:
    """The world refuses a regret below zero, so a wrong optimum cannot flatter anybody."""
    rng = np.random.default_rng(1)
    for problem in suite.problems.all_problems().values():
        world = suite.world.World(problem, 0, budget=60 * problem.target.cost)
        world.measure([problem.uniform(rng.random(len(problem.parameters))) for _ in range(60)])
        known = [r for r in world.regrets if r is not None]
        assert known == sorted(known, reverse=True)


def test_a_wrong_optimum_is_refused(suite: SimpleNamespace) -> None:
    from dataclasses import replace

    branin = replace(suite.problems.all_problems()["branin"], optimum=5.0)
    with pytest.raises(suite.world.WrongOptimum):
        suite.world.World(branin, 0).measure([{"x1": np.pi, "x2": 2.275}])


def test_nobody_spends_more_than_the_budget(suite: SimpleNamespace) -> None:
    world = suite.world.World(suite.problems.all_problems()["branin"], 0, budget=2)
    world.measure([{"x1": 0.0, "x2": 0.0}] * 2)
    with pytest.raises(suite.world.OverBudget):
        world.measure([{"x1": 0.0, "x2": 0.0}])


def test_noise_is_the_same_for_all_and_regret_does_not_see_it(suite: SimpleNamespace) -> None:
    levy = suite.problems.all_problems()["levy4_noisy"]
    at = {p.name: 1.0 for p in levy.parameters}
    worlds = [suite.world.World(levy, seed) for seed in (3, 3, 4)]
    first, again, other = [w.measure([at])[0]["y"] for w in worlds]
    assert first == again != other
    assert worlds[0].regrets == [pytest.approx(0.0, abs=1e-12)]


def test_hypervolume_by_hand(suite: SimpleNamespace) -> None:
    points = np.array([[1.0, 3.0], [2.0, 1.0], [2.5, 2.0], [5.0, 0.0]])  # the third is dominated, the last outside
    assert suite.world.hypervolume(points, np.array([4.0, 4.0])) == pytest.approx(3 * 1 + 2 * 2)


def test_only_a_difference_that_a_test_sees_makes_a_rank(suite: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    scores = {"a": rng.random(10), "b": rng.random(10) + 0.01, "c": rng.random(10) + 5, "d": rng.random(10) + 9}
    found = suite.statistics.ranks(scores)
    assert [found[n].place for n in "abcd"] == [1.5, 1.5, 3, 4]
    assert [found[n].is_first for n in "abcd"] == [True, True, False, False]
    assert suite.statistics.ranks({n: s[:3] for n, s in scores.items()})["d"].place == 4


def test_a_small_run_is_kept_printed_and_not_repeated(tmp_path: Path) -> None:
    command = [sys.executable, str(SUITE), "--problems", "branin", "--rivals", "closedloop", "sobol", "--seeds", "1"]
    command += ["--budget", "6", "--out", str(tmp_path), "--label", "here"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "table_perovskites" in done.stdout, "what is left out for want of --data is named"
    kept = (tmp_path / "cells.jsonl").read_text()
    cells = {c["key"]["rival"]: c for c in map(json.loads, kept.splitlines())}
    assert set(cells) == {"closedloop", "sobol"}
    for cell in cells.values():
        assert cell["error"] == ""
        assert cell["cost"] == [1, 2, 3, 4, 5, 6]
        assert cell["regret"] == sorted(cell["regret"], reverse=True)
        assert all(seconds >= 0 for _, seconds, _ in cell["cpu"])
    assert cells["closedloop"]["key"]["version"] == "here"
    assert (tmp_path / "regret.png").stat().st_size > 10_000
    again = subprocess.run([*command, "--no-plot"], capture_output=True, text=True, check=True, timeout=120)
    assert (tmp_path / "cells.jsonl").read_text() == kept
    assert "closedloop" in again.stdout
