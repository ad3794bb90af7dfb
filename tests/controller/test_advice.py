"""What is advised is what a decision then does, and what a person settles is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import closedloop as cl
from closedloop.controller.advice import Advice, advise
from closedloop.controller.cli.commands import app
from closedloop.controller.errors import CampaignError
from closedloop.controller.state import State


@cl.instrument(cost={"money": 1})
def bowl(a: float, b: float) -> dict[str, float]:
    return {"y": (a - 0.3) ** 2 + (b - 0.7) ** 2, "z": a + b}


def campaign(**changes: object) -> cl.Campaign:
    declared: dict[str, object] = {
        "name": "t",
        "parameters": {"a": {"low": 0, "high": 1}, "b": {"low": 0, "high": 1}},
        "responses": ["y", "z"],
        "sources": {"lab": bowl},
        "goal": {"minimize": "y"},
        "budget": {"money": 12},
    }
    return cl.Campaign(**{**declared, **changes})


def of(c: cl.Campaign, what: str) -> Advice:
    return next(a for a in advise(State(c)) if a.of == what)


@pytest.mark.parametrize(
    ("changes", "choice", "words"),
    [
        ({}, "log_ei", "in closed form"),
        ({"goal": {"minimize": "y", "subject_to": ["z <= 1.2"]}}, "log_ei", "in closed form"),
        ({"goal": {"minimize": "y * z"}}, "log_ei_mc", "Monte Carlo"),
        ({"goal": {"target": "z", "value": 1.0}}, "log_ei_mc", "Monte Carlo"),
        ({"method": {"acquisition": "log_ei_mc", "n_samples": 64}}, "log_ei_mc", "64 samples"),
        ({"method": {"acquisition": "knowledge_gradient"}}, "knowledge_gradient", "knowledge gradient"),
    ],
)
def test_a_decision_uses_what_was_advised_and_says_so(
    changes: dict[str, object], choice: str, words: str, tmp_path: Path
) -> None:
    c = campaign(**changes)
    assert of(c, "acquisition").choice == choice
    with cl.Session(c, ledger=tmp_path / "l.db") as session:
        for _ in range(5):
            (trial,) = session.suggest(1)
            s = {k: float(v) for k, v in trial.setting.items()}
            session.ingest(trial.number, {"y": (s["a"] - 0.3) ** 2 + (s["b"] - 0.7) ** 2, "z": s["a"] + s["b"]})
    assert words in trial.why.text


def test_constraints_change_the_search_and_a_small_budget_is_told() -> None:
    assert "L-BFGS" in of(campaign(), "search").choice
    assert "SLSQP" in of(campaign(constraints=["a + b <= 1"]), "search").choice
    assert "3 trials" in of(campaign(budget={"trials": 3}), "warning").choice
    assert not [a for a in advise(State(campaign())) if a.of == "warning"]


@pytest.mark.parametrize(
    ("method", "words"),
    [({"acquisition": "ucb"}, "acquisition"), ({"n_samples": 1}, "n_samples"), ({"starts": 3}, "n_starts")],
)
def test_a_mistaken_method_is_refused_by_name(method: dict[str, object], words: str) -> None:
    with pytest.raises(CampaignError, match=words):
        campaign(method=method)


def test_the_command_tells_it_before_and_after_the_start(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["advise", "reactor", "--json"])
    assert told.exit_code == 0
    assert {a["of"] for a in json.loads(told.output)} >= {"belief", "acquisition", "search", "choice of source"}
    shown = CliRunner().invoke(app, ["advise", "reactor"])
    assert "hybrid" in shown.output and "n_initial" in shown.output
