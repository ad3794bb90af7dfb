"""The ledger's file: connections, transactions, migrations, and what SQLite's errors mean to a person.

Laws:
    * A transaction waits its turn for a bounded time, says so while it waits, and can be interrupted.
    * What was not committed left no trace.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from ..errors import LedgerError
from .place import file_of, journal_for, lock_holder
from .schema import APPLICATION_ID, MIGRATIONS, check_identity, check_version

WAIT_S = 60.0  # a copy or a query in another program may keep the lock for long; a measurement must survive that
_SLICE_S = 0.5  # SQLite waits in C, where Ctrl-C is not heard, so it waits in slices
_WARN_S = 5.0
_LOG = logging.getLogger(__name__)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_REMEDIES = {
    sqlite3.SQLITE_FULL: "its disk is full; free some space, then resume",
    sqlite3.SQLITE_IOERR: "its disk failed or is full, or a size limit was met; look at 'df' and 'ulimit -f'",
    sqlite3.SQLITE_READONLY: "it may not be written; change its permissions or name another with --ledger",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; you must be allowed to write in its folder",
    sqlite3.SQLITE_PERM: "you may not open it; change its permissions or name another file with --ledger",
    sqlite3.SQLITE_NOTADB: "it is not a ledger; name another file with --ledger",
    sqlite3.SQLITE_CORRUPT: "it is damaged; copy it, run 'closedloop verify', go back to your last backup",
    sqlite3.SQLITE_BUSY: "end that transaction, then resume",
    sqlite3.SQLITE_LOCKED: "end that transaction, then resume",
}


def make_engine(path: Path) -> sa.Engine:
    """Connections to the file."""
    return sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        isolation_level="AUTOCOMMIT",  # every transaction is begun by hand: BEGIN IMMEDIATE
        connect_args={"timeout": _SLICE_S},
    )


def connect(engine: sa.Engine) -> sa.Connection:
    """A connection whose commits are on the disk when they return."""
    connection = engine.connect()
    connection.exec_driver_sql("PRAGMA synchronous = FULL")
    connection.exec_driver_sql("PRAGMA foreign_keys = ON")
    return connection


def driver_of(connection: sa.Connection) -> sqlite3.Connection:
    """The sqlite3 connection beneath: what runs for each event goes straight to it."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError(f"a ledger is a SQLite file, not {driver!r}")
    return driver


def immediate(driver: sqlite3.Connection, *, wait_s: float = WAIT_S) -> Transaction:
    """One write transaction: all of it, or nothing."""
    return Transaction(driver, wait_s)


class Transaction:
    """A block that is committed whole; a class, for a generator costs a tenth of the append that it brackets."""

    __slots__ = ("_driver", "_wait_s")

    def __init__(self, driver: sqlite3.Connection, wait_s: float) -> None:
        self._driver = driver
        self._wait_s = wait_s

    def __enter__(self) -> None:
        # A deferred transaction that reads and then writes fails at once where this one waits its turn.
        try:
            self._driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            _wait_after(error, self._driver, "BEGIN IMMEDIATE", self._wait_s)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._driver.execute("COMMIT")
        except sqlite3.OperationalError as error:
            _wait_after(error, self._driver, "COMMIT", self._wait_s)
        finally:
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK")


def in_turn(driver: sqlite3.Connection, statement: str, wait_s: float) -> sqlite3.Cursor:
    """Run a statement that needs the file's lock; who holds it is told while it is waited for."""
    try:
        return driver.execute(statement)
    except sqlite3.OperationalError as error:
        return _wait_after(error, driver, statement, wait_s)


def _wait_after(
    refusal: sqlite3.OperationalError, driver: sqlite3.Connection, statement: str, wait_s: float
) -> sqlite3.Cursor:
    if not _is_busy(refusal):
        raise refusal
    began, is_told = time.monotonic() - _SLICE_S, False
    while True:
        time.sleep(0.001)  # some locks are refused without SQLite's own wait
        try:
            return driver.execute(statement)
        except sqlite3.OperationalError as error:
            waited_s = time.monotonic() - began
            if not _is_busy(error) or waited_s >= wait_s:
                raise
        if waited_s >= _WARN_S and not is_told:
            path, is_told = file_of(driver), True
            _LOG.warning("ledger %s: its write lock is held by %s; waiting", path, lock_holder(path) or "somebody")


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in _BUSY


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into one of ours, with path, rule and remedy."""
    try:
        yield
    except (sqlite3.Error, sa.exc.DBAPIError) as error:
        raise explanation(path, error) from error


def explanation(path: Path, error: Exception) -> LedgerError:
    """What an error of SQLite means, with path, rule and remedy."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    remedy = _REMEDIES.get(code, "look at the SQLite error, and whether the file is a ledger")
    if code in _BUSY:
        holder = lock_holder(path) or "another program"
        remedy = f"{holder} holds its write lock; {remedy}"
    return LedgerError(f"ledger {path}: {cause}; nothing was written: {remedy}")


def prepare(engine: sa.Engine, path: Path, *, wait_s: float) -> None:
    """Make the file, or bring its schema up to date.

    Raises:
        LedgerError: if it is no ledger, is newer than this code, or lies where it cannot be written.
    """
    if not path.parent.is_dir():
        raise LedgerError(f"ledger {path}: there is no folder {path.parent}; make it or name another file")
    if path.is_dir():
        raise LedgerError(f"ledger {path}: this is a folder; name a file in it, such as {path / 'closedloop.db'}")
    journal = journal_for(path)
    with connect(engine) as connection:
        driver = driver_of(connection)
        _version(driver, path)
        mode = in_turn(driver, f"PRAGMA journal_mode = {journal}", wait_s).fetchone()[0]
        if mode != journal:
            raise LedgerError(
                f"ledger {path}: its journal is {mode} and cannot be made {journal}; end all that has it open, "
                "or put it on a local disk"
            )
        with immediate(driver, wait_s=wait_s):
            version = _version(driver, path)  # again: another process may have come first
            for number in range(version, len(MIGRATIONS)):
                _migrate(driver, number)


def _version(driver: sqlite3.Connection, path: Path) -> int:
    version, identity, n_tables = (
        int(driver.execute(query).fetchone()[0])
        for query in ("PRAGMA user_version", "PRAGMA application_id", "SELECT count(*) FROM sqlite_master")
    )
    check_identity(path, application_id=identity, version=version, n_tables=n_tables)
    check_version(path, version)
    return version


def _migrate(driver: sqlite3.Connection, number: int) -> None:
    for statement in MIGRATIONS[number]:
        driver.execute(statement)
    driver.execute(f"PRAGMA user_version = {number + 1}")
    driver.execute(f"PRAGMA application_id = {APPLICATION_ID}")
