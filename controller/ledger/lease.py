"""The lease: one controller writes a campaign.

Laws:
    * A holder that lives on this host is never overruled; one that died is replaced at once.
    * A holder on another host is given up only after ``STALE`` without a heartbeat.
    * A holder that was given up cannot append any more: its token is gone.
    * An instrument belongs to one campaign of the file at a time; its fencing token only grows.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlmodel import Field, SQLModel, col, select

from ..errors import LeaseHeld, LedgerError
from .file import connect, driver_of, immediate

Chore = Callable[[sqlite3.Connection], None]
BEAT_S = 5.0
PATIENCE_S = 1.0  # with a lock, where the next beat or the next controller makes up for what was not written
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


class FenceRow(SQLModel, table=True):
    """Which campaign commands a device; ``lease`` is empty once it was given back."""

    __tablename__ = "fence"
    device: str = Field(primary_key=True)
    token: int
    campaign: str
    lease: str


_LIVE: set[str] = set()  # tokens of the leases that this process has: one that it could not give back is dead
_OURS = "campaign = :campaign AND token = :token"
_BEAT = f"UPDATE lease SET heartbeat = :now WHERE {_OURS}"
_RELEASE = f"DELETE FROM lease WHERE {_OURS}"
_HOLDER_OF = """SELECT l.campaign, l.host, l.pid, l.born, l.started, l.token, l.heartbeat
    FROM fence f JOIN lease l ON l.campaign = f.campaign AND l.token = f.lease
    WHERE f.device = ? AND f.campaign <> ?"""
_FENCE = """INSERT INTO fence (device, token, campaign, lease) VALUES (?, 1, ?, ?)
    ON CONFLICT (device) DO UPDATE SET token = token + 1, campaign = excluded.campaign, lease = excluded.lease
    RETURNING token"""
_UNFENCE = "UPDATE fence SET lease = '' WHERE campaign = :campaign AND lease = :token"


class Lease:
    """Our right to append to one campaign, kept alive by a thread with its own connection."""

    def __init__(
        self, engine: sa.Engine, path: Path, campaign: str, chore: Callable[[sqlite3.Connection], None] | None
    ) -> None:
        self.key = {"campaign": campaign, "token": uuid.uuid4().hex}
        self.proof = (campaign, self.key["token"])
        self._engine = engine
        self._path = path
        self._chore = chore  # done after each beat, in its thread
        self._is_over = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="ledger-heartbeat", daemon=True)

    def take(self, connection: sa.Connection, *, wait_s: float) -> None:
        """Take the lease and keep it.

        Raises:
            LeaseHeld: if another controller has it.
        """
        now = datetime.now(UTC)
        with immediate(driver_of(connection), wait_s=wait_s):
            query = select(LeaseRow).where(col(LeaseRow.campaign) == self.key["campaign"])
            row = connection.execute(query).mappings().first()
            if row is not None:
                _refuse_if_alive(LeaseRow(**row), now, self._path)
            connection.execute(sa.insert(LeaseRow).prefix_with("OR REPLACE"), self._row(now))
        _LIVE.add(self.key["token"])
        self._heart.start()

    def fence(self, driver: sqlite3.Connection, devices: Sequence[str], *, wait_s: float) -> dict[str, int]:
        """Take these devices from whoever had them and no longer lives; the new token of each.

        Raises:
            LeaseHeld: if one of them is held by another campaign whose controller lives.
            LedgerError: if we lost the lease.
        """
        now = datetime.now(UTC)
        with immediate(driver, wait_s=wait_s):
            if driver.execute(f"SELECT count(*) FROM lease WHERE {_OURS}", self.key).fetchone() == (0,):
                raise LedgerError(lost(self._path, self.key["campaign"]))
            for device in devices:
                self._refuse_if_held(driver, device, now)
            place = (self.key["campaign"], self.key["token"])
            return {d: driver.execute(_FENCE, (d, *place)).fetchone()[0] for d in dict.fromkeys(devices)}

    def _refuse_if_held(self, driver: sqlite3.Connection, device: str, now: datetime) -> None:
        cells = driver.execute(_HOLDER_OF, (device, self.key["campaign"])).fetchone()
        if cells is None:
            return
        holder = LeaseRow(**dict(zip(LeaseRow.model_fields, cells, strict=True)))
        if is_alive(holder, now):
            raise LeaseHeld(
                f"device {device!r} is commanded by campaign {holder.campaign!r}, process {holder.pid} on "
                f"{holder.host} since {holder.started[:19]} UTC, and an instrument has one controller; end that "
                "campaign, or wait for it"
            )

    def stop(self) -> None:
        """Beat no more."""
        self._is_over.set()
        if self._heart.is_alive():
            self._heart.join()

    def release(self, driver: sqlite3.Connection) -> None:
        """Give the lease back; where the file cannot be written, the end of this process does it."""
        self.stop()
        _LIVE.discard(self.key["token"])
        try:
            with immediate(driver, wait_s=PATIENCE_S):
                driver.execute(_UNFENCE, self.key)
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
                    with immediate(driver, wait_s=PATIENCE_S):
                        driver.execute(_BEAT, {**self.key, "now": now})
                except sqlite3.Error:
                    pass  # a full disk or a lock: the next append says so, the next beat tries again
                if self._chore is not None:
                    self._chore(driver)


def lost(path: Path, campaign: str) -> str:
    """What to say to a controller that was given up."""
    return (
        f"ledger {path}: this process lost the lease of campaign {campaign!r}, and nothing was written; another "
        "controller has it: see 'closedloop status', stop one, then resume"
    )


def is_alive(holder: LeaseRow, now: datetime) -> bool:
    """Whether a holder must not be overruled."""
    if holder.host == socket.gethostname():
        return _is_running(holder)
    return now - datetime.fromisoformat(holder.heartbeat) <= STALE


def _refuse_if_alive(holder: LeaseRow, now: datetime, path: Path) -> None:
    if not is_alive(holder, now):
        return
    is_here = holder.host == socket.gethostname()
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
        is_given_up = holder.pid == os.getpid() and holder.token not in _LIVE
        return is_same and not is_given_up and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
