"""What a chain of hashes cannot tell: whether events can be read, and can have happened in this order.

Laws:
    * Whatever ``evolve`` refuses, ``History`` refuses too, so a ledger that passes can be replayed.
    * A trial costs a few words of memory, so that a million events are followed; no NumPy is loaded.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from pydantic import ValidationError

from ..lifecycle import Status, TrialEvent, after, born, fault_of
from ..records import (
    AnyEvent,
    Assimilated,
    Observed,
    Proposed,
    Settled,
    Started,
    Stopped,
    load_event,
)

_LONGEST = 200  # characters of a foreign message


class Row(NamedTuple):
    """One row of the table ``event``, as it stands there."""

    seq: int
    time: str
    kind: str
    trial: int | None
    payload: str
    hash: str


class _Standing(NamedTuple):
    """Where a trial stands."""

    status: Status
    attempt: int = 1
    has_reading: bool = False


def read_row(row: Row) -> tuple[AnyEvent | None, str]:
    """The event of a row, and what is wrong with the row, if anything."""
    try:
        time = datetime.fromisoformat(row.time)
        event = load_event(row.payload, seq=row.seq, time=time)
    except ValueError as error:
        why = _cause(error)
        return None, f"event {row.seq} ({row.kind!s:.40}) cannot be read ({why}): changed, or of a newer closedloop"
    if time.tzinfo is None:
        return event, f"event {row.seq} ({row.kind!s:.40}) has a time without a zone, {row.time!r:.40}: changed"
    if not _columns_agree(row, event):
        return event, f"event {row.seq}: the columns kind and trial do not say what its payload says: changed"
    return event, ""


class History:
    """The events so far, told one by one; only what decides on the next one is kept."""

    def __init__(self) -> None:
        self._trials: dict[int, _Standing] = {}
        self._known: dict[_Standing, _Standing] = {}  # one object for all trials that stand alike
        self._is_stopped = False

    def tell(self, event: AnyEvent) -> str:
        """Take one event more; if it cannot follow, say why and leave it out."""
        fault = self._fault(event)
        if not fault:
            self._take(event)
        return fault

    def _fault(self, event: AnyEvent) -> str:
        match event:
            case Started() if event.seq > 1:
                return "the campaign was begun before"
            case Proposed() if self._is_stopped:
                return "the campaign was over"
            case Proposed() if event.trial.number in self._trials:
                return f"trial {event.trial.number} was proposed before"
            case Assimilated():
                told = [*event.trials, *(i.trial for i in event.innovations)]
                return next((f"trial {n} was never proposed" for n in told if n not in self._trials), "")
            case _ if isinstance(event, TrialEvent):
                known = self._trials.get(event.trial)
                return fault_of(event, **known._asdict()) if known else f"trial {event.trial} was never proposed"
        return "" if event.seq > 1 or isinstance(event, Started) else "a campaign begins with 'started'"

    def _take(self, event: AnyEvent) -> None:
        match event:
            case Proposed():
                self._file(event.trial.number, _Standing(born(event)))
            case Stopped():
                self._is_stopped = True
            case _ if isinstance(event, TrialEvent):
                self._happened(event)

    def _happened(self, event: TrialEvent) -> None:
        known = self._trials[event.trial]
        status = after(known.status, event) or known.status
        attempt = known.attempt + (isinstance(event, Settled) and status == "approved")
        self._file(event.trial, _Standing(status, attempt, known.has_reading or isinstance(event, Observed)))

    def _file(self, trial: int, standing: _Standing) -> None:
        self._trials[trial] = self._known.setdefault(standing, standing)


def _columns_agree(row: Row, event: AnyEvent) -> bool:
    number = event.trial.number if isinstance(event, Proposed) else getattr(event, "trial", None)
    return (row.kind, row.trial) == (event.kind, number)


def _cause(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where + ': ' if where else ''}{first['msg']}"[:_LONGEST]
    return str(error)[:_LONGEST]
