"""Laws of ``verify``: whatever is done to a ledger's rows is named, by the chain or by an anchor kept elsewhere."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import closedloop as cl
from closedloop.controller.errors import LedgerError
from closedloop.controller.evolve import evolve
from closedloop.controller.ledger.anchor import Anchor, read_anchor, write_anchor
from closedloop.controller.ledger.audit import audit, verify
from closedloop.controller.ledger.history import History
from closedloop.controller.ledger.schema import GENESIS, row_hash
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import (
    Acting,
    Approved,
    Assimilated,
    Failed,
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
)
from closedloop.controller.state import State

N_EVENTS = 36


def proposed(number: int, asks: str = "") -> Proposed:
    return Proposed(trial=Trial(number=number, source="s", setting={"x": number / 9}, cost={"trials": 1.0}), asks=asks)


def observed(number: int) -> Observed:
    return Observed(trial=number, reading=Reading(values={"y": 2.0 + number}))


def innovation(number: int) -> Innovation:
    return Innovation(trial=number, source="s", difference={"y": 0.1}, z={"y": 0.2})


def campaign(name: str = "anneal") -> list:
    """A few dozen events of many kinds."""
    events = [Started(campaign={"name": name}), Noted(text="the lamp is new – ü")]
    for n in (1, 2, 3, 4, 5, 6):
        events += [proposed(n), Acting(trial=n), observed(n), Assimilated(trials=(n,), belief={"k": n / 7})]
    events += [Paused(by="eva", reason="lunch"), Resumed(by="eva"), Quarantined(trial=2, by="eva", reason="a leak")]
    events += [proposed(7), Acting(trial=7), Failed(trial=7, cause="timeout", message="no answer")]
    return [*events, *(Noted(text=f"note {k}") for k in range(N_EVENTS - len(events) - 1)), Stopped(reason="budget")]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A whole ledger of two campaigns, as the real writer makes it."""
    path = tmp_path_factory.mktemp("whole") / "lab.db"
    for name in ("anneal", "quench"):
        with Ledger.open(path, name) as ledger:
            for event in campaign(name):
                ledger.append(event)
    with sqlite3.connect(path) as shell:
        shell.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shell.close()
    return path


@pytest.fixture
def path(template, tmp_path):
    return shutil.copy(template, tmp_path / "lab.db")


def anchor_of(path) -> Anchor:
    return Anchor(made=datetime.now(UTC), campaigns={a.campaign: a.head for a in audit(path)})


class Forger:
    """Somebody with a SQLite shell who knows the format."""

    def __init__(self, path) -> None:
        self.shell = sqlite3.connect(path, isolation_level=None)
        self.shell.execute("BEGIN")
        self.triggers = self.shell.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in self.triggers:
            self.shell.execute(f"DROP TRIGGER {name}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _, sql in self.triggers:  # so that the triggers give nothing away
            self.shell.execute(sql)
        self.shell.execute("COMMIT")
        self.shell.close()

    def rows(self):
        query = "SELECT seq, time, kind, trial, payload, hash FROM event WHERE campaign = 'anneal' ORDER BY seq"
        return [list(row) for row in self.shell.execute(query)]

    def write(self, rows):
        self.shell.execute("DELETE FROM event WHERE campaign = 'anneal'")
        self.shell.executemany("INSERT INTO event VALUES ('anneal', ?, ?, ?, ?, ?, ?)", rows)

    def rechain(self, rows, first=0, last=None):
        """The hashes of these rows made anew."""
        before = rows[first - 1][5] if first else GENESIS
        for row in rows[first:last]:
            seq, time, kind, _, payload, _ = row
            row[5] = before = row_hash(before, "anneal", seq=seq, time=time, kind=kind, payload=payload)


def found(path, anchor=None):
    (one,) = audit(path, "anneal", anchors=(anchor,) if anchor else ())
    return [(p.seq, p.text) for p in one.problems]


def letter(rng, text):
    """The text with one letter of a value changed, so that it still is JSON."""
    places = [k for k, c in enumerate(text) if c.isalnum() and c.isascii()]
    k = rng.choice(places)
    return text[:k] + ("x" if text[k] != "x" else "z") + text[k + 1 :]


def test_a_whole_ledger_has_no_problem_and_its_heads_are_told(path):
    one, two = audit(path)
    assert (one.campaign, one.n_events, one.problems) == ("anneal", N_EVENTS, ())
    assert (one.head.seq, two.head.seq) == (N_EVENTS, N_EVENTS)
    assert one.head.hash != two.head.hash
    assert verify(path, "anneal") == []


@pytest.mark.parametrize("is_raw", [False, True])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(k=st.integers(1, N_EVENTS), seed=st.integers(0, 2**16))
def test_a_changed_byte_of_a_payload_is_named_alone(template, tmp_path, is_raw, k, seed):
    path, rng = shutil.copy(template, tmp_path / "a.db"), random.Random(seed)
    with Forger(path) as forger:
        raw = bytearray(forger.rows()[k - 1][4].encode())
        raw[rng.randrange(len(raw))] ^= rng.choice([1, 2, 4, 128] if is_raw else [1])  # 128: no UTF-8 any more
        forger.shell.execute(
            "UPDATE event SET payload = CAST(? AS TEXT) WHERE campaign = 'anneal' AND seq = ?", (bytes(raw), k)
        )
    kind = campaign()[k - 1].kind
    assert found(path) == [(k, f"event {k} ({kind}) does not follow from event {k - 1}: changed or inserted")]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(k=st.integers(1, N_EVENTS), column=st.sampled_from(["time", "kind", "payload", "hash"]), seed=st.integers(0, 99))
def test_a_changed_cell_is_named(template, tmp_path, k, column, seed):
    path, rng = shutil.copy(template, tmp_path / "a.db"), random.Random(seed)
    with Forger(path) as forger:
        place = ["seq", "time", "kind", "trial", "payload", "hash"].index(column)
        rows = forger.rows()
        rows[k - 1][place] = rng.choice([letter(rng, rows[k - 1][place]), b"\xff", "", 7])
        forger.write(rows)
    assert found(path)[0][0] == k
    assert {seq for seq, _ in found(path)} <= {k, k + 1}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(1, N_EVENTS), n=st.integers(1, 5))
def test_removed_rows_are_named_and_at_the_end_the_anchor_names_them(template, tmp_path, first, n):
    path = shutil.copy(template, tmp_path / "a.db")
    anchor, last = anchor_of(path), min(first + n - 1, N_EVENTS)
    with Forger(path) as forger:
        forger.write([row for row in forger.rows() if not first <= row[0] <= last])
    said = f"event {first} is" if first == last else f"events {first} to {last} are"
    in_chain = [(first, f"{said} missing: removed")] if last < N_EVENTS else []
    assert found(path) == in_chain
    if not in_chain:
        ((seq, text),) = found(path, anchor)
        assert seq == N_EVENTS
        end = f"the ledger ends with event {first - 1}: cut off" if first > 1 else "not in the ledger: removed"
        assert end in text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=st.lists(st.integers(1, N_EVENTS), min_size=2, max_size=2, unique=True))
def test_swapped_rows_are_named_as_reordered(template, tmp_path, pair):
    path, (i, j) = shutil.copy(template, tmp_path / "a.db"), sorted(pair)
    with Forger(path) as forger:
        rows = forger.rows()
        rows[i - 1][0], rows[j - 1][0] = j, i
        forger.write(rows)
    said = dict(found(path))
    assert f"was written as event {j}: re-ordered" in said[i]
    assert f"was written as event {i}: re-ordered" in said[j]
    assert said.keys() <= {i, i + 1, j, j + 1}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(k=st.integers(1, N_EVENTS + 1), is_hashed=st.booleans())
def test_an_inserted_row_is_the_first_named(template, tmp_path, k, is_hashed):
    """With a hash of its own it does follow, and then the next row does not; at the end only the anchor tells."""
    path = shutil.copy(template, tmp_path / "a.db")
    with Forger(path) as forger:
        rows = forger.rows()
        forged = [k, rows[k - 2][1], "noted", None, '{"v":1,"kind":"noted","text":"x"}', "0" * 64]
        rows = [*rows[: k - 1], forged, *([seq + 1, *rest] for seq, *rest in rows[k - 1 :])]
        if is_hashed:
            forger.rechain(rows, k - 1, k)
        forger.write(rows)
    if not is_hashed:
        assert found(path)[0] == (k, f"event {k} (noted) does not follow from event {k - 1}: changed or inserted")
        assert all(f"was written as event {seq - 1}: re-ordered" in text for seq, text in found(path)[2:])
    elif k == 1:
        assert found(path)[0] == (
            1,
            "event 1 (noted): a campaign begins with 'started', so it cannot have happened: forged",
        )
    elif k <= N_EVENTS:
        assert found(path)[0][0] == k + 1
    else:
        assert found(path) == []  # an append, which any writer may do


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(k=st.integers(1, N_EVENTS), seed=st.integers(0, 2**16))
def test_a_row_with_a_hash_of_its_own_breaks_the_next_row(template, tmp_path, k, seed):
    path = shutil.copy(template, tmp_path / "a.db")
    anchor = anchor_of(path)
    with Forger(path) as forger:
        rows = forger.rows()
        rows[k - 1][4] = rows[k - 1][4].replace('"v":1', '"v": 1')
        forger.rechain(rows, k - 1, k)
        forger.write(rows)
    if k < N_EVENTS:
        kind = campaign()[k].kind
        assert found(path) == [(k + 1, f"event {k + 1} ({kind}) does not follow from event {k}: changed or inserted")]
    else:
        assert found(path) == []
        assert [seq for seq, _ in found(path, anchor)] == [N_EVENTS]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(k=st.integers(2, N_EVENTS), how=st.sampled_from(["change", "remove", "insert"]))
def test_a_chain_that_was_made_anew_is_found_by_the_anchor(template, tmp_path, k, how):
    path = shutil.copy(template, tmp_path / "a.db")
    anchor = anchor_of(path)
    with Forger(path) as forger:
        rows = forger.rows()
        if how == "change":
            rows[k - 1][4] = rows[k - 1][4].replace('"v":1', '"v": 1')
        elif how == "remove":
            del rows[k - 1]
        else:
            rows.insert(k - 1, [0, rows[k - 1][1], "noted", None, '{"kind":"noted","text":"x"}', ""])
        rows = [[seq, *row[1:]] for seq, row in enumerate(rows, 1)]
        forger.rechain(rows)
        forger.write(rows)
    if how != "remove":
        assert found(path) == []
    said = found(path, anchor)
    assert N_EVENTS in [seq for seq, _ in said]
    assert any("made anew" in text or "cut off" in text for _, text in said)


def test_a_ledger_may_grow_behind_its_anchor(path):
    anchor = anchor_of(path)
    with Ledger.open(path, "anneal") as ledger:
        ledger.append(Noted(text="more"))
    with Ledger.open(path, "temper") as ledger:
        ledger.append(Started(campaign={"name": "temper"}))
    assert [(a.campaign, a.problems) for a in audit(path, anchors=(anchor,))] == [
        ("anneal", ()),
        ("quench", ()),
        ("temper", ()),
    ]


def test_a_campaign_without_its_first_event_or_without_any_is_still_named(path):
    anchor = anchor_of(path)
    with Forger(path) as forger:
        forger.shell.execute("DELETE FROM event WHERE campaign = 'anneal' AND seq = 1")
        forger.shell.execute("DELETE FROM event WHERE campaign = 'quench'")
    assert [(a.campaign, [p.text for p in a.problems]) for a in audit(path)] == [
        ("anneal", ["event 1 is missing: removed"])
    ]
    gone = audit(path, anchors=(anchor,))[1]
    assert gone.campaign == "quench"
    assert "which is not in the ledger: removed" in gone.problems[0].text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TRIGGER event_is_dense", "trigger 'event_is_dense' was removed or changed"),
        ("DROP INDEX inbox_waiting", "index 'inbox_waiting' was removed or changed"),
        ("DROP VIEW decision", "view 'decision' was removed or changed"),
        ("CREATE TRIGGER mine AFTER INSERT ON event BEGIN SELECT 1; END", "trigger 'mine' is none of a ledger's"),
    ],
)
def test_a_schema_that_was_changed_is_named(path, change, said):
    with sqlite3.connect(path) as shell:
        shell.execute(change)
    assert [(p.seq, said in p.text) for p in verify(path, "anneal")] == [(None, True)]


def test_a_view_and_a_table_of_ones_own_are_nobodys_business(path):
    with sqlite3.connect(path) as shell:
        shell.execute("CREATE VIEW mine AS SELECT * FROM event")
        shell.execute("CREATE TABLE notes (x)")
        shell.execute("ANALYZE")
    assert verify(path, "anneal") == []


def test_a_changed_column_beside_the_payload_is_named(path):
    with Forger(path) as forger:
        forger.shell.execute("UPDATE event SET trial = 8 WHERE seq = 5 AND campaign = 'anneal'")
    assert [seq for seq, _ in found(path)] == [5]


def test_a_row_whose_number_is_none_is_named(path):
    with Forger(path) as forger:
        forger.shell.execute(
            "INSERT INTO event SELECT campaign, 'x', time, kind, NULL, payload, hash FROM event"
            " WHERE seq = 2 AND campaign = 'anneal'"
        )
    assert found(path) == [(None, "a row of 'anneal' has no number but 'x': inserted")]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([observed(1)], "event 2 (observed): trial 1 was never proposed"),
        (
            [proposed(1), proposed(2), Acting(trial=1), observed(1), observed(1)],
            "event 6 (observed): trial 1 was answered",
        ),
        ([Stopped(reason="x"), proposed(1)], "event 3 (proposed): the campaign was over"),
        ([proposed(1), Quarantined(trial=1, by="eva", reason="x")], "event 3 (quarantined): trial 1 is approved"),
        ([Assimilated(trials=(3,), belief={})], "event 2 (assimilated): trial 3 was never proposed"),
        ([proposed(1), Acting(trial=1, attempt=2)], "event 3 (acting): trial 1 is at attempt 1"),
        (['{"kind":"noted"}'], "event 2 (noted) cannot be read (noted.text: Field required)"),
        (['{"kind":"noted","text":"x","y":1}'], "event 2 (noted) cannot be read (noted.y: Extra inputs"),
        (["{"], "event 2 (noted) cannot be read (Invalid JSON"),
        (["[" * 5000], "event 2 (noted) cannot be read (Invalid JSON"),
    ],
)
def test_what_a_chain_cannot_tell_is_told(path, events, said):
    """A forger who makes the whole chain anew must still write a history that can have happened."""
    with Forger(path) as forger:
        rows = forger.rows()[:1]
        for seq, event in enumerate(events, 2):
            text = event if isinstance(event, str) else event.model_dump_json(exclude={"seq", "time", "letter"})
            kind = "noted" if isinstance(event, str) else event.kind
            trial = getattr(event, "trial", None)
            rows.append([seq, rows[0][1], kind, trial.number if isinstance(trial, Trial) else trial, text, ""])
        forger.rechain(rows)
        for (index,) in forger.shell.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql > ''"
        ).fetchall():
            forger.shell.execute(f"DROP INDEX {index}")
        forger.write(rows)
    assert said in next(text for seq, text in found(path) if seq)


TRIALS = st.integers(1, 3)
BY = {"by": "eva", "reason": "x"}
EVENTS = st.one_of(
    st.builds(proposed, TRIALS, st.sampled_from(["", "", "a person"])),
    st.builds(lambda n: Approved(trial=n, by="eva"), TRIALS),
    st.builds(lambda n: Refused(trial=n, **BY), TRIALS),
    st.builds(lambda n, k: Acting(trial=n, attempt=k), TRIALS, st.integers(1, 2)),
    st.builds(observed, TRIALS),
    st.builds(
        lambda n, cause, doubt: Failed(trial=n, cause=cause, message="x", is_in_doubt=doubt),
        TRIALS,
        st.sampled_from(["error", "invalid", "cancelled", "unknown"]),
        st.booleans(),
    ),
    st.builds(
        lambda n, outcome: Settled(trial=n, outcome=outcome, by="eva"),
        TRIALS,
        st.sampled_from(["not_started", "unknown", "rerun", "abandoned", "asked"]),
    ),
    st.builds(lambda n: Quarantined(trial=n, **BY), TRIALS),
    st.builds(lambda n: Restored(trial=n, by="eva"), TRIALS),
    st.builds(lambda n: Assimilated(trials=(n,), innovations=(innovation(n),), belief={}), TRIALS),
    st.just(Stopped(reason="x")),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(EVENTS, max_size=25), st.integers(0, 9))
def test_the_audit_takes_an_event_exactly_when_the_state_does(events, n_first):
    declared = cl.Campaign(
        name="a",
        parameters={"x": {"low": 0, "high": 1}},
        responses=["y"],
        sources={"s": {"instrument": "manual"}},
        goal={"maximize": "y"},
        budget={"trials": 30},
    )
    history, state = History(), State(declared)
    for event in [Started(campaign={}, key="k"), proposed(1), proposed(2, "a person")][: n_first or None] + events:
        stamped = event.model_copy(update={"seq": state.seq + 1})
        try:
            after, refusal = evolve(state, stamped), ""
        except (LedgerError, KeyError) as error:
            after, refusal = state, str(error)
        if stamped.seq == 1 and not isinstance(event, Started):
            return
        assert bool(history.tell(stamped)) == bool(refusal), (stamped, refusal)
        state = after


def test_what_is_found_is_bounded(path):
    """Rows that all moved by one are not told a thousand times, and the first is told."""
    with Ledger.open(path, "long") as ledger:
        ledger.append(Started(campaign={"name": "long"}))
        for k in range(300):
            ledger.append(Noted(text=str(k)))
    with Forger(path) as forger:
        forger.shell.execute("DELETE FROM event WHERE campaign = 'long' AND seq = 3")
        for seq in range(4, 302):
            forger.shell.execute("UPDATE event SET seq = ? WHERE campaign = 'long' AND seq = ?", (seq - 1, seq))
    (one,) = audit(path, "long")
    assert len(one.problems) < 100
    assert one.problems[0].seq == 3
    assert one.problems[-1].text.startswith("and 234 rows more are wrong")


def test_an_anchor_is_written_once_and_read_as_it_was(path, tmp_path):
    file = tmp_path / "anchor.json"
    heads = {a.campaign: a.head for a in audit(path)}
    assert write_anchor(file, heads) == read_anchor(file)
    data = json.loads(file.read_text())
    assert data["application_id"] == int.from_bytes(b"cloo", "big")
    assert data["campaigns"]["anneal"].keys() == {"seq", "hash", "time"}
    with pytest.raises(LedgerError, match="cannot be written .File exists"):
        write_anchor(file, heads)


def test_a_campaign_that_is_nowhere_is_named_with_those_that_are(path):
    with pytest.raises(LedgerError, match=r"there: anneal, quench"):
        audit(path, "temper")
    with pytest.raises(LedgerError, match="2 campaigns"):
        verify(path)


def test_a_damaged_page_is_found(path):
    data = bytearray(path.read_bytes())
    data[-4096:-2048] = bytes(2048)
    path.write_bytes(data)
    try:
        assert any(not a.is_whole for a in audit(path))
    except LedgerError as error:
        assert "cannot be read" in str(error)
