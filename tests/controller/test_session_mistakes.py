"""A program's mistakes are told as a person's are: name, value, rule and remedy; and no text without end is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.errors import CampaignError
from closedloop.controller.reading import MAX_TEXT, clean, short


@pytest.fixture
def session(tmp_path: Path):
    campaign = cl.Campaign(
        name="hand",
        parameters={"x": {"low": 0, "high": 1}},
        responses=["y"],
        sources={"hand": {"instrument": "manual", "cost": {"money": 1}}},
        goal={"maximize": "y"},
        budget={"money": 9},
        belief="climatology",
    )
    with cl.Session(campaign, ledger=tmp_path / "l.db") as session:
        session.suggest(1)
        yield session


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda s: s.ingest(1, None), "trial 1 returned None .*; return a dict of responses or a Reading"),
        (lambda s: s.ingest(1, {"y": None}), "y=None .*; a response is one number"),
        (lambda s: s.ingest(None, {"y": 1.0}), "trial = None .*give the number of a pending trial"),
        (lambda s: s.ingest(1.5, {"y": 1.0}), "trial = 1.5 .*is not a whole number"),
        (lambda s: s.fail(1, None), "reason = None .*say it in words"),
        (lambda s: s.add(None, {"y": 1.0}), "setting = None .*give a dict of x"),
        (lambda s: s.suggest(None), "n = None .*ask for at least one"),
    ],
)
def test_a_mistake_is_said_and_nothing_is_written(session: cl.Session, mistake: Callable, words: str) -> None:
    seq = session.state.seq
    with pytest.raises(CampaignError, match=words):
        mistake(session)
    assert session.state.seq == seq


def test_a_text_without_end_is_cut_and_says_so(session: cl.Session) -> None:
    session.fail(1, "a" * 5_000_000)
    message = session.state.trials[1].failure.message
    assert len(message) == MAX_TEXT and message.endswith("a…")
    assert clean("a" * MAX_TEXT) == "a" * MAX_TEXT
    assert len(short("b" * 10_000)) < 250 and "…" in short("b" * 10_000)
