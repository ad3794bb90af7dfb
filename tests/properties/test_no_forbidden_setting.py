"""Laws: no decision, edit, rerun, resume or letter gets a forbidden setting to the device, by the device's own record;
nor is one proposed, suggested or handed to a person."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.decide import decide
from closedloop.controller.evolve import evolve
from closedloop.controller.guard.check import Guard
from closedloop.controller.ledger.reader import events
from closedloop.controller.records import Amended, Approved, Observed, Proposed, Reading, Refused, Resumed, Settled
from closedloop.controller.state import State
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


def be_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mind that knows nothing of guards: only what stands beside the device is left."""
    spaces = property(lambda self: dict.fromkeys(self.sources, self.space))
    monkeypatch.setattr(cl.Campaign, "spaces", spaces)


@pytest.mark.parametrize(("seed", "knows"), [(0, False), (1, False), (2, True)])
def test_nothing_forbidden_reaches_the_bench(
    seed: int, knows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not knows:
        be_blind(monkeypatch)
    rng, path = random.Random(seed), tmp_path / "l.db"
    with BenchProcess(record=tmp_path / "record") as bench:
        declared = campaign(dict(bench.settings), seed)
        for _ in range(15):
            state = cl.run(declared, ledger=path, executor="inline", patience_s=0.0).state
            if state.stopped:
                break
            speak(path, state, rng)
        runs = [e["setting"] for e in bench.commanded("INIT") if "refused" not in e]
        hottest = max((e["value"] for e in bench.commanded("SOUR:TEMP") if "refused" not in e), default=0.0)
    refused = [t for _, t in state.trials.items() if t.refusal is not None and t.refusal.rule]
    not_taken = [e for e in events(path) if e.kind == "noted" and "guard" in e.text]
    assert runs
    assert bool(refused) is not knows, "a blind mind must try it, and one that knows must not"
    assert bool(not_taken) is knows, "people's edits must have been tried"
    assert all(s["temperature"] <= HOTTEST and s["temperature"] + 8 * s["equivalents"] < FORBIDDEN for s in runs)
    assert hottest <= HOTTEST
    assert len(runs) >= state.n_readings("reactor") - 5


KINDS = {
    "t": {"low": 30, "high": 120},
    "rate": {"low": 1e-3, "high": 1e3, "scale": "log"},
    "n": {"kind": "integer", "low": 1, "high": 6},
    "dose": {"low": 0.1, "high": 0.9, "step": 0.1},
    "size": {"levels": [1, 5, 20]},
    "binder": {"choices": ["A", "B"]},
}
RULES = (
    {"limits": {"t": [40.1, 90]}, "forbidden": ["t + 8 * n >= 115"]},
    {"limits": {"t": [89.9, 90.0], "rate": [1.0, 1.1], "size": [4, 6], "n": [2, 2], "dose": [0.3, 0.45]}},
    {"forbidden": ["abs(t - 75) <= 30", "rate * dose >= 0.5"], "limits": {"n": [1, 3]}},
    {"forbidden": ["t * dose >= 9", "t <= 70", "size >= 5"]},
)


@cl.simulator(cost={"money": 0.5})
def model(t: float, rate: float, n: int, dose: float, size: float, binder: str) -> dict:
    return {"y": t + 8 * n + dose}


def mixed(rules: dict, **changes: object) -> cl.Campaign:
    hand = {"instrument": "manual", "cost": {"money": 1}, "guard": rules}
    declared = {
        "name": "mixed",
        "parameters": KINDS,
        "constraints": ["t + n <= 123"],
        "responses": ["y"],
        "sources": {"hand": hand, "model": {"simulator": model, "cost": {"money": 0.5}}},
        "goal": {"maximize": "y"},  # the best lies beyond all that is allowed
        "budget": {"money": 20},
        "n_initial": 3,
        "guard": {"limits": {"t": [35, 100]}},  # of the model, since the hand has its own
    }
    return cl.Campaign(**{**declared, **changes}).resolve()


def check(c: cl.Campaign, trial: cl.Trial) -> None:
    guard = Guard(c.guard_of(trial.source), name=trial.source)
    refusal = guard.refusal(trial.setting, now_s=0.0)
    assert refusal is None, refusal
    assert c.space.check(trial.setting) == trial.setting


@pytest.mark.parametrize("rules", RULES)
def test_nothing_forbidden_is_proposed_to_people_or_to_simulators(rules: dict) -> None:
    """Initial designs, models and fallbacks alike, to the bit, where the readings draw towards what is forbidden."""
    c = mixed(rules)
    state, n = State(c), 0
    while (event := decide(state)) is not None and event.kind != "stopped":
        state = evolve(state, event.model_copy(update={"seq": state.seq + 1}))
        if not isinstance(event, Proposed):
            continue
        n += 1
        check(c, event.trial)
        s = event.trial.setting
        answer = Observed(trial=event.trial.number, reading=Reading(values={"y": s["t"] + 8 * s["n"] + 9 * s["dose"]}))
        state = evolve(state, answer.model_copy(update={"seq": state.seq + 1}))
    assert n >= 15
    assert {t.trial.source for _, t in state.trials.items()} == {"hand", "model"}


@pytest.mark.parametrize("rules", RULES)
def test_nothing_forbidden_is_suggested(rules: dict, tmp_path: Path) -> None:
    c = mixed(rules)
    with cl.Session(c, ledger=tmp_path / "l.db") as session:
        beyond = {"t": 110.0, "rate": 9.0, "n": 6, "dose": 0.9, "size": 20, "binder": "B"}
        session.add(beyond, {"y": 200.0})  # a person did it, and it was splendid
        for source, n in (("hand", 3), ("model", 3), ("hand", 4), ("hand", 2)):
            for trial in session.suggest(n, source=source):
                check(c, trial)
                s = trial.setting
                session.ingest(trial.number, {"y": s["t"] + 8 * s["n"] + 9 * s["dose"]})
