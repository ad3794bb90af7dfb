"""Laws of the reader: light, read-only, clear about what is not there; the views say what the events say."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import closedloop
from closedloop.controller import ledger_reader
from closedloop.controller.errors import LedgerError
from closedloop.controller.ledger import Ledger
from closedloop.controller.records import (
    Alternative,
    Failed,
    Forecast,
    Noted,
    Observed,
    Proposed,
    Reading,
    Started,
    Trial,
    Why,
)


@pytest.fixture
def path(tmp_path):
    """Two trials answered, one running."""
    file = tmp_path / "lab.db"
    other = Alternative(source="model", setting={"x": 0.0}, gain=0.1, cost=0.01)
    with Ledger.open(file, "anneal") as ledger:
        ledger.append(Started(campaign={"name": "anneal"}))
        for number in (1, 2, 3):
            forecast = Forecast(mean={"hard ness": 1.0}, sd={"hard ness": 0.5})
            why = Why(text=f"reason {number}", gain=0.3, cost=0.02)
            trial = Trial(
                number=number,
                source="furnace",
                setting={"x": float(number)},
                forecast=forecast,
                why=why,
                cost={"money": 1.0},
                alternatives=(other,),
            )
            ledger.append(Proposed(trial=trial))
        reading = Reading(values={"hard ness": 2.0, "b": 3.0}, sd={"b": 0.1}, achieved={"x": 1.5}, cost={"money": 4.0})
        ledger.append(Observed(trial=1, reading=reading))
        ledger.append(Failed(trial=2, cause="timeout", message="too slow"))
    return file


def test_reading_loads_nothing_heavy():
    code = (
        "import sys, closedloop.controller.ledger_reader;"
        "heavy = 'sqlmodel', 'sqlalchemy', 'torch', 'ray', 'pandas', 'numpy';"
        "print([name for name in heavy if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(closedloop.__path__[0]).parent)}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert said.stdout.strip() == "[]"


def test_the_rows_of_trials_add_up_to_the_events(path):
    one, two, three = ledger_reader.trials(path)
    assert [t.state for t in (one, two, three)] == ["observed", "failed", "running"]
    assert (one.setting, one.achieved, one.cost) == ({"x": 1.0}, {"x": 1.5}, {"money": 4.0})
    assert (two.cause, two.message, two.cost, two.readings) == ("timeout", "too slow", {"money": 1.0}, ())
    assert three.answered is None
    assert one.proposed <= one.answered
    by_response = {r.response: (r.value, r.sd, r.forecast_mean, r.forecast_sd, r.z) for r in one.readings}
    assert by_response == {"hard ness": (2.0, None, 1.0, 0.5, 2.0), "b": (3.0, 0.1, None, None, None)}


def test_a_person_can_ask_why_in_the_sqlite_shell(path):
    with sqlite3.connect(path) as shell:
        why = shell.execute("SELECT why, gain, cost, n_alternatives, alternatives FROM decision WHERE trial = 2")
        text, gain, cost, n, alternatives = why.fetchone()
    assert (text, gain, cost, n) == ("reason 2", 0.3, 0.02, 1)
    assert json.loads(alternatives)[0]["source"] == "model"


def test_a_reader_sees_the_writers_last_event_and_changes_nothing(path):
    with Ledger.open(path, "anneal") as ledger:
        stamped = ledger.append(Noted(text="now"))
        assert ledger_reader.events(path)[-1] == stamped
    before = path.read_bytes()
    for read in (ledger_reader.campaigns, ledger_reader.events, ledger_reader.trials, ledger_reader.verify):
        read(path)
    assert path.read_bytes() == before


def test_started_holds_the_declaration(path):
    assert ledger_reader.started(path).campaign == {"name": "anneal"}


def test_one_campaign_needs_no_name_and_several_do(path):
    assert ledger_reader.campaigns(path) == ["anneal"]
    with Ledger.open(path, "quench") as ledger:
        ledger.append(Started(campaign={"name": "quench"}))
    with pytest.raises(LedgerError, match=r"2 campaigns \(anneal, quench\)"):
        ledger_reader.events(path)
    assert len(ledger_reader.events(path, "quench")) == 1


def test_what_is_not_there_is_named(path, tmp_path):
    text, alien, empty = tmp_path / "notes.txt", tmp_path / "alien.db", tmp_path / "empty.db"
    text.write_text("not a database at all, but long enough to have a header " * 3)
    with sqlite3.connect(alien) as shell:
        shell.execute("CREATE TABLE t (x)")
    empty.touch()
    for file, campaign, said in [
        (tmp_path / "none.db", None, "there is no ledger"),
        (text, None, "cannot be read as a ledger"),
        (alien, None, "another program"),
        (empty, None, "empty"),
        (path, "quench", "there: anneal"),
    ]:
        with pytest.raises(LedgerError, match=said):
            ledger_reader.events(file, campaign)


@pytest.mark.parametrize(("number", "said"), [(1, "is observed"), (2, "is failed"), (9, "not proposed")])
def test_post_refuses_an_answer_that_nobody_waits_for(path, number, said):
    with pytest.raises(LedgerError, match=rf"{said}.*wait for one: 3"):
        ledger_reader.post(path, None, Failed(trial=number, cause="error", message="x"))


def _tamper(path, *statements):
    with sqlite3.connect(path) as shell:
        for (name,) in shell.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            shell.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            shell.execute(statement)
    return [(p.seq, p.text) for p in ledger_reader.verify(path) if p.seq is not None]


def test_a_whole_ledger_has_no_problem(path):
    assert ledger_reader.verify(path) == []


def test_a_dropped_trigger_is_named(path):
    _tamper(path)
    assert {p.text.split("'")[1] for p in ledger_reader.verify(path)} == {
        "event_is_dense",
        "event_is_not_changed",
        "event_is_not_removed",
    }


@pytest.mark.parametrize(
    "column", ["time = '2020-01-01T00:00:00.000000+00:00'", "payload = replace(payload, '2.0', '9.0')"]
)
def test_a_changed_row_is_named_alone(path, column):
    assert _tamper(path, f"UPDATE event SET {column} WHERE seq = 5") == [
        (5, "event 5 (observed) does not follow from event 4: changed or inserted")
    ]


def test_a_changed_column_beside_the_payload_is_named(path):
    assert [seq for seq, _ in _tamper(path, "UPDATE event SET trial = 8 WHERE seq = 5")] == [5]


def test_removed_rows_are_named(path):
    found = _tamper(path, "DELETE FROM event WHERE seq IN (3, 4)")
    assert found == [(3, "events 3 to 4 are missing: removed")]


def test_swapped_rows_are_named_as_reordered(path):
    move = "UPDATE event SET seq = {} WHERE seq = {}"
    found = dict(_tamper(path, move.format(99, 3), move.format(3, 4), move.format(4, 99)))
    assert found[3] == "event 3 (proposed) was written as event 4: re-ordered"
    assert found[4] == "event 4 (proposed) was written as event 3: re-ordered"


def test_an_inserted_row_is_the_first_named(path):
    move = "UPDATE event SET seq = seq + {} WHERE seq {}"
    row = "campaign, 5, time, 'noted', NULL, '{\"kind\":\"noted\"}', hash"
    forged = f"INSERT INTO event SELECT {row} FROM event WHERE seq = 4"
    found = _tamper(path, move.format(100, ">= 5"), move.format(-99, "> 100"), forged)
    assert found[0] == (5, "event 5 (noted) does not follow from event 4: changed or inserted")
    assert "written as event 5" in dict(found)[6]


def test_a_damaged_page_is_found(path, tmp_path):
    torn = tmp_path / "torn.db"
    shutil.copy(path, torn)
    data = bytearray(torn.read_bytes())
    data[-4096:-2048] = bytes(2048)
    torn.write_bytes(data)
    try:
        assert ledger_reader.verify(torn)
    except LedgerError as error:
        assert "cannot be read" in str(error)
