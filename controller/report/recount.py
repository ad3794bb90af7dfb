"""Whether a digest says what the events say: it is told anew from the first event on, in one snapshot.

A digest is no part of the chain of hashes, so whoever can write the file could make ``status`` lie by changing one.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from math import isclose
from pathlib import Path
from typing import Any

from ..calibration import Calibration, Scored
from ..ledger import digest as ledger_digest
from ..ledger.digest import Forgotten, Row, Snapshot, Turns
from ..lifecycle import Status
from .lookup import looked_up
from .retold import Retold
from .standing import VERSION, Mark, Standing
from .story import TrialStory
from .worth import Sums

OPEN: tuple[Status, ...] = ("proposed", "approved", "acting", "unknown", "late", "cancelled")


class Recount(Retold):
    """Keeps of what it forgets the scores, 16 bytes each, so that the sums over any beginning can be made again."""

    def __init__(self, turns: Turns) -> None:
        self._past = array("d")  # z and sd of each, in turn
        super().__init__(turns)

    def late_worth(self, marks: object = None) -> Calibration | None:
        """What the later half of all forecasts was worth."""
        held, n_past = self.scored(), len(self._past) // 2
        n_early = (n_past + len(held)) // 2
        past = (self._score(k) for k in range(n_early, n_past))
        return Sums.of([*past, *held[max(0, n_early - n_past) :]]).calibration()

    def strange(self, rows: list[Row]) -> Iterator[int]:
        """The digests, by seq, whose sums are not those of the scores."""
        sums, k = Sums(), 0
        for row in sorted(rows, key=lambda row: row.n_scored):
            while k < min(row.n_scored, len(self._past) // 2):
                sums.add(self._score(k))
                k += 1
            if k != row.n_scored or not _is_mark(row.sums, sums):
                yield row.seq

    def _score(self, k: int) -> Scored:
        return Scored(self._past[2 * k], self._past[2 * k + 1])

    def _scored_of(self, t: TrialStory) -> list[Scored]:
        found = super()._scored_of(t)
        for s in found:
            self._past.extend((s.z, s.sd))
        return found


def faults(path: str | Path, campaign: str) -> list[tuple[int, str]]:
    """What is wrong with the digests of a campaign, each with the event that it was made after."""
    with ledger_digest.snapshot(path, campaign) as snapshot:
        rows = snapshot.rows()
        if not rows:
            return []
        found = [(r.seq, "was not made of that event") for r in rows if not r.is_sound]
        told = Recount(snapshot.turns())
        for event in snapshot.events():
            told.tell(event)
        sound = [r for r in rows if r.is_sound]
        found += [(seq, "holds other sums than the forecasts and readings") for seq in told.strange(sound)]
        newest = max((r for r in sound if r.payload), key=lambda r: r.seq, default=None)
        if newest is not None and not _is_older(newest.payload):
            found += [(newest.seq, why) for why in _differences(snapshot, newest, told)]
    return sorted(found)


def _differences(snapshot: Snapshot, row: Row, told: Recount) -> list[str]:
    try:
        kept = looked_up(snapshot.path, ledger_digest.Digest(snapshot.campaign, row.seq, row.payload), to=told.seq)
        ours, theirs = _facts(told), _facts(kept)
    except (Forgotten, ValueError, LookupError, TypeError) as error:
        return [f"cannot be read ({type(error).__name__})"]
    return [f"says otherwise than the events what is {name}" for name in ours if not _same(ours[name], theirs[name])]


def _facts(standing: Standing) -> dict[str, Any]:
    """All that ``status`` shows."""
    return {
        "declared": standing.declared.raw,
        "spent": standing.spent,
        "best": standing.best,
        "the front": standing.front,
        "counted": (standing.n_answered("instrument"), standing.n_answered("simulator"), standing.n_failed()),
        "open": [standing.in_status(s) for s in OPEN],
        "set aside": [t for t in standing.in_status("invalid") if t.reading],
        "newest": [standing.trials[n] for n in standing.answered[-2:]],
        "the course": standing.best_so_far(),
        "paused": (standing.pauses, standing.ending, standing.stopped),
        "the forecasts' worth": standing.worth(),
        "the later forecasts' worth": standing.late_worth(),
    }


def _same(a: Any, b: Any) -> bool:
    if not isinstance(a, Calibration) or not isinstance(b, Calibration):
        return bool(a == b)
    pairs = ((a.mean_z, b.mean_z), (a.sd_z, b.sd_z), (a.crps, b.crps))
    is_close = all(isclose(x, y, rel_tol=1e-9, abs_tol=1e-12) for x, y in pairs)
    return is_close and (a.n, a.coverage) == (b.n, b.coverage)


def _is_mark(text: str, sums: Sums) -> bool:
    try:
        return _same(Mark.of(text).sums.calibration(), sums.calibration())
    except (ValueError, LookupError, TypeError):
        return False


def _is_older(payload: str) -> bool:
    """Whether another closedloop made it, so that it is not read."""
    try:
        return bool(json.loads(payload)["v"] != VERSION)
    except (ValueError, LookupError, TypeError):
        return False
