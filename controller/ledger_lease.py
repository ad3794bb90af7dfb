"""The lease: one controller writes a campaign.

Laws:
    * A holder that lives on this host is never overruled; one that died is replaced at once.
    * A holder on another host is given up only after ``STALE`` without a heartbeat.
    * A holder that was given up cannot append any more: its token is gone.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlmodel import Field, SQLModel, col, select

from .errors import LeaseHeld
from .ledger_file import connect, driver_of, immediate

BEAT_S = 5.0
STALE = timedelta(seconds=60)


class LeaseRow(SQLModel, table=True):
    """Who may append to a campaign."""

    __tablename__ = "lease"
    campaign: str = Field(primary_key=True)
    host: str
    pid: int
    born: float  # when that process began: the system gives a pid out again
    started: str
    token: str
    heartbeat: str


_OURS = "campaign = :campaign AND token = :token"
_BEAT = f"UPDATE lease SET heartbeat = :now WHERE {_OURS}"
_RELEASE = f"DELETE FROM lease WHERE {_OURS}"


class Lease:
    """Our right to append to one campaign, kept alive by a thread with its own connection."""

    def __init__(self, engine: sa.Engine, path: Path, campaign: str) -> None:
        self.key = {"campaign": campaign, "token": uuid.uuid4().hex}
        self._engine = engine
        self._path = path
        self._is_over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="ledger-heartbeat", daemon=True)

    def take(self, connection: sa.Connection) -> None:
        """Take the lease and keep it.

        Raises:
            LeaseHeld: if another controller has it.
        """
        now = datetime.now(UTC)
        with immediate(driver_of(connection)):
            query = select(LeaseRow).where(col(LeaseRow.campaign) == self.key["campaign"])
            row = connection.execute(query).mappings().first()
            if row is not None:
                _refuse_if_alive(LeaseRow(**row), now, self._path)
            connection.execute(sa.insert(LeaseRow).prefix_with("OR REPLACE"), self._row(now))
        self._heart.start()

    def release(self, driver: sqlite3.Connection) -> None:
        """Give the lease back; where the file cannot be written, the end of this process does it."""
        self._is_over.set()
        if self._heart.is_alive():
            self._heart.join()
        try:
            with immediate(driver):
                driver.execute(_RELEASE, self.key)
        except sqlite3.Error:
            pass

    def _row(self, now: datetime) -> dict[str, object]:
        stamp = now.isoformat(timespec="microseconds")
        process = psutil.Process(os.getpid())
        place = {"host": socket.gethostname(), "pid": process.pid, "born": process.create_time()}
        return {**self.key, **place, "started": stamp, "heartbeat": stamp}

    def _beat(self) -> None:
        with connect(self._engine) as connection:
            driver = driver_of(connection)
            while not self._is_over.wait(BEAT_S):
                now = datetime.now(UTC).isoformat(timespec="microseconds")
                try:
                    with immediate(driver):
                        driver.execute(_BEAT, {**self.key, "now": now})
                except sqlite3.Error:
                    continue  # a full disk or a lock: the next append says so, the next beat tries again


def _refuse_if_alive(holder: LeaseRow, now: datetime, path: Path) -> None:
    is_here = holder.host == socket.gethostname()
    silence = now - datetime.fromisoformat(holder.heartbeat)
    if not (_is_running(holder) if is_here else silence <= STALE):
        return
    remedy = "stop that process" if is_here else f"stop it there, or wait until it was silent for {STALE.seconds} s"
    raise LeaseHeld(
        f"campaign {holder.campaign!r} in {path} is written by process {holder.pid} on {holder.host} since "
        f"{holder.started[:19]} UTC, and a campaign has one writer; {remedy}, or look on with "
        "'closedloop status'"
    )


def _is_running(holder: LeaseRow) -> bool:
    try:
        process = psutil.Process(holder.pid)
        is_same = abs(process.create_time() - holder.born) < 10  # a clock that was set moves this a little
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
