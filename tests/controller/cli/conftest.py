"""A small campaign on a function and a model, in files, as a user has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

SOURCES = """
import time
import closedloop as cl


class Oven(cl.Instrument):
    cost = {"money": 1.0}
    def __init__(self, delay_s=0.0):
        open("oven_was_made", "a").close()
        self.delay_s = delay_s
    def measure(self, setting):
        time.sleep(self.delay_s)
        return cl.Reading(values={"y": 10 - (setting["x"] - 3) ** 2}, sd={"y": 0.1}, achieved={"x": setting["x"] + 0.01})
    def make_safe(self):
        open("oven_is_safe", "a").close()

@cl.simulator(cost={"money": 0.1})
def model(x, mode):
    return {"y": 9 - (x - 2.8) ** 2}
"""
CAMPAIGN = """
name: oven
description: a test
seed: 3
parameters:
  x: {low: -5, high: 5, unit: degC}
  mode: {choices: ["=1+1", "@b", plain]}
responses: {y: {unit: m}}
sources:
  oven: {instrument: "./sources.py:Oven"}
  model: {simulator: "./sources.py:model"}
goal: {maximize: y}
budget: {money: 5, trials: 12}
belief: climatology
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with a campaign and its sources."""
    (tmp_path / "sources.py").write_text(SOURCES)
    (tmp_path / "oven.yaml").write_text(CAMPAIGN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli():
    """Runs one command line; ``cli(..., code=2)`` when it is to fail so."""
    from closedloop.controller.cli.commands import app

    def run(*args: object, code: int = 0):
        result = CliRunner().invoke(app, [str(a) for a in args])
        assert result.exit_code == code, (result.output, result.stderr, result.exception)
        assert "Traceback" not in result.output + result.stderr
        return result

    return run


@pytest.fixture
def done(folder, cli) -> Path:
    """The folder after the campaign was run."""
    cli("run", "oven.yaml", "--executor", "inline", "--quiet")
    return folder
