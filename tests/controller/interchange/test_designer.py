"""Generators of others as the designer of a campaign: their settings, our forecasts and gains, and what is refused."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import closedloop as cl
from closedloop.controller.design.foreign import _seeded
from closedloop.controller.designer import as_result, as_setting, vocs_of
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.replaying import recompute

pytest.importorskip("gest_api", reason="gest-api is not installed")
from gest_api.generator import Generator

XOPT = "xopt.generators.bayesian:ExpectedImprovementGenerator"
UNLIMITED = {"numerical_optimizer": {"name": "LBFGS", "n_restarts": 4, "max_time": None}}
HERE = "foreign_generators"
PARAMETERS = {"x": {"low": 0, "high": 1}, "t": {"low": 0.1, "high": 1000, "scale": "log"}}


class Told(Generator):
    """Names a fixed place, and keeps what it was told."""

    last: list = []

    def __init__(self, vocs, place=(0.25, 1.0), seed=None, n_draws=0) -> None:
        super().__init__(vocs)
        self.vocs, self.place, self.seed, self.results = vocs, place, seed, []
        self.draw = [random.random(), float(np.random.random())][:n_draws]

    def _validate_vocs(self, vocs) -> None:
        if any(type(v).__name__ == "DiscreteVariable" for v in vocs.variables.values()):
            raise ValueError("knows no discrete variables")

    def suggest(self, num_points):
        type(self).last.append(self)
        if self.place == "crash":
            raise RuntimeError("out of ideas")
        values = self.draw or self.place
        return [dict(zip(self.vocs.variables, values, strict=False))]

    def ingest(self, results) -> None:
        self.results += results


class Several(Told):
    """Names as many places as it is asked for; one at a time where it is single."""

    def __init__(self, vocs, is_single=False, **settings) -> None:
        super().__init__(vocs, **settings)
        self.is_single, self.n_named = is_single, 0

    def suggest(self, num_points):
        if self.is_single and num_points > 1:
            raise NotImplementedError("one at a time")
        self.n_named += num_points
        return [{"x": 0.1 * k, "t": 1.0} for k in range(self.n_named - num_points + 1, self.n_named + 1)]


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    made = type(sys)(HERE)
    made.Told, made.Several, made.NoGenerator = Told, Several, dict
    monkeypatch.setitem(sys.modules, HERE, made)
    Told.last = []


def campaign(designer: dict, **changes: object) -> cl.Campaign:
    @cl.instrument(cost={"money": 1})
    def lab(**s: float) -> dict:
        return {"y": 10 - 20 * (s["x"] - 0.3) ** 2 - 2 * (math.log10(s["t"]) - 1) ** 2, "c": s["x"]}

    return cl.Campaign(
        **{
            "name": "d",
            "parameters": PARAMETERS,
            "responses": ["y", "c"],
            "sources": {"lab": lab},
            "goal": {"maximize": "y", "subject_to": "c <= 0.9"},
            "budget": {"money": 7},
            "seed": 3,
            "n_initial": 4,
            "designer": designer,
            **changes,
        }
    )


def run(c: cl.Campaign, tmp_path: Path) -> cl.Result:
    return cl.run(c, ledger=tmp_path / "l.db", executor="inline")


def chosen(result: cl.Result) -> list:
    return [t.trial for t in result.state.trials.values() if t.trial.why.gain is not None]


def test_its_settings_are_proposed_with_our_forecast_and_gain(tmp_path: Path) -> None:
    result = run(campaign({"generator": f"{HERE}:Told"}), tmp_path)
    first = chosen(result)[0]
    assert first.setting == {"x": 0.25, "t": pytest.approx(10.0)}  # it sees logarithms
    assert "the setting of Told" in first.why.text
    assert set(first.forecast.mean) == {"y", "c"} and first.why.gain >= 0
    told = Told.last[0].results
    assert len(told) == result.state.campaign.space.n_set * 2
    assert told[0] == {
        "x": result.state.trials[1].trial.setting["x"],
        "t": pytest.approx(math.log10(result.state.trials[1].trial.setting["t"])),
        "y": result.state.trials[1].reading.values["y"],
        "margin_0": pytest.approx(0.9 - result.state.trials[1].reading.values["c"]),
    }


@pytest.mark.parametrize("is_single", [False, True])
def test_every_setting_of_a_batch_is_its_own(is_single: bool, tmp_path: Path) -> None:
    designer = {"generator": f"{HERE}:Several", "settings": {"is_single": is_single}}
    sources = {"lab": {"instrument": "manual", "cost": {"money": 1}}}
    with cl.Session(campaign(designer, sources=sources, budget={"money": 20}), ledger=tmp_path / "l.db") as session:
        for trial in session.suggest(4):
            session.ingest(trial.number, {"y": trial.setting["x"], "c": 0.5})
        batch = session.suggest(3)
    assert [t.setting["x"] for t in batch] == pytest.approx([0.1, 0.2, 0.3])
    assert all("the setting of Several" in t.why.text and "ours" not in t.why.text for t in batch)
    assert all(one.is_same(1e-9) for one in recompute(ledger_reader.events(tmp_path / "l.db")))


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ([7.0, 1.0], "is refused: x=7.0"),
        ([None, 1.0], "is refused: x = None is no finite number"),
        ([0.5], "it lacks 't'"),
        (["left", 1.0], "is no finite number"),
        ([0.9, 2.0], "breaks the constraint"),
        ("crash", "Told named no setting: RuntimeError: out of ideas"),
    ],
)
def test_what_cannot_be_proposed_is_replaced_by_ours_and_said(place: object, words: str, tmp_path: Path) -> None:
    c = campaign(
        {"generator": f"{HERE}:Told", "settings": {"place": place}}, constraints=["x <= 0.8"], budget={"money": 6}
    )
    trial = chosen(run(c, tmp_path))[0]
    assert words in trial.why.text and "ours" in trial.why.text
    assert 0 <= trial.setting["x"] <= 0.8


def test_it_begins_from_a_seed_of_the_decision_and_leaves_the_global_generators(tmp_path: Path) -> None:
    c = campaign({"generator": f"{HERE}:Told", "settings": {"n_draws": 2, "seed": "$seed"}})
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()
    with _seeded(3):
        first = random.random(), np.random.random(), torch.rand(1).item()
    with _seeded(3):
        assert (random.random(), np.random.random(), torch.rand(1).item()) == first
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()) == before
    result = run(c, tmp_path)
    draws = [tuple(t.setting.values()) for t in chosen(result)]
    assert len(set(draws)) == len(draws) == 3
    seeds = [g.seed for g in Told.last]
    assert len(set(seeds)) == 3 and all(isinstance(s, int) for s in seeds)
    assert all(one.is_same(0) for one in recompute(ledger_reader.events(tmp_path / "l.db")))


def test_a_generator_without_discrete_variables_gets_ranges_and_is_rounded(tmp_path: Path) -> None:
    parameters = {**PARAMETERS, "n": {"kind": "integer", "low": 0, "high": 4}, "p": {"low": 1, "high": 2, "step": 0.25}}
    settings = {"place": [0.25, 1.0, 2.4, 1.6]}
    trial = chosen(
        run(
            campaign({"generator": f"{HERE}:Told", "settings": settings}, parameters=parameters, budget={"money": 9}),
            tmp_path,
        )
    )[0]
    assert trial.setting == {"x": 0.25, "t": pytest.approx(10.0), "n": 2, "p": 1.5}


@pytest.mark.parametrize(
    ("designer", "changes", "words"),
    [
        ({"generator": "Told"}, {}, "write 'package.module:ClassName'"),
        ({"generator": "os.system('x'):A"}, {}, "write 'package.module:ClassName'"),
        ({"generator": f"{HERE}:Told", "setings": {}}, {}, "did you mean 'settings'"),
        ({}, {}, "designer.generator: is missing"),
        ({"generator": f"{HERE}:Told"}, {"goal": {"map": "y >= 5"}}, "a goal to map"),
        ({"generator": f"{HERE}:Told"}, {"constraints": ["x + t == 1"]}, "equality constraints"),
        ({"generator": f"{HERE}:Told"}, {"belief": "climatology"}, "climatology"),
    ],
)
def test_what_a_generator_cannot_be_told_is_refused_at_birth(designer: dict, changes: dict, words: str) -> None:
    with pytest.raises(cl.CampaignError) as raised:
        campaign(designer, **changes)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("designer", "words"),
    [
        ({"generator": "no_such_package:X"}, "cannot be imported"),
        ({"generator": f"{HERE}:Nobody"}, "cannot be imported"),
        ({"generator": f"{HERE}:NoGenerator"}, "is no gest_api Generator"),
        ({"generator": "gest_api.generator:Generator"}, "abstract"),
        ({"generator": f"{HERE}:Told", "settings": {"colour": 1}}, "does not take this campaign"),
    ],
)
def test_a_generator_that_cannot_be_made_is_refused_before_anything_runs(designer: dict, words: str) -> None:
    with pytest.raises(cl.CampaignError) as raised:
        campaign(designer).resolve()
    assert words in str(raised.value)


def test_a_campaign_said_as_a_vocs_and_back() -> None:
    parameters = {**PARAMETERS, "g": {"choices": ["Ar", "N2"]}, "k": {"value": 3.0}, "m": {"levels": [1, 10, 100]}}
    c = campaign({"generator": f"{HERE}:Told"}, parameters=parameters, goal={"maximize": "y", "minimize": "c * 2"})
    vocs = vocs_of(c)
    assert vocs.variables["t"].domain == [-1.0, 3.0] and vocs.variables["g"].values == {"Ar", "N2"}
    assert {n: type(o).__name__ for n, o in vocs.objectives.items()} == {
        "y": "MaximizeObjective",
        "objective_1": "MinimizeObjective",
    }
    assert vocs.constants["k"].value == 3.0
    setting = {"x": 0.5, "t": 20.0, "g": "N2", "m": 10, "k": 3.0}
    row = as_result(c, setting, {"y": 1.0, "c": 0.25})
    assert row["objective_1"] == 0.5 and set(row) == {*vocs.variables, *vocs.objectives, *vocs.constants}
    back = as_setting(c, row)
    assert back == {"x": 0.5, "t": pytest.approx(20.0), "g": "N2", "m": 10}


def test_xopt_designs_and_its_decisions_can_be_made_again(tmp_path: Path) -> None:
    pytest.importorskip("xopt", reason="xopt is not installed")
    result = run(
        campaign({"generator": XOPT, "settings": UNLIMITED}, goal={"maximize": "y"}, budget={"money": 10}), tmp_path
    )
    texts = [t.why.text for t in chosen(result)]
    assert texts and all("the setting of ExpectedImprovementGenerator" in text for text in texts)
    assert result.best.objective > 9.5
    assert all(one.is_same(1e-9) for one in recompute(ledger_reader.events(tmp_path / "l.db")))


def test_libensemble_designs(tmp_path: Path) -> None:
    pytest.importorskip("libensemble", reason="libensemble is not installed")
    designer = {"generator": "libensemble.gen_classes.sampling:UniformSample", "settings": {"random_seed": "$seed"}}
    trials = chosen(run(campaign(designer, goal={"maximize": "y"}), tmp_path))
    assert all("the setting of UniformSample" in t.why.text for t in trials)
    assert len({t.setting["x"] for t in trials}) == len(trials)
