"""The ledger's file: connections, transactions, migrations, and what SQLite's errors mean to a person."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from .errors import LedgerError
from .ledger_schema import APPLICATION_ID, MIGRATIONS, check_identity, check_version

_REMEDIES = {
    sqlite3.SQLITE_FULL: "its disk is full; free some space, then resume",
    sqlite3.SQLITE_IOERR: "its disk failed or is full, or a size limit was met; look at 'df' and 'ulimit -f'",
    sqlite3.SQLITE_READONLY: "it may not be written; change its permissions or name another with --ledger",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; you must be allowed to write in its folder",
    sqlite3.SQLITE_PERM: "you may not open it; change its permissions or name another file with --ledger",
    sqlite3.SQLITE_NOTADB: "it is not a ledger; name another file with --ledger",
    sqlite3.SQLITE_CORRUPT: "it is damaged; copy it, run 'closedloop verify', go back to your last backup",
    sqlite3.SQLITE_BUSY: "another program holds its write lock; end that transaction, then resume",
    sqlite3.SQLITE_LOCKED: "another program holds its write lock; end that transaction, then resume",
}


def make_engine(path: Path, *, wait_s: float) -> sa.Engine:
    """Connections to the file that wait ``wait_s`` for its write lock."""
    return sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        isolation_level="AUTOCOMMIT",  # every transaction is begun by hand: BEGIN IMMEDIATE
        connect_args={"timeout": wait_s},
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


@contextmanager
def immediate(driver: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: all of it, or nothing."""
    # A deferred transaction that reads and then writes fails at once where this one waits its turn.
    driver.execute("BEGIN IMMEDIATE")
    try:
        yield
        driver.execute("COMMIT")
    except BaseException:
        if driver.in_transaction:
            driver.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into one of ours, with path, rule and remedy."""
    try:
        yield
    except (sqlite3.Error, sa.exc.DBAPIError) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        remedy = _REMEDIES.get(code, "look at the SQLite error, and whether the file is a ledger")
        raise LedgerError(f"ledger {path}: {cause}; nothing was written: {remedy}") from error


def prepare(engine: sa.Engine, path: Path) -> None:
    """Make the file, or bring its schema up to date.

    Raises:
        LedgerError: if it is no ledger, is newer than this code, or lies where it cannot be written.
    """
    if not path.parent.is_dir():
        raise LedgerError(f"ledger {path}: there is no folder {path.parent}; make it or name another file")
    if path.is_dir():
        raise LedgerError(f"ledger {path}: this is a folder; name a file in it, such as {path / 'closedloop.db'}")
    with connect(engine) as connection:
        _version(connection, path)
        mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar_one()
        if mode != "wal":
            raise LedgerError(f"ledger {path}: its disk offers no write-ahead log ({mode}); put it on a local disk")
        with immediate(driver_of(connection)):
            version = _version(connection, path)  # again: another process may have come first
            for number in range(version, len(MIGRATIONS)):
                _migrate(connection, number)


def _version(connection: sa.Connection, path: Path) -> int:
    version, identity, n_tables = (
        int(connection.exec_driver_sql(query).scalar_one())
        for query in ("PRAGMA user_version", "PRAGMA application_id", "SELECT count(*) FROM sqlite_master")
    )
    check_identity(path, application_id=identity, version=version, n_tables=n_tables)
    check_version(path, version)
    return version


def _migrate(connection: sa.Connection, number: int) -> None:
    for statement in MIGRATIONS[number]:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"PRAGMA user_version = {number + 1}")
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
