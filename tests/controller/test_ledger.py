"""Laws of the writer: dense, stamped, exact, one writer, the inbox neither loses nor doubles."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from closedloop.controller import ledger_lease, ledger_reader
from closedloop.controller.errors import LeaseHeld, LedgerError
from closedloop.controller.ledger import EventRow, InboxRow, Ledger
from closedloop.controller.ledger_schema import MIGRATIONS, row_hash
from closedloop.controller.records import (
    Assimilated,
    Failed,
    Forecast,
    Innovation,
    Noted,
    Observed,
    Proposed,
    Reading,
    Started,
    Stopped,
    Trial,
    Why,
)


def proposed(number: int, **fields) -> Proposed:
    return Proposed(trial=Trial(number=number, source="furnace", setting={"temperature": 300.0 + number}, **fields))


def observed(number: int, value: float = 1.0) -> Observed:
    return Observed(trial=number, reading=Reading(values={"hardness": value}))


EVERY_KIND = [
    Started(campaign={"name": "anneal", "seed": 7}, provenance={"version": "0.1"}),
    proposed(
        1,
        forecast=Forecast(mean={"hardness": 0.5}, sd={"hardness": 0.25}),
        why=Why(text="ü – first", gain=0.1),
    ),
    observed(1),
    Assimilated(
        trials=(1,),
        innovations=(Innovation(trial=1, source="furnace", difference={"hardness": 0.5}, z={"hardness": 2.0}),),
        belief={"noise": 1e-3, "deep": {"list": [1, 2.5, "x", None]}},
    ),
    proposed(2),
    Failed(trial=2, cause="timeout", message="no answer"),
    Noted(text="the lamp was changed"),
    Stopped(reason="budget spent", figures={"money": 2.0}),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lab of mine.db"


def test_what_was_appended_is_read_back_exactly(path):
    with Ledger.open(path, "anneal") as ledger:
        stamped = [ledger.append(event) for event in EVERY_KIND]
        assert ledger.events() == stamped
    with Ledger.open(path, "anneal") as ledger:
        assert ledger.events() == stamped
    assert ledger_reader.events(path) == stamped
    assert [e.model_copy(update={"seq": 0, "time": None}) for e in stamped] == EVERY_KIND


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.text(alphabet=st.characters(exclude_categories=["Cs"])),
            st.floats(allow_nan=False, allow_infinity=False),
        )
    )
)
def test_any_text_and_any_float_survive(tmp_path_factory, pairs):
    path = tmp_path_factory.mktemp("any") / "l.db"
    events = [Stopped(reason=text, figures={text: x}) for text, x in pairs]
    with Ledger.open(path, "c") as ledger:
        stamped = [ledger.append(e) for e in events]
    if stamped:
        assert ledger_reader.events(path) == stamped
        assert ledger_reader.verify(path) == []


def test_seq_is_dense_from_one_and_time_is_aware_utc(path):
    before = datetime.now(UTC)
    with Ledger.open(path, "a") as one, Ledger.open(path, "b") as other:
        seqs = [(one.append(Noted(text=str(k))).seq, other.append(Noted(text=str(k))).seq) for k in range(20)]
        last = one.append(Noted(text="last"))
    assert seqs == [(k, k) for k in range(1, 21)]
    assert last.time.utcoffset() == timedelta(0)
    assert before <= last.time <= datetime.now(UTC)


def test_threads_of_one_writer_take_turns(path):
    with Ledger.open(path, "a") as ledger:
        threads = [
            threading.Thread(target=lambda: [ledger.append(Noted(text="x")) for _ in range(25)]) for _ in range(4)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert [e.seq for e in ledger.events()] == list(range(1, 101))


@pytest.mark.parametrize("second", [proposed(1), observed(1), Failed(trial=1, cause="error", message="x")])
def test_a_trial_is_proposed_once_and_answered_once(path, second):
    with Ledger.open(path, "a") as ledger:
        ledger.append(proposed(1))
        ledger.append(observed(1))
        with pytest.raises(LedgerError, match="proposed once and answered once"):
            ledger.append(second)
        assert ledger.append(Noted(text="goes on")).seq == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET payload = '{}' WHERE seq = 1",
        "DELETE FROM event",
        "INSERT INTO event VALUES ('a', 5, '', 'noted', NULL, '{}', '')",
        "INSERT OR REPLACE INTO event VALUES ('a', 1, '', 'noted', NULL, '{}', '')",
    ],
)
def test_the_file_itself_refuses_to_be_rewritten(path, statement):
    with Ledger.open(path, "a") as ledger:
        ledger.append(Noted(text="x"))
    with sqlite3.connect(path) as shell, pytest.raises(sqlite3.IntegrityError, match="an event"):
        shell.execute(statement)


def test_the_hash_tells_apart_what_would_read_alike():
    cells = {"seq": 1, "time": "t", "kind": "k"}
    assert row_hash("", "ab", payload="c", **cells) != row_hash("", "a", payload="bc", **cells)


def test_the_classes_and_the_migrated_tables_agree(path):
    Ledger.open(path, "a").close()
    with sqlite3.connect(path) as shell:
        for row in (EventRow, InboxRow, ledger_lease.LeaseRow):
            columns = [c[1] for c in shell.execute(f"PRAGMA table_info({row.__tablename__})")]
            assert columns == list(row.model_fields)


def test_an_older_file_is_brought_up_to_date_and_keeps_its_events(path, monkeypatch):
    with Ledger.open(path, "a") as ledger:
        stamped = ledger.append(Noted(text="old"))
    monkeypatch.setattr("closedloop.controller.ledger_file.MIGRATIONS", [*MIGRATIONS, ("CREATE TABLE later (x)",)])
    monkeypatch.setattr("closedloop.controller.ledger_schema.MIGRATIONS", [*MIGRATIONS, ()])
    with Ledger.open(path, "a") as ledger:
        assert ledger.events() == [stamped]
    with sqlite3.connect(path) as shell:
        assert shell.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
        assert shell.execute("SELECT count(*) FROM later").fetchone() == (0,)


def _overwrite_lease(path, **cells):
    with sqlite3.connect(path) as shell:
        shell.execute(f"UPDATE lease SET {', '.join(f'{k} = ?' for k in cells)}", tuple(cells.values()))


def test_the_lease_is_given_back_on_close(path):
    Ledger.open(path, "a").close()
    with Ledger.open(path, "a") as ledger:
        ledger.append(Noted(text="mine"))
        assert ledger_reader.lease(path).pid > 0
    assert ledger_reader.lease(path) is None


@pytest.mark.parametrize(("silence_s", "is_refused"), [(50, True), (70, False)])
def test_a_holder_elsewhere_is_given_up_after_a_minute_of_silence(path, silence_s, is_refused):
    ledger = Ledger.open(path, "a")
    beat = (datetime.now(UTC) - timedelta(seconds=silence_s)).isoformat(timespec="microseconds")
    _overwrite_lease(path, host="elsewhere", heartbeat=beat)
    if is_refused:
        with pytest.raises(LeaseHeld, match="elsewhere"):
            Ledger.open(path, "a")
    else:
        Ledger.open(path, "a").close()
    ledger.close()


def test_who_lost_the_lease_writes_nothing_more(path):
    late = Ledger.open(path, "a")
    late.append(Noted(text="before"))
    _overwrite_lease(path, born=0.0)  # as if the holder's process had died
    with Ledger.open(path, "a") as ledger:
        ledger.append(Noted(text="the new writer's"))
        with pytest.raises(LedgerError, match="lost the lease"):
            late.append(Noted(text="too late"))
        assert [e.text for e in ledger.events()] == ["before", "the new writer's"]
        late.close()
        assert ledger.append(Noted(text="still the holder")).seq == 3


def test_the_heart_beats(path, monkeypatch):
    monkeypatch.setattr(ledger_lease, "BEAT_S", 0.05)
    with Ledger.open(path, "a") as ledger:
        ledger.append(Noted(text="x"))
        first = ledger_reader.lease(path).heartbeat
        beats = (ledger_reader.lease(path).heartbeat for _ in iter(lambda: threading.Event().wait(0.02), None))
        assert next(b for b in beats if b > first)


def test_an_answer_that_was_posted_is_given_out_once_and_settled_by_its_event(path):
    with Ledger.open(path, "a") as ledger:
        ledger.append(proposed(1))
        ledger_reader.post(path, "a", observed(1, 5.0))
        ledger_reader.post(path, "a", observed(1, 6.0))
        (event,) = ledger.inbox()
        assert (event.reading.values, ledger.inbox()) == ({"hardness": 5.0}, [])
        answer = ledger.append(event)
        assert ledger.inbox() == []
    with sqlite3.connect(path) as shell:
        assert shell.execute("SELECT taken FROM inbox").fetchall() == [(answer.seq,), (answer.seq,)]


def test_a_crash_before_the_append_gives_the_answer_out_again_and_after_it_never(path):
    with Ledger.open(path, "a") as ledger:
        ledger.append(proposed(1))
        ledger_reader.post(path, "a", observed(1, 5.0))
        assert len(ledger.inbox()) == 1  # and then the controller dies
    with Ledger.open(path, "a") as ledger:
        (event,) = ledger.inbox()
        ledger.append(event)  # and dies again, before the message was marked
    with Ledger.open(path, "a") as ledger:
        assert ledger.inbox() == []
        assert [e.kind for e in ledger.events()] == ["proposed", "observed"]


def test_a_message_that_is_no_answer_becomes_a_note(path):
    with Ledger.open(path, "a") as ledger:
        ledger.append(proposed(1))
        with sqlite3.connect(path) as shell:
            shell.execute("INSERT INTO inbox (campaign, time, trial, payload) VALUES ('a', '2026', 1, 'nonsense')")
        (event,) = ledger.inbox()
        assert (event.kind, ledger.inbox()) == ("noted", [])
        assert "set aside" in event.text
