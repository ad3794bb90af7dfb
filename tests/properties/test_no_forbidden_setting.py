"""Law: no decision, edit, rerun, resume or letter gets a forbidden setting to the device, by the device's own record."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.records import Amended, Approved, Observed, Reading, Refused, Resumed, Settled
from closedloop.controller.steering import say
from closedloop.instruments.bench_process import BenchProcess
from closedloop.instruments.scpi import FlowReactor

HOTTEST, FORBIDDEN = 90.0, 115.0  # degC; of temperature + 8 * equivalents


def campaign(settings: dict, seed: int) -> cl.Campaign:
    return cl.Campaign(
        name="guarded",
        seed=seed,
        parameters={
            "temperature": {"low": 30, "high": 120},
            "residence_time": {"low": 0.5, "high": 2},
            "equivalents": {"low": 1, "high": 5},
            "concentration": {"low": 0.1, "high": 0.5},
        },
        responses=["sty"],
        sources={
            "reactor": {
                "instrument": FlowReactor,
                "settings": settings,
                "cost": {"money": 1},
                "approval": {"outside_explored": 0.5},
                "guard": {
                    "limits": {"temperature": [25, HOTTEST]},
                    "forbidden": [f"temperature + 8 * equivalents >= {FORBIDDEN}"],
                },
                "on_failure": {"breaker": 3},
            }
        },
        goal={"maximize": "sty"},
        budget={"money": 14},
        belief="climatology",
    )


def speak(path: Path, state: object, rng: random.Random) -> None:
    """What people say between two runs: mostly sense, and all that could get a forbidden setting through."""
    edit = rng.choice([{}, {"temperature": 60.0}, {"temperature": 119.0}, {"temperature": 90.0, "equivalents": 5.0}])
    for n in state.waiting:
        say(
            path,
            "guarded",
            Approved(trial=n, by="ann", setting=edit)
            if rng.random() < 0.9
            else Refused(trial=n, by="ann", reason="no"),
        )
    for n in state.doubts:
        say(path, "guarded", Settled(trial=n, outcome="rerun", by="ann"))
    if state.paused:
        say(path, "guarded", Resumed(by="ann"))
    if rng.random() < 0.3:
        say(path, "guarded", Amended(by="ann", changes={"parameters.temperature.high": rng.choice([110, 120, 130])}))
    if state.trials and rng.random() < 0.3:
        say(path, "guarded", Observed(trial=rng.choice(list(state.trials)), reading=Reading(values={"sty": 1.0})))


@pytest.mark.parametrize("seed", range(2))
def test_nothing_forbidden_reaches_the_bench(seed: int, tmp_path: Path) -> None:
    rng, path = random.Random(seed), tmp_path / "l.db"
    with BenchProcess(record=tmp_path / "record") as bench:
        declared = campaign(dict(bench.settings), seed)
        for _ in range(15):
            state = cl.run(declared, ledger=path, executor="inline").state
            if state.stopped:
                break
            speak(path, state, rng)
        runs = [e["setting"] for e in bench.commanded("INIT") if "refused" not in e]
        hottest = max((e["value"] for e in bench.commanded("SOUR:TEMP") if "refused" not in e), default=0.0)
    refused = [t for _, t in state.trials.items() if t.refusal is not None and t.refusal.rule]
    assert runs and refused, "the test must try both"
    assert all(s["temperature"] <= HOTTEST and s["temperature"] + 8 * s["equivalents"] < FORBIDDEN for s in runs)
    assert hottest <= HOTTEST
    assert len(runs) >= state.n_readings("reactor") - 5
