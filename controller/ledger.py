"""Writing a ledger: the one door by which an event enters a campaign.

Laws:
    * ``append`` returns only when the event is on the disk; what it refused left no trace and skipped no
      ``seq``.
    * Each append proves, in its own transaction, that the campaign's lease is still ours.
    * A message in the inbox waits until its trial has an answer in ``event``. That fact alone marks it taken,
      so a crash at any instant neither loses a message nor enters one twice.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import sqlalchemy as sa
import sqlalchemy.dialects.sqlite
from sqlmodel import Field, SQLModel, col

from .errors import LedgerError
from .ledger_file import connect, driver_of, explained, immediate, make_engine, prepare
from .ledger_lease import Lease, LeaseRow
from .ledger_schema import GENESIS, row_hash
from .records import AnyEvent, Event, Failed, Noted, Observed, Proposed, dump_event, load_event


class EventRow(SQLModel, table=True):
    """One event. Rows are only ever added."""

    __tablename__ = "event"
    campaign: str = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    time: str
    kind: str
    trial: int | None = None
    payload: str
    hash: str


class InboxRow(SQLModel, table=True):
    """An answer that another process left; ``taken`` is the seq of the event that answered its trial."""

    __tablename__ = "inbox"
    id: int | None = Field(default=None, primary_key=True)
    campaign: str
    time: str
    trial: int | None = None
    payload: str
    taken: int | None = None


_COLUMNS = tuple(EventRow.model_fields)
_IS_HOLDER = (
    col(LeaseRow.campaign) == sa.bindparam("campaign"),
    col(LeaseRow.token) == sa.bindparam("token"),
)
# Compiled once: an append spends its time on the disk, not in the expression compiler.
_INSERT = (
    sa.insert(EventRow)
    .from_select(_COLUMNS, sa.select(*(sa.bindparam(n) for n in _COLUMNS)).where(sa.exists().where(*_IS_HOLDER)))
    .compile(dialect=sqlalchemy.dialects.sqlite.dialect(paramstyle="named"))
    .string
)
_EVENTS = "SELECT payload, seq, time FROM event WHERE campaign = ? ORDER BY seq"
_TAIL = "SELECT seq, hash FROM event WHERE campaign = ? ORDER BY seq DESC LIMIT 1"
_MARK = "UPDATE inbox SET taken = ? WHERE id = ?"
_WAITING = """SELECT i.id, i.trial, i.payload, i.time, e.seq FROM inbox i LEFT JOIN event e
    ON e.campaign = i.campaign AND e.trial = i.trial AND e.kind IN ('observed', 'failed')
    WHERE i.campaign = ? AND i.taken IS NULL ORDER BY i.id"""


class Ledger:
    """The writer of one campaign; made by ``open``, used as a context manager.

    Example:
        >>> with Ledger.open("lab.db", "anneal") as ledger:
        ...     stamped = ledger.append(Noted(text="the lamp was changed"))
    """

    def __init__(self, engine: sa.Engine, path: Path, campaign: str) -> None:
        self.path = path
        self.campaign = campaign
        self._engine = engine
        self._connection = connect(engine)  # held: opening one costs more than an append
        self._driver = driver_of(self._connection)
        self._lease = Lease(engine, path, campaign)
        self._guard = threading.Lock()
        self._tail: tuple[int, str] | None = None  # (seq, hash) of the last event; None: read it again
        self._offered: set[int] = set()  # trials whose message `inbox` gave out and nobody appended yet

    @classmethod
    def open(cls, path: str | Path, campaign: str, *, wait_s: float = 10.0) -> Self:
        """Open or make the file, bring its schema up to date and take the campaign's lease.

        Args:
            path: the SQLite file; its folder must exist, on a local disk.
            campaign: the campaign's name; it may be new.
            wait_s: how long to wait for the file's write lock, here and at each append.

        Raises:
            LeaseHeld: if another controller writes this campaign.
            LedgerError: if the file cannot be written as a ledger.
        """
        file = Path(path).expanduser().resolve()
        engine = make_engine(file, wait_s=wait_s)
        try:
            with explained(file):
                prepare(engine, file)
                ledger = cls(engine, file, campaign)
                ledger._lease.take(ledger._connection)
        except BaseException:
            engine.dispose()
            raise
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def events(self) -> list[AnyEvent]:
        """All events of the campaign, in order."""
        with self._guard, explained(self.path):
            rows = self._driver.execute(_EVENTS, (self.campaign,)).fetchall()
        return [load_event(p, seq=seq, time=datetime.fromisoformat(time)) for p, seq, time in rows]

    def append(self, event: AnyEvent) -> AnyEvent:
        """Write one event down.

        Returns:
            The event, stamped with its ``seq`` and its time (aware, UTC).

        Raises:
            LedgerError: if it is not written; the ledger can be used again once the cause is gone.
        """
        now = datetime.now(UTC)
        time, kind, payload = now.isoformat(timespec="microseconds"), event.kind, dump_event(event)
        with self._guard, explained(self.path):
            last, before = self._tail or self._read_tail()
            seq, self._tail = last + 1, None  # unknown until the commit is: an interrupt may fall anywhere
            link = row_hash(before, self.campaign, seq=seq, time=time, kind=kind, payload=payload)
            row = {
                "seq": seq,
                "time": time,
                "kind": kind,
                "trial": _trial(event),
                "payload": payload,
                "hash": link,
            }
            self._insert({**row, **self._lease.key})
            self._tail = (seq, link)
        return event.model_copy(update={"seq": seq, "time": now})

    def inbox(self) -> list[AnyEvent]:
        """The answers that others posted since the last call, oldest first, for the caller to append.

        One answer a trial is given out, once in the life of this ledger; after a crash it is given out again.
        A message whose trial is answered is only marked; one that cannot be read becomes a ``Noted``.
        """
        with self._guard, explained(self.path):
            rows = self._driver.execute(_WAITING, (self.campaign,)).fetchall()
            answered = [(seq, message) for message, _, _, _, seq in rows if seq is not None]
            waiting = [self._read_message(*row[:4]) for row in rows if row[4] is None]
            unreadable = [(0, message) for message, event in waiting if isinstance(event, Noted)]
            if answered or unreadable:
                with immediate(self._driver):
                    self._driver.executemany(_MARK, answered + unreadable)
        return [event for _, event in waiting if event is not None]

    def close(self) -> None:
        """Give the lease back and let go of the file."""
        with self._guard:
            if not self._connection.closed:
                self._lease.release(self._driver)
                self._connection.close()
        self._engine.dispose()

    def _read_message(self, message: int, trial: int, payload: str, time: str) -> tuple[int, AnyEvent | None]:
        if trial in self._offered:
            return message, None
        try:
            event = load_event(payload, seq=0, time=datetime.fromisoformat(time))
        except ValueError as error:
            return message, Noted(text=f"message {message} in the inbox is no event and was set aside: {error}")
        if not isinstance(event, Observed | Failed) or event.trial != trial:
            return message, Noted(text=f"message {message} in the inbox answers no trial and was set aside")
        self._offered.add(trial)
        return message, event

    def _read_tail(self) -> tuple[int, str]:
        return self._driver.execute(_TAIL, (self.campaign,)).fetchone() or (0, GENESIS)

    def _insert(self, row: Mapping[str, object]) -> None:
        try:
            with immediate(self._driver):
                n_written = self._driver.execute(_INSERT, row).rowcount
        except sqlite3.IntegrityError as error:
            raise LedgerError(
                f"ledger {self.path}: {row['kind']!r} of trial {row['trial']} cannot be event {row['seq']} "
                f"of campaign {self.campaign!r} ({error}); a trial is proposed once and answered once, and "
                "events follow one another; resume the campaign to go on from what stands"
            ) from error
        if n_written != 1:
            raise LedgerError(
                f"ledger {self.path}: this process lost the lease of campaign {self.campaign!r}, and nothing "
                "was written; another controller has it: see 'closedloop status', stop one, then resume"
            )


def _trial(event: Event) -> int | None:
    if isinstance(event, Proposed):
        return event.trial.number
    return event.trial if isinstance(event, Observed | Failed) else None
