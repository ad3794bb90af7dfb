"""An instrument that may not be safe is shown until a person resumes; nobody signs as a guard."""

from __future__ import annotations

import json

import pytest

from closedloop.controller.admit import admit
from closedloop.controller.campaign import Campaign
from closedloop.controller.evolve import replay
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.lifecycle import GUARD
from closedloop.controller.perform import unsafe
from closedloop.controller.records import Noted, Paused, Resumed
from closedloop.controller.report.lookup import KEEPING, read_standing
from closedloop.controller.steering import say

KILN = f"{GUARD}'oven'"


@pytest.fixture
def begun(folder, cli):
    """A campaign that a guard paused, its device perhaps not safe."""
    text = (folder / "oven.yaml").read_text()
    hand = text.replace('"./sources.py:Oven"', "manual, cost: {money: 1}")
    hand = hand.replace('  model: {simulator: "./sources.py:model"}\n', "")
    (folder / "oven.yaml").write_text(hand)
    cli("run", "oven.yaml", "--executor", "inline", "--no-wait", code=7)
    with Ledger.open("closedloop.db", "oven", keeping=KEEPING) as book:
        book.append(unsafe("oven", "the valve is stuck"))
        book.append(Paused(by=KILN, reason="hot"))
    return folder


def test_what_may_not_be_safe_is_said_first_and_until_a_person_resumes(begun, cli):
    words = "'oven' may not be safe: the valve is stuck; see to it by hand"
    assert json.loads(cli("status", "--json").output)["unsafe"] == {"oven": words}
    lines = cli("status").output.splitlines()
    said, best = (next(k for k, line in enumerate(lines) if w in line) for w in ("may not be safe", "best"))
    assert said < best
    first, *_ = json.loads(cli("pending", "--json").output)
    assert (first["kind"], first["text"]) == ("danger", words)
    cli("report", "--output", "r.html")
    assert "Not safe" in (begun / "r.html").read_text()
    with Ledger.open("closedloop.db", "oven", keeping=KEEPING) as book:
        book.append(Resumed(by=KILN))
    assert read_standing("closedloop.db").unsafe == {"oven": words}
    cli("pause", "--by", "ann")
    cli("resume", "oven", "--executor", "inline", "--no-wait", "--by", "ann", code=7)
    assert read_standing("closedloop.db").unsafe == {}
    assert "may not be safe" not in cli("status").output


@pytest.mark.parametrize("name", [KILN, "hands of 'oven'", "breaker", "the controller"])
def test_nobody_signs_as_a_guard(begun, cli, name):
    before = len(ledger_reader.events("closedloop.db"))
    for words in (("resume", "oven", "--executor", "inline", "--no-wait"), ("pause",), ("amend", "budget.money=6")):
        assert "is how a part of the controller signs" in cli(*words, "--by", name, code=2).stderr
    assert isinstance(say("closedloop.db", "oven", Resumed(by=name)), Noted)
    events = ledger_reader.events("closedloop.db")
    assert len(events) == before
    state = replay(Campaign.trusted(events[0].campaign), events)
    note = admit(state, Resumed(by=name, letter=4))
    assert isinstance(note, Noted) and "no person" in note.text and note.letter == 4
    assert admit(state, Resumed(by=KILN)) == Resumed(by=KILN)  # the guard itself writes no letters
