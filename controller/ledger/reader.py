"""Reading a ledger, by the standard library alone, so that read-only commands start at once.

Laws:
    * A reader never changes the file and never stops a writer; ``post`` is the one door for others' words.
    * Nothing here imports sqlmodel, sqlalchemy, torch or ray.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import LedgerError
from ..lifecycle import RUNNING, Status, TrialEvent, after
from ..records import AnyEvent, Approved, Failed, Observed, Refused, Started, dump_event, load_event
from .rows import letters_of, loaded, uncollected
from .schema import LETTER_KINDS, check_identity, check_version

_BUSY_S = 5.0


@dataclass(frozen=True)
class Holder:
    """Who writes a campaign."""

    host: str
    pid: int
    started: datetime
    heartbeat: datetime


@dataclass(frozen=True)
class ResponseRow:
    """One response of one trial: the view ``reading``."""

    response: str
    value: float
    sd: float | None
    forecast_mean: float | None
    forecast_sd: float | None
    z: float | None
    is_set_aside: bool = False  # it was quarantined, and counts for nothing


@dataclass(frozen=True)
class TrialRow:
    """One trial: the view ``trial``, with its readings."""

    number: int
    source: str
    state: str  # as in ``lifecycle``
    setting: dict[str, Any]
    achieved: dict[str, Any]
    cost: dict[str, float]
    proposed: datetime
    answered: datetime | None
    cause: str | None
    message: str | None
    readings: tuple[ResponseRow, ...] = ()
    attempt: int = 1
    asks: str = ""  # why a person had to approve it
    approved_by: str | None = None


@contextmanager
def opened(path: str | Path, *, mode: str = "ro") -> Iterator[sqlite3.Connection]:
    """A connection to a ledger, for the other files that hold SQL.

    Raises:
        LedgerError: if there is none, or SQLite cannot read it.
    """
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
    # Without a WAL nobody writes; where we may not make one either, SQLite needs to be told that. A file that keeps a
    # rollback journal can be read as it is.
    is_still = mode == "ro" and not has_wal and not os.access(file.parent, os.W_OK) and _keeps_wal(file)
    return f"{file.as_uri()}?mode={mode}" + ("&immutable=1" if is_still else "")


def _keeps_wal(file: Path) -> bool:
    """Byte 18 of a SQLite file: 2 where it has a write-ahead log."""
    with file.open("rb") as stream:
        return stream.read(19)[18:] == b"\x02"


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
    """One step of the index a campaign: a ledger may have a million events."""
    query = """WITH RECURSIVE name(x) AS (
        SELECT min(campaign) FROM event
        UNION ALL SELECT (SELECT min(campaign) FROM event WHERE campaign > x) FROM name WHERE x IS NOT NULL)
        SELECT x FROM name JOIN event ON campaign = x AND seq = 1 ORDER BY time"""
    return [row[0] for row in connection.execute(query)]


def choose(connection: sqlite3.Connection, path: object, campaign: str | None) -> str:
    """The campaign of that name, or the only one.

    Raises:
        LedgerError: if it is not there, or there are several and none is named.
    """
    known = _campaigns(connection)
    listed = ", ".join(known) or "none"
    if campaign is None and len(known) == 1:
        return known[0]
    if campaign is None:
        raise LedgerError(f"{path} holds {len(known)} campaigns ({listed}); name one of them")
    if campaign not in known:
        raise LedgerError(f"campaign {campaign!r} is not in {path} (there: {listed}); correct the name or --ledger")
    return campaign


def sqlite_version() -> str:
    """The version of SQLite that this process reads with."""
    return sqlite3.sqlite_version


def campaigns(path: str | Path) -> list[str]:
    """The names of all campaigns, oldest first."""
    with opened(path) as connection:
        return _campaigns(connection)


def events(path: str | Path, campaign: str | None = None, *, after_seq: int = 0) -> list[AnyEvent]:
    """All events of a campaign, or those after one; it need not be named where there is only one."""
    with uncollected():
        return list(stream(path, campaign, after_seq=after_seq))


def stream(path: str | Path, campaign: str | None = None, *, after_seq: int = 0) -> Iterator[AnyEvent]:
    """The same one by one, all of one moment, for ledgers that do not fit into memory."""
    query = "SELECT payload, seq, time FROM event WHERE campaign = ? AND seq > ? ORDER BY seq"
    with opened(path) as connection:
        name = choose(connection, path, campaign)
        connection.row_factory = None
        connection.execute("BEGIN")
        letters = letters_of(connection, name)
        yield from loaded(connection.execute(query, (name, after_seq)), letters)


def started(path: str | Path, campaign: str | None = None) -> Started:
    """The event that began a campaign: the declaration stands in it."""
    with opened(path) as connection:
        name = choose(connection, path, campaign)
        payload, seq, time = connection.execute(
            "SELECT payload, seq, time FROM event WHERE campaign = ? AND seq = 1", (name,)
        ).fetchone()
    event = load_event(payload, seq=seq, time=datetime.fromisoformat(time))
    if not isinstance(event, Started):
        raise LedgerError(f"campaign {name!r} in {path} begins with {event.kind!r}, not 'started'; run 'verify'")
    return event


def declaration(path: str | Path, campaign: str | None = None) -> dict[str, Any]:
    """The declaration of a campaign as it was last amended."""
    query = """SELECT payload -> '$.campaign' FROM event WHERE campaign = ? AND kind IN ('started', 'amended')
        ORDER BY seq DESC LIMIT 1"""
    with opened(path) as connection:
        (text,) = connection.execute(query, (choose(connection, path, campaign),)).fetchone()
    declared: dict[str, Any] = json.loads(text)
    return declared


def trials(path: str | Path, campaign: str | None = None) -> list[TrialRow]:
    """One row a trial, with its readings, in order of number."""
    with opened(path) as connection:
        name = choose(connection, path, campaign)
        connection.execute("BEGIN")
        readings: dict[int, list[ResponseRow]] = {}
        for row in connection.execute("SELECT * FROM reading WHERE campaign = ? ORDER BY seq", (name,)):
            readings.setdefault(row["trial"], []).append(_response_row(dict(row)))
        rows = connection.execute("SELECT * FROM trial WHERE campaign = ? ORDER BY number", (name,)).fetchall()
    return [_trial_row(dict(row), tuple(readings.get(row["number"], ()))) for row in rows]


def _response_row(row: dict[str, Any]) -> ResponseRow:
    cells = {k: row[k] for k in ("response", "value", "sd", "forecast_mean", "forecast_sd", "z")}
    return ResponseRow(**cells, is_set_aside=bool(row.get("is_set_aside")))  # a ledger of schema 1 has no such column


def _trial_row(row: dict[str, Any], readings: tuple[ResponseRow, ...]) -> TrialRow:
    return TrialRow(
        number=row["number"],
        source=row["source"],
        state=_state(row),
        setting=json.loads(row["setting"]),
        achieved=json.loads(row["achieved"] or "{}"),
        cost=json.loads(row["cost"]),
        proposed=datetime.fromisoformat(row["proposed"]),
        answered=datetime.fromisoformat(row["answered"]) if row["answered"] else None,
        cause=row["cause"],
        message=row["message"],
        readings=readings,
        attempt=row.get("attempt", 1),
        asks=row.get("asks", ""),
        approved_by=row.get("approved_by"),
    )


def _state(row: Mapping[str, Any]) -> Status:
    """A trial's state; schema 1 knew "running", which nobody had to approve."""
    state: Status = "approved" if row["state"] == "running" else row["state"]
    return state


def lease(path: str | Path, campaign: str | None = None) -> Holder | None:
    """Who holds the campaign's lease, or None. A holder that died still stands here until the next writer."""
    with opened(path) as connection:
        name = choose(connection, path, campaign)
        row = connection.execute(
            "SELECT host, pid, started, heartbeat FROM lease WHERE campaign = ?", (name,)
        ).fetchone()
    if row is None:
        return None
    host, pid, since, beat = row
    return Holder(host, pid, datetime.fromisoformat(since), datetime.fromisoformat(beat))


def post(path: str | Path, campaign: str | None, event: AnyEvent) -> int:
    """Leave a word for the controller that holds the lease; it enters by the controller's ``append``.

    Returns:
        The letter's number in the inbox.

    Raises:
        LedgerError: if only a controller may say this, or if it cannot happen to its trial as the ledger stands.
    """
    if event.kind not in LETTER_KINDS:
        raise LedgerError(
            f"{event.kind!r} is for a controller to say; others may say {', '.join(sorted(LETTER_KINDS))}"
        )
    with opened(path, mode="rw") as connection:
        name = choose(connection, path, campaign)
        connection.execute("PRAGMA synchronous = FULL")
        connection.isolation_level = None
        connection.execute("BEGIN IMMEDIATE")
        if isinstance(event, TrialEvent):
            _check_open(connection, name, event)
        cursor = connection.execute(
            "INSERT INTO inbox (campaign, time, trial, payload) VALUES (?, ?, ?, ?)",
            (name, datetime.now(UTC).isoformat(timespec="microseconds"), _trial_of(event), dump_event(event)),
        )
        connection.execute("COMMIT")
    return int(cursor.lastrowid or 0)


def _trial_of(event: AnyEvent) -> int | None:
    return event.trial if isinstance(event, TrialEvent) else None


def _check_open(connection: sqlite3.Connection, campaign: str, event: TrialEvent) -> None:
    """Refuse what the table of ``lifecycle`` does not let happen, while the person who says it is still there."""
    query = "SELECT * FROM trial WHERE campaign = ? AND number = ?"
    row = connection.execute(query, (campaign, event.trial)).fetchone()
    what = f"trial {event.trial} of campaign {campaign!r}"
    if row is None:
        raise LedgerError(f"{what} is not proposed{_open_ones(connection, campaign)}; correct the number")
    state = _state(row)
    if state == "unknown" and isinstance(event, Approved | Refused):
        raise LedgerError(
            f"{what} is in doubt: it may have been carried out. Say whether it is run again or given up (settled), or "
            "what it gave (observed)"
        )
    if after(state, event) is None:
        takes = "no answer" if isinstance(event, Observed | Failed) else f"no {event.kind!r}"
        raise LedgerError(f"{what} is {state}, so it takes {takes}{_open_ones(connection, campaign)}")
    if isinstance(event, Observed) and row["achieved"] is not None:
        raise LedgerError(f"{what} has a reading, which was set aside; restore that one")
    if isinstance(event, Observed | Failed) and state in RUNNING:
        _check_answerer(connection, campaign, row)


def _open_ones(connection: sqlite3.Connection, campaign: str) -> str:
    """The newest trials that wait for people or for an answer, for a message."""
    query = """SELECT number, state FROM trial WHERE campaign = ?1
        AND number > (SELECT max(number) FROM trial WHERE campaign = ?1) - 1000"""
    found = [(row["number"], _state(row)) for row in connection.execute(query, (campaign,))]
    waiting = ", ".join(str(n) for n, state in sorted(found) if state in RUNNING) or "none"
    asked = ", ".join(f"{n} ({state})" for n, state in sorted(found) if state in ("proposed", "unknown"))
    return f" (trials that wait for one: {waiting}" + (f"; for a person: {asked})" if asked else ")")


def _check_answerer(connection: sqlite3.Connection, campaign: str, row: sqlite3.Row) -> None:
    source = row["source"]
    if row["proposed_by"] == "agent" and not _is_manual(connection, campaign, source):
        raise LedgerError(
            f"trial {row['number']} of campaign {campaign!r} runs on {source!r}, which answers by itself; only trials "
            "of a manual instrument, or those that were asked for with 'suggest', are ingested"
        )


def _is_manual(connection: sqlite3.Connection, campaign: str, source: str) -> bool:
    """Whether a person answers for it, as far as the declaration tells; a campaign without one is trusted."""
    query = "SELECT payload ->> ? FROM event WHERE campaign = ? AND kind = 'started'"
    row = connection.execute(query, (f'$.campaign.sources."{source}".instrument', campaign)).fetchone()
    simulator = connection.execute(query, (f'$.campaign.sources."{source}".simulator', campaign)).fetchone()
    target = (row and row[0]) or (simulator and simulator[0])
    return target is None or target.lower().split(":")[-1] == "manual"


def backup(path: str | Path, to: str | Path) -> None:
    """Copy a ledger as it stands, also while controllers write; the copy is whole, or it is not there.

    Leases stay behind: whoever writes the ledger does not write its copy.

    Raises:
        LedgerError: if the copy is there already, cannot be written or does not pass SQLite's own check.
    """
    target = Path(to).expanduser().resolve()
    if target.exists():
        raise LedgerError(f"backup {target} is there already, and is not overwritten; name another file")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with opened(path) as source, closing(sqlite3.connect(part, isolation_level=None)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, until a controller opens it
            copy.execute("DELETE FROM lease")
            damage = [text for (text,) in copy.execute("PRAGMA integrity_check") if text != "ok"]
        if damage:
            raise LedgerError(f"backup of {path} is damaged ({damage[0]}), as the ledger is; see 'closedloop verify'")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
