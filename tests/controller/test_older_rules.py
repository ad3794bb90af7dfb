"""What a campaign was begun with goes on, though a new one could not begin so."""

from __future__ import annotations

from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.admit import admit
from closedloop.controller.amendment import amended
from closedloop.controller.campaign_run import start
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.ready import check_ready
from closedloop.controller.records import Amended
from closedloop.controller.state import State


def declared(**of_hand: object) -> dict:
    return {
        "name": "bench",
        "parameters": {"t": {"low": 10, "high": 20}},
        "responses": ["y"],
        "sources": {"hand": {"instrument": "manual", "cost": {"money": 1}, **of_hand}},
        "goal": {"maximize": "y"},
        "budget": {"money": 12},
    }


PEOPLE = declared(approval={"people": ["ann"]})
WATCHED = declared(guard={"interlocks": [{"trip": "p >= 6"}]})


@pytest.mark.parametrize("old", [PEOPLE, WATCHED])
def test_a_ledger_that_began_so_is_resumed_and_amended(old: dict, tmp_path: Path, monkeypatch) -> None:
    from typer.testing import CliRunner

    from closedloop.controller.cli.commands import app

    monkeypatch.chdir(tmp_path)
    with Ledger.open("closedloop.db", "bench") as book:
        start(State(cl.Campaign.trusted(old).resolve()), book)
    for words, code in (
        (["resume", "bench", "--executor", "inline", "--no-wait"], 7),
        (["amend", "budget.money=15"], 0),
        (["resume", "bench", "--executor", "inline", "--no-wait"], 7),
        (["amend", "sources.hand.approval={always: true, people: [ann]}"], 0),
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == code, (words, done.output, done.stderr)


def test_a_new_one_is_refused_as_before() -> None:
    with pytest.raises(cl.CampaignError, match="nobody would ever be asked"):
        cl.Campaign(**PEOPLE)
    with pytest.raises(cl.CampaignError, match="interlocks: nothing beside 'hand' holds it"):
        check_ready(cl.Campaign(**WATCHED).resolve())


def test_an_amendment_may_not_bring_in_what_a_new_one_may_not_have() -> None:
    whole = {"sources.hand.approval": {"people": ["ann"]}}
    with pytest.raises(cl.CampaignError, match="nobody would ever be asked"):
        amended(cl.Campaign(**declared()).resolve(), whole)
    old = State(cl.Campaign.trusted(PEOPLE).resolve())
    assert admit(old, Amended(by="ann", changes={"budget.money": -1}, letter=1)).kind == "noted"
    assert admit(old, Amended(by="ann", changes={"budget.money": 15}, letter=1)).kind == "amended"
