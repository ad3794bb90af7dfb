"""A ledger of an earlier release is read as it is, and goes on under the present schema."""

from __future__ import annotations

import sqlite3

import pytest

from closedloop.controller.ledger import audit as ledger_audit
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.ledger.schema import APPLICATION_ID, GENESIS, MIGRATIONS, row_hash
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Failed, Observed, Proposed, Reading, Started, Trial, dump_event


@pytest.fixture
def path(tmp_path):
    return tmp_path / "old.db"


def proposed(number: int) -> Proposed:
    return Proposed(trial=Trial(number=number, source="furnace", setting={"temperature": 300.0 + number}))


def observed(number: int) -> Observed:
    return Observed(trial=number, reading=Reading(values={"hardness": 1.0}))


def version_1(path, events):
    """A ledger as the first release wrote it."""
    with sqlite3.connect(path) as shell:
        for statement in MIGRATIONS[0]:
            shell.execute(statement)
        shell.execute("PRAGMA user_version = 1")
        shell.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        before = GENESIS
        for seq, event in enumerate(events, start=1):
            time, payload = f"2026-01-01T00:00:{seq:02}.000000+00:00", dump_event(event)
            before = row_hash(before, "a", seq=seq, time=time, kind=event.kind, payload=payload)
            number = event.trial.number if isinstance(event, Proposed) else getattr(event, "trial", None)
            row = ("a", seq, time, event.kind, number, payload, before)
            shell.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        shell.execute("INSERT INTO inbox VALUES (1, 'a', '2026-01-01T00:00:00Z', 1, ?, 3)", (dump_event(observed(1)),))
        shell.execute(
            "INSERT INTO inbox VALUES (2, 'a', '2026-01-01T00:00:00Z', 3, ?, NULL)", (dump_event(observed(3)),)
        )


def test_a_ledger_of_the_first_release_is_read_as_it_is_and_goes_on(path):
    failed = Failed(trial=2, cause="invalid", message="x")
    first = [Started(campaign={"name": "a"}), proposed(1), observed(1), proposed(2), failed, proposed(3)]
    version_1(path, first)
    as_it_is = [(t.state, t.attempt, t.asks) for t in ledger_reader.trials(path)]
    assert as_it_is == [("observed", 1, ""), ("failed", 1, ""), ("approved", 1, "")]
    assert ledger_audit.verify(path) == []
    with Ledger.open(path, "a") as ledger:
        (said,) = ledger.inbox()
        ledger.append(said)
        ledger.append(observed(2))
        assert [e.kind for e in ledger.events()][6:] == ["observed", "observed"]
        assert ledger.fence(["oven"]) == {"oven": 1}
    assert [t.state for t in ledger_reader.trials(path)] == ["observed", "late", "observed"]
    assert ledger_audit.verify(path) == []
