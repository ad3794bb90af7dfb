"""Laws of the reader: light, read-only, clear about what is not there; the views say what the events say."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import pytest

from closedloop.controller.errors import LedgerError
from closedloop.controller.ledger import audit as ledger_audit
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.lifecycle import after, born
from closedloop.controller.records import (
    Acting,
    Alternative,
    Approved,
    Failed,
    Forecast,
    Noted,
    Observed,
    Proposed,
    Quarantined,
    Reading,
    Refused,
    Restored,
    Settled,
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
        "import sys, closedloop.controller.ledger.reader;"
        "heavy = 'sqlmodel', 'sqlalchemy', 'torch', 'ray', 'pandas', 'numpy';"
        "print([name for name in heavy if name in sys.modules])"
    )
    environment = dict(os.environ)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert said.stdout.strip() == "[]"


def test_the_rows_of_trials_add_up_to_the_events(path):
    one, two, three = ledger_reader.trials(path)
    assert [t.state for t in (one, two, three)] == ["observed", "failed", "approved"]
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
    for read in (ledger_reader.campaigns, ledger_reader.events, ledger_reader.trials):
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


SETTLED = ["not_started", "unknown", "rerun", "abandoned", "asked"]
HAPPENINGS = [
    Approved(trial=1, by="ann", setting={"x": 9.0}, forecast=Forecast(mean={"y": 5.0}, sd={"y": 2.0})),
    Approved(trial=1, by="bob"),
    Refused(trial=1, by="ann", reason="hot"),
    Acting(trial=1),
    Observed(trial=1, reading=Reading(values={"y": 3.0}, achieved={"x": 2.5})),
    Failed(trial=1, cause="error", message="broken"),
    Failed(trial=1, cause="invalid", message="nan", cost={"money": 0.5}),
    Failed(trial=1, cause="cancelled", message="given up"),
    Failed(trial=1, cause="timeout", message="silence", is_in_doubt=True),
    *(Settled(trial=1, outcome=outcome, by="rule") for outcome in SETTLED),
    Quarantined(trial=1, by="agent", reason="far off"),
    Restored(trial=1, by="ann"),
]


def lives(status: str, so_far: tuple, depth: int) -> Iterator[tuple[str, tuple]]:
    """Every life that the table of lifecycle allows, up to a length; a reading is given once."""
    yield status, so_far
    for event in HAPPENINGS if depth else ():
        then = after(status, event)
        has_reading = any(isinstance(e, Observed) for e in so_far)
        is_barred = (isinstance(event, Observed) and has_reading) or (isinstance(event, Restored) and not has_reading)
        if then is not None and not is_barred:
            yield from lives(then, (*so_far, event), depth - 1)


def test_the_view_of_trials_says_what_the_table_of_states_says(tmp_path):
    proposals = [
        Proposed(trial=Trial(number=1, source="oven", setting={"x": 1.0, "z": 4}), asks=asks) for asks in ("", "hot")
    ]
    whole = [(status, p, life) for p in proposals for status, life in lives(born(p), (), 5)]
    assert len(whole) > 1_000
    with Ledger.open(tmp_path / "l.db", "all") as ledger:
        ledger._driver.execute("PRAGMA synchronous = OFF")
        ledger.append(Started(campaign={"name": "all"}))
        for n, (_, proposal, life) in enumerate(whole, start=1):
            ledger.append(proposal.model_copy(update={"trial": proposal.trial.model_copy(update={"number": n})}))
            for event in life:
                ledger.append(event.model_copy(update={"trial": n}))
    for row, (status, proposal, life) in zip(ledger_reader.trials(tmp_path / "l.db"), whole, strict=True):
        approvals = [e for e in life if isinstance(e, Approved)]
        attempt = 1 + sum(isinstance(e, Settled) and e.outcome in ("rerun", "not_started") for e in life)
        setting = {"x": 9.0 if any(e.setting for e in approvals) else 1.0, "z": 4}
        assert (row.state, row.attempt, row.asks, row.setting) == (status, attempt, proposal.asks, setting), life
        assert row.approved_by == (approvals[-1].by if approvals else None)
        assert (row.answered is None) == (status in ("proposed", "approved", "acting", "unknown")), life
        last = next((e for e in reversed(life) if isinstance(e, Observed | Failed | Refused)), None)
        told = {Failed: "cause", Refused: "by"}
        assert (row.cause is not None) == (type(last) in told), life
        for reading in row.readings:
            assert reading.is_set_aside == (status == "invalid")
            assert reading.z == (-1.0 if any(e.setting for e in approvals) else None)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            Observed(trial=4, reading=Reading(values={"y": 1.0})),
            r"trial 4 .* is proposed.*for a person: 4 \(proposed\)",
        ),
        (Observed(trial=1, reading=Reading(values={"y": 1.0})), "is observed, so it takes no answer"),
        (Observed(trial=6, reading=Reading(values={"y": 1.0})), "was set aside; restore that one"),
        (Approved(trial=3, by="ann"), "is approved, so it takes no 'approved'"),
        (Approved(trial=5, by="ann"), "in doubt: it may have been carried out"),
        (Refused(trial=5, by="ann", reason="no"), "in doubt: it may have been carried out"),
        (Quarantined(trial=2, by="ann", reason="no"), "is failed, so it takes no 'quarantined'"),
        (Settled(trial=2, by="ann", outcome="rerun"), "is failed, so it takes no 'settled'"),
        (Acting(trial=3), "'acting' is for a controller to say"),
        (Noted(text="hello"), "'noted' is for a controller to say"),
    ],
)
def test_post_refuses_what_cannot_happen_while_the_person_is_there(path, event, said):
    with Ledger.open(path, "anneal") as ledger:
        ledger.append(Proposed(trial=Trial(number=4, source="furnace", setting={"x": 1.0}), asks="hot"))
        for number in (5, 6):
            ledger.append(Proposed(trial=Trial(number=number, source="furnace", setting={"x": 1.0})))
        ledger.append(Failed(trial=5, cause="timeout", message="x", is_in_doubt=True))
        ledger.append(Observed(trial=6, reading=Reading(values={"y": 1.0})))
        ledger.append(Quarantined(trial=6, by="agent", reason="far off"))
    with pytest.raises(LedgerError, match=said):
        ledger_reader.post(path, None, event)
    with sqlite3.connect(path) as shell:
        assert shell.execute("SELECT count(*) FROM inbox").fetchone() == (0,)


def test_a_late_answer_is_let_in(path):
    letter = ledger_reader.post(path, None, Observed(trial=2, reading=Reading(values={"y": 1.0})))
    with Ledger.open(path, "anneal") as ledger:
        ledger.append(*ledger.inbox())
    assert (letter, ledger_reader.trials(path)[1].state) == (1, "late")


def test_a_view_of_a_long_campaign_is_asked_for_one_trial_without_a_scan(path):
    with sqlite3.connect(path) as shell:
        for view, column in (("trial", "number"), ("reading", "trial")):
            plan = shell.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {view} WHERE campaign = 'a' AND {column} = 3")
            steps = [step for *_, step in plan.fetchall() if "json_each" not in step and "r VIRTUAL" not in step]
            assert not [s for s in steps if s.startswith("SCAN") or s.endswith("PRIMARY KEY (campaign=?)")]


def test_a_reader_streams_one_moment_and_what_came_after_a_place(path):
    whole = ledger_reader.events(path)
    one_by_one = ledger_reader.stream(path)
    first = next(one_by_one)
    with Ledger.open(path, "anneal") as ledger:
        ledger.append(Noted(text="meanwhile"))
    assert [first, *one_by_one] == whole
    assert [e.seq for e in ledger_reader.events(path, after_seq=5)] == [6, 7]


def test_a_backup_is_whole_and_nobody_holds_it(path, tmp_path):
    copy = tmp_path / "copy.db"
    with Ledger.open(path, "anneal") as ledger:
        ledger.fence(["oven"])
        ledger_reader.backup(path, copy)
        assert ledger_reader.events(copy) == ledger.events()
        assert ledger_audit.verify(copy) == []
        assert ledger_reader.lease(copy) is None
        with Ledger.open(copy, "anneal") as other:
            assert other.fence(["oven"]) == {"oven": 2}
        with pytest.raises(LedgerError, match="there already, and is not overwritten"):
            ledger_reader.backup(path, copy)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.db", "lab.db"]
