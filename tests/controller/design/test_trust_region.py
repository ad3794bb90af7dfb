"""The trust region: its side by the rule of the paper, its bounds about the best reading, its words in a decision."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import closedloop as cl
from closedloop.controller.design.trust_region import FIRST, LARGEST, SMALLEST, side_of


def test_three_successes_double_it_and_as_many_failures_as_parameters_halve_it() -> None:
    assert side_of(np.array([]), n_parameters=2) == FIRST
    assert side_of(np.arange(3.0), n_parameters=2) == LARGEST
    assert side_of(np.arange(30.0), n_parameters=2) == LARGEST
    assert side_of(np.array([1.0, 0, 0, 0, 0]), n_parameters=2) == FIRST / 2  # four, for there are fewer parameters
    assert side_of(np.array([1.0, *[0.0] * 4]), n_parameters=6) == FIRST
    assert side_of(np.array([1.0, *[0.0] * 6]), n_parameters=6) == FIRST / 2


def test_one_that_is_too_small_begins_anew() -> None:
    sides = [side_of(np.array([1.0, *[0.0] * n]), n_parameters=2) for n in range(60)]
    assert min(sides) >= SMALLEST and sides.count(FIRST) > 4 and FIRST / 2 in sides


def test_every_decision_stays_in_it_and_says_so(tmp_path: Path) -> None:
    names = [f"x{k}" for k in range(6)]
    c = cl.Campaign(
        name="t",
        parameters={n: {"low": 0, "high": 10} for n in names},
        responses=["y"],
        sources={"lab": {"instrument": "closedloop.instruments.manual:Manual", "cost": {"money": 1}}},
        goal={"minimize": "y"},
        budget={"money": 60},
        method={"trust_region": True},
        n_initial=8,
    )
    with cl.Session(c, ledger=tmp_path / "l.db") as session:
        for k in range(40):
            best = session.best
            (trial,) = session.suggest(1)
            x = np.array([float(trial.setting[n]) for n in names])
            if k >= 8:
                assert best is not None and "in a trust region of side" in trial.why.text
                side = float(trial.why.text.split("of side ")[1].split()[0].rstrip(";,"))
                centre = np.array([float(best.setting[n]) for n in names])
                assert np.abs(x - centre).max() <= 10 * 0.5 * side * 16 + 1e-6  # weights lie within 1/16 and 16
            session.ingest(trial.number, {"y": float(((x - 3.0) ** 2).sum())})
        assert session.best is not None and float(session.best.reading.values["y"]) < 1.0
