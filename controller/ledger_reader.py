"""Reading a ledger, by the standard library alone, so that read-only commands start at once.

Laws:
    * A reader never changes the file and never stops a writer; ``post`` is the one door for others' answers.
    * Nothing here imports sqlmodel, sqlalchemy, torch or ray.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import LedgerError
from .ledger_schema import GENESIS, TRIGGERS, check_identity, check_version, row_hash
from .records import AnyEvent, Failed, Observed, Started, dump_event, load_event

_BUSY_S = 5.0


@dataclass(frozen=True)
class Holder:
    """Who writes a campaign."""

    host: str
    pid: int
    started: datetime
    heartbeat: datetime


@dataclass(frozen=True)
class Problem:
    """What ``verify`` found; ``seq`` is None where it is not about one event."""

    seq: int | None
    text: str


@dataclass(frozen=True)
class ResponseRow:
    """One response of one trial: the view ``reading``."""

    response: str
    value: float
    sd: float | None
    forecast_mean: float | None
    forecast_sd: float | None
    z: float | None


@dataclass(frozen=True)
class TrialRow:
    """One trial: the view ``trial``, with its readings."""

    number: int
    source: str
    state: str  # running, observed or failed
    setting: dict[str, Any]
    achieved: dict[str, Any]
    cost: dict[str, float]
    proposed: datetime
    answered: datetime | None
    cause: str | None
    message: str | None
    readings: tuple[ResponseRow, ...] = ()


@contextmanager
def _open(path: str | Path, *, mode: str = "ro") -> Iterator[sqlite3.Connection]:
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise LedgerError(f"there is no ledger {file}; correct --ledger, or start a campaign with 'closedloop run'")
    try:
        with closing(sqlite3.connect(_uri(file, mode), uri=True, timeout=_BUSY_S)) as connection:
            connection.row_factory = sqlite3.Row
            _check(connection, file, mode)
            yield connection
    except sqlite3.Error as error:
        raise LedgerError(
            f"{file} cannot be read as a ledger ({error}); check that it is one, that you may read it "
            "and that its disk is well, or take it from your backup"
        ) from error


def _uri(file: Path, mode: str) -> str:
    has_wal = file.with_name(file.name + "-wal").exists()
    # Without a WAL nobody writes; where we may not make one either, SQLite needs to be told that.
    is_still = mode == "ro" and not has_wal and not os.access(file.parent, os.W_OK)
    return f"{file.as_uri()}?mode={mode}" + ("&immutable=1" if is_still else "")


def _check(connection: sqlite3.Connection, file: Path, mode: str) -> None:
    version = _pragma(connection, "user_version")
    n_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    check_identity(file, application_id=_pragma(connection, "application_id"), version=version, n_tables=n_tables)
    if not n_tables:
        raise LedgerError(f"{file} is empty: no campaign was ever begun in it; correct --ledger")
    if mode != "ro":
        check_version(file, version)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _campaigns(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT campaign FROM event WHERE seq = 1 ORDER BY time")
    return [row[0] for row in rows]


def _choose(connection: sqlite3.Connection, path: object, campaign: str | None) -> str:
    known = _campaigns(connection)
    listed = ", ".join(known) or "none"
    if campaign is None and len(known) == 1:
        return known[0]
    if campaign is None:
        raise LedgerError(f"{path} holds {len(known)} campaigns ({listed}); name one of them")
    if campaign not in known:
        raise LedgerError(f"campaign {campaign!r} is not in {path} (there: {listed}); correct the name or --ledger")
    return campaign


def campaigns(path: str | Path) -> list[str]:
    """The names of all campaigns, oldest first."""
    with _open(path) as connection:
        return _campaigns(connection)


def events(path: str | Path, campaign: str | None = None) -> list[AnyEvent]:
    """All events of a campaign; it need not be named where there is only one."""
    with _open(path) as connection:
        name = _choose(connection, path, campaign)
        rows = connection.execute(
            "SELECT payload, seq, time FROM event WHERE campaign = ? ORDER BY seq", (name,)
        ).fetchall()
    return [load_event(p, seq=seq, time=datetime.fromisoformat(time)) for p, seq, time in rows]


def started(path: str | Path, campaign: str | None = None) -> Started:
    """The event that began a campaign: the declaration stands in it."""
    with _open(path) as connection:
        name = _choose(connection, path, campaign)
        payload, seq, time = connection.execute(
            "SELECT payload, seq, time FROM event WHERE campaign = ? AND seq = 1", (name,)
        ).fetchone()
    event = load_event(payload, seq=seq, time=datetime.fromisoformat(time))
    if not isinstance(event, Started):
        raise LedgerError(f"campaign {name!r} in {path} begins with {event.kind!r}, not 'started'; run 'verify'")
    return event


def trials(path: str | Path, campaign: str | None = None) -> list[TrialRow]:
    """One row a trial, with its readings, in order of number."""
    with _open(path) as connection:
        name = _choose(connection, path, campaign)
        readings: dict[int, list[ResponseRow]] = {}
        for row in connection.execute("SELECT * FROM reading WHERE campaign = ? ORDER BY trial", (name,)):
            cells = {k: row[k] for k in ResponseRow.__dataclass_fields__}
            readings.setdefault(row["trial"], []).append(ResponseRow(**cells))
        rows = connection.execute("SELECT * FROM trial WHERE campaign = ? ORDER BY number", (name,)).fetchall()
    return [_trial_row(row, tuple(readings.get(row["number"], ()))) for row in rows]


def _trial_row(row: sqlite3.Row, readings: tuple[ResponseRow, ...]) -> TrialRow:
    return TrialRow(
        number=row["number"],
        source=row["source"],
        state=row["state"],
        setting=json.loads(row["setting"]),
        achieved=json.loads(row["achieved"] or "{}"),
        cost=json.loads(row["cost"]),
        proposed=datetime.fromisoformat(row["proposed"]),
        answered=datetime.fromisoformat(row["answered"]) if row["answered"] else None,
        cause=row["cause"],
        message=row["message"],
        readings=readings,
    )


def lease(path: str | Path, campaign: str | None = None) -> Holder | None:
    """Who holds the campaign's lease, or None. A holder that died still stands here until the next writer."""
    with _open(path) as connection:
        name = _choose(connection, path, campaign)
        row = connection.execute(
            "SELECT host, pid, started, heartbeat FROM lease WHERE campaign = ?", (name,)
        ).fetchone()
    if row is None:
        return None
    host, pid, since, beat = row
    return Holder(host, pid, datetime.fromisoformat(since), datetime.fromisoformat(beat))


def post(path: str | Path, campaign: str | None, event: Observed | Failed) -> int:
    """Leave an answer for the controller that holds the lease; it enters by the controller's ``append``.

    Returns:
        The message's number in the inbox.

    Raises:
        LedgerError: if the trial was never proposed or is answered already.
    """
    with _open(path, mode="rw") as connection:
        name = _choose(connection, path, campaign)
        connection.execute("PRAGMA synchronous = FULL")
        connection.isolation_level = None
        connection.execute("BEGIN IMMEDIATE")
        _check_open(connection, name, event.trial)
        cursor = connection.execute(
            "INSERT INTO inbox (campaign, time, trial, payload) VALUES (?, ?, ?, ?)",
            (name, datetime.now(UTC).isoformat(timespec="microseconds"), event.trial, dump_event(event)),
        )
        connection.execute("COMMIT")
    return int(cursor.lastrowid or 0)


def _check_open(connection: sqlite3.Connection, campaign: str, trial: int) -> None:
    query = "SELECT number, state, source, proposed_by FROM trial WHERE campaign = ?"
    rows = {row["number"]: row for row in connection.execute(query, (campaign,))}
    states = {number: row["state"] for number, row in rows.items()}
    if states.get(trial) != "running":
        waiting = ", ".join(str(n) for n, state in sorted(states.items()) if state == "running") or "none"
        raise LedgerError(
            f"trial {trial} of campaign {campaign!r} is {states.get(trial, 'not proposed')}, so it takes no "
            f"answer (trials that wait for one: {waiting}); correct the number"
        )
    source = rows[trial]["source"]
    if rows[trial]["proposed_by"] == "agent" and not _is_manual(connection, campaign, source):
        raise LedgerError(
            f"trial {trial} of campaign {campaign!r} runs on {source!r}, which answers by itself; only trials of a "
            "manual instrument, or those that were asked for with 'suggest', are ingested"
        )


def _is_manual(connection: sqlite3.Connection, campaign: str, source: str) -> bool:
    """Whether a person answers for it, as far as the declaration tells; a campaign without one is trusted."""
    query = "SELECT payload ->> ? FROM event WHERE campaign = ? AND kind = 'started'"
    row = connection.execute(query, (f'$.campaign.sources."{source}".instrument', campaign)).fetchone()
    simulator = connection.execute(query, (f'$.campaign.sources."{source}".simulator', campaign)).fetchone()
    target = (row and row[0]) or (simulator and simulator[0])
    return target is None or target.lower().split(":")[-1] == "manual"


def verify(path: str | Path, campaign: str | None = None) -> list[Problem]:
    """All that is wrong with a campaign's rows and with the file; an empty list is good news.

    A row cut from the very end leaves no gap; compare the last hash with a copy kept elsewhere for that.
    """
    with _open(path) as connection:
        name = _choose(connection, path, campaign)
        rows = connection.execute("SELECT * FROM event WHERE campaign = ? ORDER BY seq", (name,)).fetchall()
        integrity = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        there = {row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'")}
    missing = [sql.split()[2] for sql in TRIGGERS if sql not in there]
    return [
        *sorted(_chain_problems(rows), key=lambda problem: problem.seq or 0),
        *(Problem(None, f"trigger {t!r} was removed or changed: rows could be altered") for t in missing),
        *(Problem(None, f"integrity_check: {text}") for text in integrity if text != "ok"),
    ]


def _chain_problems(rows: list[sqlite3.Row]) -> Iterator[Problem]:
    before, last = GENESIS, 0
    broken: list[tuple[sqlite3.Row, str]] = []
    for row in rows:
        if row["seq"] > last + 1:
            gap = f"event {last + 1} is" if row["seq"] == last + 2 else f"events {last + 1} to {row['seq'] - 1} are"
            yield Problem(last + 1, f"{gap} missing: removed")
        elif _hash(row, before) != row["hash"]:
            broken.append((row, before))
        elif text := _column_problem(row):
            yield Problem(row["seq"], text)
        before, last = row["hash"], row["seq"]
    for row, _ in broken:
        yield Problem(row["seq"], _explain(row, [h for r, b in broken for h in (b, r["hash"])][:64], broken))


def _hash(row: sqlite3.Row, before: str, seq: int | None = None) -> str:
    cells = {name: row[name] for name in ("campaign", "time", "kind", "payload")}
    return row_hash(before, seq=row["seq"] if seq is None else seq, **cells)


def _column_problem(row: sqlite3.Row) -> str | None:
    payload = json.loads(row["payload"])
    trial = payload.get("trial")
    number = trial["number"] if isinstance(trial, dict) else trial
    if (payload["kind"], number) == (row["kind"], row["trial"]):
        return None
    return f"event {row['seq']}: the columns kind and trial do not say what its payload says: changed"


def _explain(row: sqlite3.Row, befores: list[str], broken: list[tuple[sqlite3.Row, str]]) -> str:
    seq = row["seq"]
    near = {seq - 1, seq + 1} | {r["seq"] for r, _ in broken[:16]}
    for place in sorted(near - {seq}):
        if any(_hash(row, before, place) == row["hash"] for before in befores):
            return f"event {seq} ({row['kind']}) was written as event {place}: re-ordered"
    return f"event {seq} ({row['kind']}) does not follow from event {seq - 1}: changed or inserted"
