"""One campaign of a ledger, copied into a file of its own.

Laws:
    * The copy holds one moment, also while a controller writes; its rows and hashes are the same, so it verifies.
    * The same rows give the same bytes. Lease and fences stay behind: they belong to a machine.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ..errors import LedgerError
from .reader import choose, opened
from .schema import APPLICATION_ID, MIGRATIONS, check_version

_TABLES = {"event": "seq", "inbox": "id"}  # what belongs to a campaign, and its order


def copy_campaign(path: str | Path, campaign: str | None, to: Path) -> str:
    """Copy one campaign into the new file ``to``; it need not be named where there is only one.

    Returns:
        The campaign's name.

    Raises:
        LedgerError: if the campaign is not there, or its rows do not follow one another.
    """
    with opened(path) as source:
        source.execute("BEGIN")  # one snapshot for all that follows
        name = choose(source, path, campaign)
        version: int = source.execute("PRAGMA user_version").fetchone()[0]
        check_version(path, version)
        try:
            with closing(sqlite3.connect(to, isolation_level=None)) as target:
                _make(target, version)
                for table, order in _TABLES.items():
                    _fill(source, target, table, f"{table}.{order}", name)
                target.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            raise LedgerError(f"campaign {name!r} in {path} is not whole ({error}); see 'closedloop verify'") from error
    return name


def _make(target: sqlite3.Connection, version: int) -> None:
    target.execute("BEGIN")
    for migration in MIGRATIONS[:version]:
        for statement in migration:
            target.execute(statement)
    target.execute(f"PRAGMA user_version = {version}")
    target.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _fill(source: sqlite3.Connection, target: sqlite3.Connection, table: str, order: str, campaign: str) -> None:
    rows = source.execute(f"SELECT * FROM {table} WHERE campaign = ? ORDER BY {order}", (campaign,))
    marks = ", ".join("?" * len(rows.description))
    columns = ", ".join(column for column, *_ in rows.description)
    target.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
