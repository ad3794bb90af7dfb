"""The table ``digest``: where a campaign stood after some of its events, so that ``status`` need not read them all.

Laws:
    * A digest is believed only while the event that it was made after still has the hash that it had then.
    * The newest digest of a campaign is whole; of older ones only the sums are kept, by which a later half is found.
    * Digests are no part of the ledger: without them, or with one that cannot be read, everything is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..records import AnyEvent
from .reader import choose, opened
from .rows import loaded

_SOUND = """FROM digest d JOIN event e ON e.campaign = d.campaign AND e.seq = d.seq AND e.hash = d.hash
    WHERE d.campaign = ?"""
_NEWEST = f"SELECT d.seq, d.payload {_SOUND} AND d.payload IS NOT NULL ORDER BY d.seq DESC LIMIT 1"
_MARK = f"SELECT d.sums {_SOUND} AND d.n_scored <= ? ORDER BY d.n_scored DESC, d.seq DESC LIMIT 1"
_ROWS = """SELECT d.seq, d.n_scored, d.sums, d.payload, e.hash IS d.hash FROM digest d
    LEFT JOIN event e ON e.campaign = d.campaign AND e.seq = d.seq WHERE d.campaign = ? ORDER BY d.seq"""
_ROW = "SELECT payload, seq, time FROM event"
_OF_TRIAL = f"{_ROW} INDEXED BY event_of_trial WHERE campaign = ? AND trial = ? ORDER BY seq"
_ANSWERS = "SELECT trial FROM event WHERE campaign = ? AND seq > ? AND kind = 'observed' ORDER BY seq"
_AFTER = f"{_ROW} WHERE campaign = ? AND seq > ? ORDER BY seq LIMIT ?"
_TURNS = """SELECT trial, kind FROM event WHERE campaign = ? AND kind IN ('quarantined', 'restored') ORDER BY seq"""
_LATE = """SELECT DISTINCT f.trial FROM event f WHERE f.campaign = ? AND f.kind IN ('failed', 'refused') AND EXISTS
    (SELECT 1 FROM event o INDEXED BY event_of_trial
        WHERE o.campaign = f.campaign AND o.trial = f.trial AND o.kind = 'observed' AND o.seq > f.seq)"""
_DECLARED = f"{_ROW} WHERE campaign = ? AND kind IN ('started', 'amended') ORDER BY seq DESC LIMIT 1"


@dataclass(frozen=True)
class Digest:
    """Where a campaign stood."""

    campaign: str
    seq: int = 0
    payload: str = ""  # empty: there is none


class Forgotten(Exception):
    """An event is about what is no longer held."""


@dataclass(frozen=True)
class Entry:
    """What is stored of where a campaign stood."""

    n_scored: int  # readings in the sums
    sums: str
    payload: str | None  # None: it is not whole, and only its sums are kept


@dataclass(frozen=True)
class Turns:
    """What will have become of trials that something befalls after their answer."""

    horizon: int  # by this event
    declared: AnyEvent  # the declaration in force
    aside: frozenset[int]  # readings set aside
    restored: frozenset[int]  # readings that were set aside and count again
    late: frozenset[int]  # readings of trials that had been given up


class Kept(Protocol):
    """Where a campaign stands, told event by event."""

    seq: int

    def tell(self, event: AnyEvent) -> None:
        """One event more; raises ``Forgotten`` if it is about what is no longer held."""

    def entry(self) -> Entry:
        """What is stored of it."""


@dataclass(frozen=True)
class Keeping:
    """How what is kept is made."""

    restore: Callable[[str, Callable[[int], AnyEvent]], Kept]  # from a payload, and the events by seq; or ``Forgotten``
    anew: Callable[[Turns], Kept]  # to be told from the first event on


@dataclass(frozen=True)
class Row:
    """A digest as it lies in the file."""

    seq: int
    n_scored: int
    sums: str
    payload: str  # empty: only its sums
    is_sound: bool  # it was made after this very event


@dataclass(frozen=True)
class Snapshot:
    """One moment of a campaign, for whoever holds its digests against its events."""

    path: str | Path
    campaign: str
    connection: sqlite3.Connection

    def rows(self) -> list[Row]:
        """All its digests."""
        if not _has_table(self.connection):
            return []
        found = self.connection.execute(_ROWS, (self.campaign,))
        return [Row(seq, n, str(sums), payload or "", bool(sound)) for seq, n, sums, payload, sound in found]

    def turns(self) -> Turns:
        """What befell trials after their answer."""
        return turns(self.connection, self.campaign)

    def events(self) -> Iterator[AnyEvent]:
        """All events, in order."""
        last = 0
        while page := after(self.connection, self.campaign, last, most=1000):
            yield from page
            last = page[-1].seq


@contextmanager
def snapshot(path: str | Path, campaign: str) -> Iterator[Snapshot]:
    """One moment of a campaign."""
    with opened(path) as connection:
        connection.row_factory = None
        connection.execute("BEGIN")
        yield Snapshot(path, campaign, connection)


def newest(path: str | Path, campaign: str | None) -> Digest:
    """The newest sound digest of a campaign; without a payload where there is none."""
    with opened(path) as connection:
        name = choose(connection, path, campaign)
        return _newest(connection, name)


def _newest(connection: sqlite3.Connection, name: str) -> Digest:
    if not _has_table(connection):
        return Digest(name)  # a ledger of schema 1
    return Digest(name, *(connection.execute(_NEWEST, (name,)).fetchone() or ()))


def _has_table(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'digest'").fetchone() is not None


def event_at(path: str | Path, campaign: str, seq: int) -> AnyEvent:
    """One event."""
    with opened(path) as connection:
        connection.row_factory = None
        (event,) = loaded(connection.execute(_AFTER, (campaign, seq - 1, 1)).fetchall(), {})
    return event


def mark_before(path: str | Path, campaign: str, n_scored: int) -> str | None:
    """The sums of the newest digest over at most so many scored readings."""
    with opened(path) as connection:
        row = connection.execute(_MARK, (campaign, n_scored)).fetchone()
    return row[0] if row else None


def answered_after(path: str | Path, campaign: str, seq: int) -> Iterator[list[AnyEvent]]:
    """All events of each trial that was observed after an event, in the order of the readings."""
    with opened(path) as connection:
        connection.row_factory = None
        for (trial,) in connection.execute(_ANSWERS, (campaign, seq)):
            yield list(loaded(connection.execute(_OF_TRIAL, (campaign, trial)).fetchall(), {}))


def restart(driver: sqlite3.Connection, campaign: str) -> Digest:
    """The newest sound digest, for the writer to go on from."""
    return _newest(driver, campaign)


def after(driver: sqlite3.Connection, campaign: str, seq: int, *, most: int) -> list[AnyEvent]:
    """The next events after one."""
    return list(loaded(driver.execute(_AFTER, (campaign, seq, most)).fetchall(), {}))


def declared_in(driver: sqlite3.Connection, campaign: str, seq: int) -> AnyEvent:
    """The event that holds a declaration."""
    return after(driver, campaign, seq - 1, most=1)[0]


def turns(driver: sqlite3.Connection, campaign: str) -> Turns:
    """What befell trials after their answer, by now."""
    (horizon,) = driver.execute("SELECT max(seq) FROM event WHERE campaign = ?", (campaign,)).fetchone()
    last = dict(driver.execute(_TURNS, (campaign,)).fetchall())
    (declared,) = loaded(driver.execute(_DECLARED, (campaign,)).fetchall(), {})
    return Turns(
        horizon=horizon,
        declared=declared,
        aside=frozenset(n for n, kind in last.items() if kind == "quarantined"),
        restored=frozenset(n for n, kind in last.items() if kind == "restored"),
        late=frozenset(n for (n,) in driver.execute(_LATE, (campaign,))),
    )


def clear(driver: sqlite3.Connection, campaign: str) -> None:
    """Forget all digests of a campaign."""
    driver.execute("DELETE FROM digest WHERE campaign = ?", (campaign,))


def store(driver: sqlite3.Connection, campaign: str, seq: int, entry: Entry) -> None:
    """Keep a digest made after an event."""
    (link,) = driver.execute("SELECT hash FROM event WHERE campaign = ? AND seq = ?", (campaign, seq)).fetchone()
    if entry.payload is not None:
        driver.execute("UPDATE digest SET payload = NULL WHERE campaign = ? AND payload IS NOT NULL", (campaign,))
    row = (campaign, seq, link, entry.n_scored, entry.sums, entry.payload)
    driver.execute("INSERT OR REPLACE INTO digest VALUES (?, ?, ?, ?, ?, ?)", row)
