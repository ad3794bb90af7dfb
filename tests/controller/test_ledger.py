"""Laws of the writer: dense, stamped, exact, one writer, the inbox neither loses nor doubles."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from closedloop.controller.errors import LeaseHeld, LedgerError
from closedloop.controller.ledger import audit as ledger_audit
from closedloop.controller.ledger import lease as ledger_lease
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.ledger.schema import MIGRATIONS, row_hash
from closedloop.controller.ledger.writer import EventRow, InboxRow, Ledger
from closedloop.controller.records import (
    Acting,
    Amended,
    Approved,
    Assimilated,
    Ending,
    Failed,
    Forecast,
    Innovation,
    Noted,
    Observed,
    Paused,
    Proposed,
    Quarantined,
    Reading,
    Refused,
    Restored,
    Resumed,
    Settled,
    Started,
    Stopped,
    Trial,
    Why,
    dump_event,
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
    events = [Started(campaign={"name": "c"}), *(Stopped(reason=text, figures={text: x}) for text, x in pairs)]
    with Ledger.open(path, "c") as ledger:
        stamped = [ledger.append(e) for e in events]
    assert ledger_reader.events(path) == stamped
    assert ledger_audit.verify(path) == []


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


@pytest.mark.parametrize("second", [proposed(1), observed(1)])
def test_a_trial_is_proposed_once_and_observed_once(path, second):
    with Ledger.open(path, "a") as ledger:
        ledger.append(proposed(1))
        ledger.append(observed(1))
        with pytest.raises(LedgerError, match="proposed once and observed once"):
            ledger.append(second)
        assert ledger.append(Noted(text="goes on")).seq == 3


def test_a_trial_may_fail_be_run_again_and_be_observed_late(path):
    life = [
        proposed(1),
        Acting(trial=1),
        Failed(trial=1, cause="timeout", message="x", is_in_doubt=True),
        Settled(trial=1, outcome="rerun", by="rule"),
        Acting(trial=1, attempt=2),
        Failed(trial=1, cause="crashed", message="y", is_in_doubt=True),
        observed(1),
    ]
    with Ledger.open(path, "a") as ledger:
        assert [ledger.append(e).seq for e in life] == list(range(1, 8))
    with sqlite3.connect(path) as shell:
        assert shell.execute("SELECT DISTINCT trial FROM event").fetchall() == [(1,)]


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
        for row in (EventRow, InboxRow, ledger_lease.LeaseRow, ledger_lease.FenceRow):
            columns = [c[1] for c in shell.execute(f"PRAGMA table_info({row.__tablename__})")]
            assert columns == list(row.model_fields)


def test_an_older_file_is_brought_up_to_date_and_keeps_its_events(path, monkeypatch):
    with Ledger.open(path, "a") as ledger:
        stamped = ledger.append(Noted(text="old"))
    monkeypatch.setattr("closedloop.controller.ledger.file.MIGRATIONS", [*MIGRATIONS, ("CREATE TABLE later (x)",)])
    monkeypatch.setattr("closedloop.controller.ledger.schema.MIGRATIONS", [*MIGRATIONS, ()])
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


LETTERS = [
    observed(1, 5.0),
    Failed(trial=1, cause="error", message="x"),
    Approved(trial=2, by="ann", setting={"temperature": 1.0}),
    Refused(trial=2, by="ann", reason="hot"),
    Settled(trial=3, outcome="rerun", by="ann"),
    Quarantined(trial=4, by="ann", reason="lamp off"),
    Restored(trial=5, by="ann"),
    Paused(by="ann", reason="lunch"),
    Resumed(by="ann"),
    Ending(by="ann", mode="abort"),
    Amended(by="ann", changes={"budget.money": 400}),
]


def leave_letters(path):
    """One of each kind, each to a trial to which it may happen."""
    with Ledger.open(path, "a") as ledger:
        ledger.append(Started(campaign={"name": "a"}))
        for number in range(1, 6):
            asks = "hot" if number == 2 else ""
            ledger.append(Proposed(trial=Trial(number=number, source="furnace", setting={}), asks=asks))
        ledger.append(Failed(trial=3, cause="timeout", message="x", is_in_doubt=True))
        ledger.append(observed(4))
        ledger.append(observed(5))
        ledger.append(Quarantined(trial=5, by="agent", reason="far off"))
    return [ledger_reader.post(path, "a", letter) for letter in LETTERS]


def taken(path):
    with sqlite3.connect(path) as shell:
        return shell.execute("SELECT id, taken FROM inbox ORDER BY id").fetchall()


def test_each_letter_is_given_out_once_as_what_was_said_and_is_taken_by_the_event_it_became(path):
    ids = leave_letters(path)
    with Ledger.open(path, "a") as ledger:
        said = ledger.inbox()
        assert [(e.letter, e.model_copy(update={"letter": None, "time": None})) for e in said] == list(
            zip(ids, LETTERS, strict=True)
        )
        assert ledger.inbox() == []
        ledger_reader.post(path, "a", Paused(by="ann", reason="tea"))
        assert [e.kind for e in ledger.inbox()] == ["paused"]
        became = [ledger.append(said[0]), ledger.append(Noted(text="not so", letter=said[1].letter))]
        assert taken(path)[:3] == [(ids[0], became[0].seq), (ids[1], became[1].seq), (ids[2], None)]
        assert ledger.events()[-2:] == became == ledger_reader.events(path)[-2:]
    with Ledger.open(path, "a") as ledger:  # what was not taken is given out again
        assert [e.letter for e in ledger.inbox()] == [*ids[2:], ids[-1] + 1]


def test_a_letter_enters_once(path):
    leave_letters(path)
    with Ledger.open(path, "a") as ledger:
        said = ledger.inbox()[7]
        ledger.append(said)
        n = len(ledger.events())
        with pytest.raises(LedgerError, match="letter 8 is not waiting"):
            ledger.append(said)
        assert len(ledger.events()) == n
        assert ledger.append(Noted(text="goes on")).seq == n + 1


def test_the_event_and_the_mark_of_its_letter_are_one_transaction(path):
    """The process dies at any statement of the append: either both are there, or neither."""
    leave_letters(path)
    for cut in range(1, 9):
        child = os.fork()
        if child == 0:
            ledger = Ledger.open(path, "a")
            (said, *_) = [e for e in ledger.inbox() if e.kind in ("paused", "noted")] or [None]
            n = 0

            def count(statement: str) -> None:
                nonlocal n
                n += 1
                if n == cut:
                    os.kill(os.getpid(), signal.SIGKILL)

            ledger._driver.set_trace_callback(count)
            ledger.append(said or Noted(text="nothing left"))
            os._exit(0)
        os.waitpid(child, 0)
        n_paused = sum(e.kind == "paused" for e in ledger_reader.events(path))
        marked = dict(taken(path))[8]
        assert n_paused == (marked is not None)
        assert marked is None or ledger_reader.events(path)[marked - 1].kind == "paused"
    assert dict(taken(path))[8] is not None


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("nonsense", "no event"),
        ('{"kind":"observed","trial":1,"reading":{"values":{"y":NaN}}}', "no event"),
        (dump_event(proposed(9)), "only a controller may say"),
    ],
)
def test_a_letter_that_nobody_may_write_becomes_a_note_and_is_taken_by_it(path, payload, said):
    with Ledger.open(path, "a") as ledger:
        ledger.append(proposed(1))
        with sqlite3.connect(path) as shell:
            shell.execute(
                "INSERT INTO inbox (campaign, time, trial, payload) VALUES ('a', '2026-01-01T00:00:00Z', 1, ?)",
                (payload,),
            )
        (event,) = ledger.inbox()
        assert (event.kind, ledger.inbox()) == ("noted", [])
        assert said in event.text
        ledger.append(event)
    assert taken(path) == [(1, 2)]


def test_a_device_has_one_campaign_and_its_token_only_grows(path):
    with Ledger.open(path, "a") as one, Ledger.open(path, "b") as other:
        assert one.fence(["oven", "pump", "oven"]) == {"oven": 1, "pump": 1}
        with pytest.raises(LeaseHeld, match=rf"'pump' is commanded by campaign 'a', process {os.getpid()} .* since 20"):
            other.fence(["stirrer", "pump"])
        assert other.fence(["stirrer"]) == {"stirrer": 1}  # all or none: the refusal left no trace
        assert one.fence(["pump"]) == {"pump": 2}
        one.close()
        assert other.fence(["pump", "oven"]) == {"pump": 3, "oven": 2}


def test_the_devices_of_a_dead_controller_are_free_and_it_cannot_take_them_back(path):
    late = Ledger.open(path, "a")
    late.fence(["oven"])
    with Ledger.open(path, "b") as other:
        with sqlite3.connect(path) as shell:
            shell.execute("UPDATE lease SET born = 0.0 WHERE campaign = 'a'")  # as if the holder's process had died
        assert other.fence(["oven"]) == {"oven": 2}
        with Ledger.open(path, "a") as again:
            with pytest.raises(LedgerError, match="lost the lease"):
                late.fence(["oven"])
            with pytest.raises(LeaseHeld, match="campaign 'b'"):
                again.fence(["oven"])
    late.close()
