"""A campaign as a person reads it: its trials with their times, what was spent, the best so far, the forecasts' worth.

Like ``State`` it is what the events add up to, but it needs no NumPy and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from .. import ledger_reader
from ..calibration import Scored
from ..errors import LedgerError
from ..records import (
    AnyEvent,
    Assimilated,
    Failed,
    Noted,
    Observed,
    Proposed,
    Reading,
    Started,
    Stopped,
    Trial,
)
from .declaration import Declaration


@dataclass(frozen=True)
class TrialStory:
    """One trial from its proposal to its answer."""

    trial: Trial
    by: str
    proposed: datetime | None
    answered: datetime | None = None
    reading: Reading | None = None
    failure: Failed | None = None
    spent: Mapping[str, float] = field(default_factory=dict)  # by the campaign, once this was answered

    @property
    def number(self) -> int:
        """Its number."""
        return self.trial.number

    @property
    def status(self) -> str:
        """Running, observed or failed."""
        return "observed" if self.reading else "failed" if self.failure else "running"

    @property
    def seconds(self) -> float | None:
        """From proposal to answer."""
        return (self.answered - self.proposed).total_seconds() if self.answered and self.proposed else None

    def scored(self, response: str) -> Scored | None:
        """The reading against its forecast; None where there is not both."""
        forecast = self.trial.forecast
        mean, sd = forecast.mean.get(response), forecast.sd.get(response, 0.0)
        if self.reading is None or mean is None or sd <= 0 or response not in self.reading.values:
            return None
        return Scored((self.reading.values[response] - mean) / sd, sd)


class Story:
    """Told event by event, it knows where a campaign stands."""

    def __init__(self, declared: Declaration) -> None:
        self.declared = declared
        self.provenance: dict[str, str] = {}
        self.seq = 0
        self.began: datetime | None = None
        self.last: datetime | None = None  # time of the last event
        self.trials: dict[int, TrialStory] = {}
        self.answered: list[int] = []  # numbers in the order of their answers
        self.spent: dict[str, float] = {}
        self.notes: list[tuple[datetime | None, str]] = []
        self.stopped: Stopped | None = None
        self.best: TrialStory | None = None
        self.course: list[tuple[TrialStory, TrialStory]] = []  # each reading of the target, and the best by then

    @classmethod
    def of(cls, events: Iterable[AnyEvent]) -> Story:
        """The whole story; the first event is the declaration.

        Raises:
            LedgerError: if it is not.
        """
        told: Story | None = None
        for event in events:
            if told is None:
                if not isinstance(event, Started):
                    raise LedgerError(f"the campaign begins with {event.kind!r}, not with 'started'; run 'verify'")
                told = cls(Declaration.of(event.campaign))
            told.tell(event)
        if told is None:
            raise LedgerError("the campaign has no events; run 'closedloop verify'")
        return told

    def tell(self, event: AnyEvent) -> None:
        """One event more."""
        self.seq, self.last = event.seq, event.time or self.last
        match event:
            case Started():
                self.began, self.provenance = event.time, event.provenance
            case Proposed():
                self.trials[event.trial.number] = TrialStory(event.trial, event.by, event.time)
            case Observed():
                self._observed(event)
            case Failed():
                self._answered(event.trial, event.time, failure=event)
            case Assimilated() if event.note:
                self.notes.append((event.time, event.note))
            case Noted():
                self.notes.append((event.time, event.text))
            case Stopped():
                self.stopped = event

    @property
    def running(self) -> list[TrialStory]:
        """Proposed and not answered, oldest first."""
        return [t for t in self.trials.values() if t.status == "running"]

    def of_source(self, source: str) -> list[TrialStory]:
        """All trials of one source, in order of number."""
        return [t for t in self.trials.values() if t.trial.source == source]

    def n_answered(self, kind: str) -> int:
        """How many readings instruments, or simulators, gave."""
        sources = self.declared.sources
        return sum(t.reading is not None and sources[t.trial.source].kind == kind for t in self.trials.values())

    def n_failed(self) -> int:
        """How many trials gave nothing."""
        return sum(t.failure is not None for t in self.trials.values())

    def scored(self, response: str | None = None, *, source: str | None = None) -> list[Scored]:
        """Forecasts against readings, in the order of the answers; of the target and all responses unless named."""
        source = source or self.declared.target
        names = [response] if response else list(self.declared.responses)
        answered = (self.trials[n] for n in self.answered if self.trials[n].trial.source == source)
        return [s for t in answered for r in names if (s := t.scored(r)) is not None]

    def objective(self, values: Mapping[str, float]) -> float | None:
        """The goal's expression, or the distance to its value; None where it has no value."""
        try:
            x = float(self.declared.goal.in_words(self.declared.goal.objective(values)))
        except (ArithmeticError, ValueError, KeyError, TypeError):
            return None
        return x if math.isfinite(x) else None

    def is_feasible(self, values: Mapping[str, float]) -> bool:
        """Whether a reading keeps the outcome constraints."""
        return self._margin(values) >= 0

    def _observed(self, event: Observed) -> None:
        known = self._answered(event.trial, event.time, reading=event.reading)
        if known.trial.source == self.declared.target:
            if self.best is None or self._merit(known) > self._merit(self.best):
                self.best = known
            self.course.append((known, self.best))

    def _answered(
        self,
        number: int,
        time: datetime | None,
        *,
        reading: Reading | None = None,
        failure: Failed | None = None,
    ) -> TrialStory:
        known = self.trials.get(number)
        if known is None:
            raise LedgerError(f"trial {number} was answered and never proposed; run 'closedloop verify'")
        cost = {**known.trial.cost, **(reading.cost if reading else {})}
        for resource, amount in cost.items():
            self.spent[resource] = self.spent.get(resource, 0.0) + amount
        known = replace(known, answered=time, reading=reading, failure=failure, spent=dict(self.spent))
        self.trials[number] = known
        self.answered.append(number)
        return known

    def _merit(self, t: TrialStory) -> tuple[bool, float]:
        values = t.reading.values if t.reading else {}
        margin = self._margin(values)
        if margin < 0:
            return False, margin
        x = self.objective(values)
        sign = 1.0 if self.declared.goal.aim == "maximize" else -1.0
        return True, -math.inf if x is None else sign * x

    def _margin(self, values: Mapping[str, float]) -> float:
        try:
            return min((float(m) for m in self.declared.goal.margins(values)), default=0.0)
        except (ArithmeticError, ValueError, KeyError, TypeError):
            return -math.inf


def read_events(path: str | Path, campaign: str | None = None) -> list[AnyEvent]:
    """All events of a campaign.

    Raises:
        LedgerError: if the file is no ledger, the campaign is not in it, or an event cannot be read.
    """
    try:
        return ledger_reader.events(path, campaign)
    except ValidationError as error:
        where = error.errors(include_url=False)[0]
        raise LedgerError(f"{path}: an event cannot be read ({where['msg']}); run 'closedloop verify'") from error


def read_story(path: str | Path, campaign: str | None = None) -> Story:
    """The story of a campaign in a ledger."""
    return Story.of(read_events(path, campaign))
