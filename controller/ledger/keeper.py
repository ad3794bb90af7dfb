"""Keeps a campaign's digest beside its writer, in the thread of the heartbeat, so that no append waits for it.

Laws:
    * Whatever goes wrong here, the campaign goes on: the digest only makes ``status`` quick.
    * Short campaigns have none: they are read in a moment as they are.
    * What a digest says is not known here: whoever opens the ledger gives what is kept.
"""

from __future__ import annotations

import logging
import sqlite3
import time

from ..records import AnyEvent
from . import digest as ledger_digest
from .digest import Forgotten, Keeping, Kept
from .file import immediate

EVERY = 1_000  # events between two digests: what ``status`` then reads besides
MOST = 20_000  # events a beat, so that a long ledger without a digest is caught up with in small parts
AGAIN_S = 60.0  # at least, between two tellings from the beginning
_WAIT_S = 1.0
_LOG = logging.getLogger(__name__)


class Keeper:
    """One campaign's."""

    def __init__(self, campaign: str, keeping: Keeping) -> None:
        self._campaign = campaign
        self._keeping = keeping
        self._standing: Kept | None = None
        self._stored = 0  # seq of the last digest
        self._has_payload = False
        self._told_anew = -AGAIN_S
        self._is_broken = False

    def work(self, driver: sqlite3.Connection) -> None:
        """Follow what was written since; called at each beat, and at the end."""
        if self._is_broken:
            return
        try:
            self._follow(driver)
        except sqlite3.Error:
            return  # a lock or a full disk: the next beat tries again
        except Exception as error:
            self._is_broken = True
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            _LOG.warning("campaign %s: no digest is kept (%s), so 'status' reads all events", self._campaign, why)
            _LOG.debug("the digest's fault", exc_info=True)

    def _follow(self, driver: sqlite3.Connection) -> None:
        standing = self._standing or self._begin(driver)
        if standing is None:
            return
        try:
            self._catch_up(driver, standing)
        except Forgotten:
            self._standing = self._tell_anew(driver)
            if self._standing is not None:
                self._catch_up(driver, self._standing)

    def _catch_up(self, driver: sqlite3.Connection, standing: Kept) -> None:
        for _ in range(0, MOST, EVERY):
            events = ledger_digest.after(driver, self._campaign, standing.seq, most=EVERY)
            for event in events:
                standing.tell(event)
            if not self._has_payload or standing.seq >= self._stored + EVERY:
                self._store(driver, standing)
            if len(events) < EVERY:
                return

    def _begin(self, driver: sqlite3.Connection) -> Kept | None:
        """Go on from the last digest; None: the campaign is too short for one."""
        found = ledger_digest.restart(driver, self._campaign)
        if found.payload:
            try:
                place = self._keeping.restore(found.payload, lambda seq: self._event(driver, seq))
                self._standing, self._stored, self._has_payload = place, found.seq, True
                return place
            except Forgotten:
                pass
        ((n_events,),) = driver.execute("SELECT coalesce(max(seq), 0) FROM event WHERE campaign = ?", (self._campaign,))
        if n_events < EVERY:
            return None
        self._standing = self._tell_anew(driver)
        return self._standing

    def _event(self, driver: sqlite3.Connection, seq: int) -> AnyEvent:
        return ledger_digest.declared_in(driver, self._campaign, seq)

    def _tell_anew(self, driver: sqlite3.Connection) -> Kept | None:
        if time.monotonic() < self._told_anew + AGAIN_S:
            return None
        self._told_anew, self._stored, self._has_payload = time.monotonic(), 0, False
        with immediate(driver, wait_s=_WAIT_S):
            ledger_digest.clear(driver, self._campaign)
        return self._keeping.anew(ledger_digest.turns(driver, self._campaign))

    def _store(self, driver: sqlite3.Connection, standing: Kept) -> None:
        entry = standing.entry()
        with immediate(driver, wait_s=_WAIT_S):
            ledger_digest.store(driver, self._campaign, standing.seq, entry)
        self._stored, self._has_payload = standing.seq, entry.payload is not None
