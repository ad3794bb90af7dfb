"""Writing a ledger: the one door by which an event enters a campaign.

Laws:
    * ``append`` returns only when the event is on the disk; what it refused left no trace and skipped no
      ``seq``.
    * Each append proves, in its own transaction, that the campaign's lease is still ours.
    * A letter of the inbox is marked as taken in the transaction of the event that it became, so a crash at
      any instant neither loses a letter nor enters one twice.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import sqlalchemy as sa
import sqlalchemy.dialects.sqlite
from sqlmodel import Field, SQLModel, col

from ..errors import LedgerError
from ..records import AnyEvent, Event, Noted, Proposed, dump_event, load_event
from .digest import Keeping
from .file import WAIT_S, connect, driver_of, explained, explanation, immediate, make_engine, prepare
from .keeper import Keeper
from .lease import Lease, LeaseRow, lost
from .rows import letters_of, loaded, stamped, uncollected
from .schema import GENESIS, LETTER_KINDS, row_hash


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
    """A letter that another process left; ``taken`` is the seq of the event that it became."""

    __tablename__ = "inbox"
    id: int | None = Field(default=None, primary_key=True)
    campaign: str
    time: str
    trial: int | None = None
    payload: str
    taken: int | None = None


_COLUMNS = tuple(EventRow.model_fields)
_PROOF = ("holder", "token")
_IS_HOLDER = tuple(col(c) == sa.bindparam(n) for c, n in zip((LeaseRow.campaign, LeaseRow.token), _PROOF, strict=True))
# Compiled once: an append spends its time on the disk, not in the expression compiler. Parameters: columns and proof.
_IS_OURS = sa.select(sa.literal_column("1")).select_from(LeaseRow).where(*_IS_HOLDER).exists()
_INSERT = (
    sa.insert(EventRow)
    .from_select(_COLUMNS, sa.select(*(sa.bindparam(n) for n in _COLUMNS)).where(_IS_OURS))
    .compile(dialect=sqlalchemy.dialects.sqlite.dialect(paramstyle="qmark"))
    .string
)
_PAGE = "SELECT payload, seq, time FROM event WHERE campaign = ? AND seq > ? ORDER BY seq LIMIT 1000"
_TAIL = "SELECT seq, hash FROM event WHERE campaign = ? ORDER BY seq DESC LIMIT 1"
_TAKE = "UPDATE inbox SET taken = ? WHERE id = ? AND campaign = ? AND taken IS NULL"
_WAITING = "SELECT id, payload, time FROM inbox WHERE campaign = ? AND taken IS NULL AND id > ? ORDER BY id"


class Ledger:
    """The writer of one campaign; made by ``open``, used as a context manager.

    Example:
        >>> with Ledger.open("lab.db", "anneal") as ledger:
        ...     stamped = ledger.append(Noted(text="the lamp was changed"))
    """

    def __init__(
        self, engine: sa.Engine, path: Path, campaign: str, *, wait_s: float = WAIT_S, keeping: Keeping | None = None
    ) -> None:
        self.path = path
        self.campaign = campaign
        self._engine = engine
        self._wait_s = wait_s
        self._connection = connect(engine)  # held: opening one costs more than an append
        self._driver = driver_of(self._connection)
        self._keep = Keeper(campaign, keeping).work if keeping else None
        self._lease = Lease(engine, path, campaign, self._keep)
        self._guard = threading.Lock()
        self._tail: tuple[int, str] | None = None  # (seq, hash) of the last event; None: read it again
        self._given = 0  # the newest letter that `inbox` gave out

    @classmethod
    def open(cls, path: str | Path, campaign: str, *, wait_s: float = WAIT_S, keeping: Keeping | None = None) -> Self:
        """Open or make the file, bring its schema up to date and take the campaign's lease.

        Args:
            path: the SQLite file; its folder must exist, best on a local disk: see ``ledger_place``.
            campaign: the campaign's name; it may be new.
            wait_s: how long to wait for the file's write lock, here and at each append.
            keeping: how its digest is kept, for a quick ``status``; None: none is.

        Raises:
            LeaseHeld: if another controller writes this campaign.
            LedgerError: if the file cannot be written as a ledger.
        """
        file = Path(path).expanduser().resolve()
        engine = make_engine(file)
        try:
            with explained(file):
                prepare(engine, file, wait_s=wait_s)
                ledger = cls(engine, file, campaign, wait_s=wait_s, keeping=keeping)
                ledger._lease.take(ledger._connection, wait_s=wait_s)
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
        with uncollected():
            return list(self.stream())

    def stream(self) -> Iterator[AnyEvent]:
        """All events of the campaign, in order, a few in memory at a time."""
        last = 0
        with self._guard, explained(self.path):
            letters = letters_of(self._driver, self.campaign)
        while True:
            with self._guard, explained(self.path):
                rows = self._driver.execute(_PAGE, (self.campaign, last)).fetchall()
            if not rows:
                return
            yield from loaded(rows, letters)
            last = rows[-1][1]

    def append(self, event: AnyEvent) -> AnyEvent:
        """Write one event down; the letter that it came by counts as taken from then on.

        Returns:
            The event, stamped with its ``seq`` and its time (aware, UTC).

        Raises:
            LedgerError: if it is not written; the ledger can be used again once the cause is gone.
        """
        now = datetime.now(UTC)
        time, kind, payload = now.isoformat(timespec="microseconds"), event.kind, dump_event(event)
        with self._guard:
            try:
                last, before = self._tail or self._read_tail()
                seq, self._tail = last + 1, None  # unknown until the commit is: an interrupt may fall anywhere
                link = row_hash(before, self.campaign, seq=seq, time=time, kind=kind, payload=payload)
                self._insert((self.campaign, seq, time, kind, _trial(event), payload, link), event.letter)
            except sqlite3.Error as error:
                raise explanation(self.path, error) from error
            self._tail = (seq, link)
        return stamped(event, seq, now)

    def inbox(self) -> list[AnyEvent]:
        """The letters that others left since the last call, oldest first, for the caller to append.

        Each is given out once in the life of this ledger, and again after a crash until an event took it. Who may
        say what is for the caller to decide: what it does not let in becomes a ``Noted`` with the same ``letter``.
        A letter that cannot be read is given out as such a note.
        """
        with self._guard, explained(self.path):
            rows = self._driver.execute(_WAITING, (self.campaign, self._given)).fetchall()
        self._given = rows[-1][0] if rows else self._given
        return [_read(*row) for row in rows]

    def fence(self, devices: Sequence[str]) -> dict[str, int]:
        """Make these devices ours until ``close``; the fencing token of each, above all that were given before.

        Raises:
            LeaseHeld: naming the device and who has it, if that is another campaign whose controller lives.
            LedgerError: if it cannot be written.
        """
        with self._guard, explained(self.path):
            return self._lease.fence(self._driver, devices, wait_s=self._wait_s)

    def close(self) -> None:
        """Give the lease and the devices back and let go of the file."""
        with self._guard:
            if not self._connection.closed:
                self._lease.stop()
                if self._keep is not None:
                    self._keep(self._driver)
                self._lease.release(self._driver)
                self._connection.close()
        self._engine.dispose()

    def _read_tail(self) -> tuple[int, str]:
        return self._driver.execute(_TAIL, (self.campaign,)).fetchone() or (0, GENESIS)

    def _insert(self, row: tuple[object, ...], letter: int | None) -> None:
        try:
            with immediate(self._driver, wait_s=self._wait_s):
                if self._driver.execute(_INSERT, row + self._lease.proof).rowcount != 1:
                    raise LedgerError(lost(self.path, self.campaign))
                if letter is not None:
                    self._take(letter, row[1])
        except sqlite3.IntegrityError as error:
            _, seq, _, kind, trial, *_ = row
            raise LedgerError(
                f"ledger {self.path}: {kind!r} of trial {trial} cannot be event {seq} of campaign {self.campaign!r} "
                f"({error}); a trial is proposed once and observed once, and events follow one another; resume the "
                "campaign to go on from what stands"
            ) from error

    def _take(self, letter: int, seq: object) -> None:
        if self._driver.execute(_TAKE, (seq, letter, self.campaign)).rowcount != 1:
            raise LedgerError(
                f"ledger {self.path}: letter {letter} is not waiting for campaign {self.campaign!r}: it was taken "
                "before, and a letter enters once; nothing was written"
            )


def _read(letter: int, payload: str, time: str) -> AnyEvent:
    """A letter as an event."""
    try:
        event = load_event(payload, seq=0, time=datetime.fromisoformat(time))
    except ValueError as error:
        return Noted(text=f"letter {letter} of the inbox is no event and was set aside: {error}", letter=letter)
    if event.kind not in LETTER_KINDS:
        words = f"letter {letter} of the inbox is {event.kind!r}, which only a controller may say, and was set aside"
        return Noted(text=words, letter=letter)
    return event.model_copy(update={"letter": letter})


def _trial(event: Event) -> int | None:
    return event.trial.number if isinstance(event, Proposed) else getattr(event, "trial", None)
