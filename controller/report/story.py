"""A campaign as a person reads it: its trials with their times, what was spent, the best so far, the forecasts' worth.

Like ``State`` it is what the events add up to, but it needs no NumPy and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ..calibration import Calibration, Scored, calibration, second_half
from ..errors import LedgerError
from ..ledger import reader as ledger_reader
from ..ledger.rows import uncollected
from ..lifecycle import READ, RUNNING, Status, TrialEvent, after, born, is_guard
from ..records import (
    Acting,
    Amended,
    AnyEvent,
    Approved,
    Assimilated,
    Cost,
    Ending,
    Failed,
    Noted,
    Observed,
    Paused,
    Proposed,
    Quarantined,
    Reading,
    Recalled,
    Refused,
    Restored,
    Resumed,
    Settled,
    Started,
    Stopped,
    Trial,
)
from .declaration import Declaration, declaration_of
from .ranking import margin, merit, nearest_to_all, objectives, with_one_more
from .sayings import saying


@dataclass(frozen=True)
class TrialStory:
    """One trial from its proposal to its answer."""

    trial: Trial  # as approved: a person may have changed its setting
    by: str
    proposed: datetime | None
    status: Status = "approved"
    proposal: Trial | None = None  # as proposed
    answered: datetime | None = None
    reading: Reading | None = None
    failure: Failed | None = None
    spent: Mapping[str, float] = field(default_factory=dict)  # by the campaign, once this was answered
    charged: Cost = field(default_factory=dict)  # what its present attempt was charged
    cost: Cost = field(default_factory=dict)  # what all its attempts were charged
    asks: str = ""  # why a person must approve it
    attempt: int = 1
    doubt: Literal["", "unasked", "unknown", "asked"] = ""  # whether the driver was asked, and then a person
    history: tuple[TrialEvent, ...] = ()  # all that happened to it but its readings

    @property
    def number(self) -> int:
        """Its number."""
        return self.trial.number

    @property
    def is_read(self) -> bool:
        """Whether it gave a reading that counts."""
        return self.status in READ

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
        self.recalled: dict[str, int] = {}  # how many readings of each earlier campaign, by its name here
        self.pauses: dict[str, Paused] = {}  # by who paused
        self.unsafe: dict[str, str] = {}  # instruments that may not be safe, and what was said of them
        self.ending: Ending | None = None
        self.stopped: Stopped | None = None
        self.best: TrialStory | None = None
        self.front: list[TrialStory] = []  # of a trade-off: the readings that none dominates, in the order of answers
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
                told = cls(declaration_of(event))
            told.tell(event)
        if told is None:
            raise LedgerError("the campaign has no events; run 'closedloop verify'")
        return told

    @property
    def paused(self) -> Paused | None:
        """The oldest pause that holds."""
        return min(self.pauses.values(), key=lambda pause: pause.seq, default=None)

    def tell(self, event: AnyEvent) -> None:
        """One event more."""
        self.seq, self.last = event.seq, event.time or self.last
        self._note(event)
        match event:
            case Started() | Recalled():
                self._begun(event)
            case Proposed():
                number, trial = event.trial.number, event.trial
                known = TrialStory(trial, event.by, event.time, born(event), proposal=trial, asks=event.asks)
                self.trials[number] = known
            case Observed():
                self._observed(event)
            case Failed():
                self._failed(event)
            case Approved() | Refused() | Acting() | Settled() | Quarantined() | Restored():
                self._happened(event)
            case Paused():
                self.pauses[event.by] = event
            case Resumed():
                resume(self.pauses, event)
                if not is_guard(event.by):  # a person has seen to it
                    self.unsafe = {}
            case Noted() if event.unsafe:
                self.unsafe = {**self.unsafe, event.unsafe: event.text}
            case Ending():
                self.ending = event
            case Amended():
                self.declared = declaration_of(event)
                self._ranked_anew()
            case Stopped():
                self.stopped = event

    @property
    def running(self) -> list[TrialStory]:
        """Approved and not answered, oldest first."""
        return [t for t in self.trials.values() if t.status in RUNNING]

    @property
    def reserved(self) -> dict[str, float]:
        """What the trials that wait or run are expected to cost."""
        total: dict[str, float] = {}
        for t in (*self.in_status("proposed"), *self.running):
            for resource, amount in t.trial.cost.items():
                total[resource] = total.get(resource, 0.0) + amount
        return total

    def in_status(self, *statuses: Status) -> list[TrialStory]:
        """The trials of these statuses, oldest first."""
        return [t for t in self.trials.values() if t.status in statuses]

    def of_source(self, source: str) -> list[TrialStory]:
        """All trials of one source, in order of number."""
        return [t for t in self.trials.values() if t.trial.source == source]

    def n_answered(self, kind: str) -> int:
        """How many readings instruments, or simulators, gave."""
        sources = self.declared.sources
        return sum(t.is_read and sources[t.trial.source].kind == kind for t in self.trials.values())

    def n_failed(self) -> int:
        """How many trials gave nothing."""
        return sum(t.status in ("failed", "invalid") and t.reading is None for t in self.trials.values())

    def scored(self, response: str | None = None, *, source: str | None = None) -> list[Scored]:
        """Forecasts against readings, in the order of the answers; of the target and all responses unless named."""
        source = source or self.declared.target
        names = [response] if response else list(self.declared.responses)
        answered = (self.trials[n] for n in self.answered if self.trials[n].trial.source == source)
        return [s for t in answered if t.is_read for r in names if (s := t.scored(r)) is not None]

    def worth(self) -> Calibration | None:
        """What all forecasts of the target were worth."""
        return calibration(self.scored())

    def late_worth(self) -> Calibration | None:
        """What the later half of them was worth: once the belief had learned."""
        return calibration(second_half(self.scored()))

    def best_so_far(self) -> list[float]:
        """The best objective after each reading of the target."""
        return [x for _, b in self.course if b.reading and (x := self.objective(b.reading.values)) is not None]

    def objective(self, values: Mapping[str, float]) -> float | None:
        """The goal's expression, or the distance to its value; None where it has no value, or no single one."""
        found = self.objectives(values)
        return found[0] if len(found) == 1 else None

    def objectives(self, values: Mapping[str, float]) -> list[float]:
        """The same of each objective of the goal; empty where one has no value, and for a goal without objectives."""
        return objectives(self.declared, values)

    def is_feasible(self, values: Mapping[str, float]) -> bool:
        """Whether a reading keeps the outcome constraints."""
        return margin(self.declared, values) >= 0

    def _note(self, event: AnyEvent) -> None:
        """What a reader of the report should know beside the trials themselves."""
        match event:
            case Assimilated():
                text = event.note
            case Noted():
                text = event.text
            case Acting() | Failed():
                return
            case _:
                known = self.trials.get(getattr(event, "trial", 0)) if not isinstance(event, Proposed) else None
                before = known.trial.setting if known else None
                words = saying(event, units=self.declared.parameters, before=before)
                text = f"{event.kind} {words}" if words else ""
        if text:
            self.notes.append((event.time, text))

    def _begun(self, event: Started | Recalled) -> None:
        if isinstance(event, Started):
            self.began, self.provenance = event.time, event.provenance
        else:
            self.recalled = {**self.recalled, event.name: len(event.readings)}

    def _observed(self, event: Observed) -> None:
        known = self._next(event)
        known = self._charged(
            replace(known, reading=event.reading, doubt=""), {**known.trial.cost, **event.reading.cost}
        )
        self._answered(known, event.time)
        self._rank(self.trials[event.trial])

    def _failed(self, event: Failed) -> None:
        was_running = event.trial in self.trials and self.trials[event.trial].status in RUNNING
        known = replace(self._next(event), failure=event, doubt="unasked" if event.is_in_doubt else "")
        if event.cost is not None or was_running:
            known = self._charged(known, known.trial.cost if event.cost is None else event.cost)
        self._answered(known, event.time)

    def _happened(self, event: Approved | Refused | Acting | Settled | Quarantined | Restored) -> None:
        """Anything but an answer."""
        known = self._next(event)
        match event:
            case Approved() if event.setting:
                setting, forecast = {**known.trial.setting, **event.setting}, event.forecast or known.trial.forecast
                trial = known.trial.model_copy(update={"setting": setting, "forecast": forecast})
                known = replace(known, trial=trial)
            case Acting():
                known = replace(known, attempt=event.attempt)
            case Settled():
                known = self._settled(known, event)
        self.trials[event.trial] = known
        if isinstance(event, Quarantined | Restored):
            self._ranked_anew()

    def _settled(self, known: TrialStory, event: Settled) -> TrialStory:
        if event.outcome == "not_started":
            known = self._charged(known, {})
        if known.status == "approved":  # the next attempt is charged on top of this one
            return replace(known, doubt="", charged={}, attempt=known.attempt + 1)
        if event.outcome == "asked" or (event.outcome == "unknown" and known.doubt != "asked"):
            return replace(known, doubt=event.outcome)
        return known

    def _next(self, event: TrialEvent) -> TrialStory:
        """The trial with the status that the event gives it."""
        known = self.trials.get(event.trial)
        status = after(known.status, event) if known else None
        if known is None or status is None:
            said = f"is {known.status}" if known else "was never proposed"
            words = f"event {event.seq}: trial {event.trial} {said}, so it cannot be {event.kind}"
            raise LedgerError(f"{words}; run 'closedloop verify'")
        history = known.history if isinstance(event, Observed) else (*known.history, event)
        return replace(known, status=status, history=history)

    def _charged(self, known: TrialStory, cost: Mapping[str, float]) -> TrialStory:
        """The trial's present attempt costs this, whatever it was charged before."""
        total = dict(known.cost)
        for resource in {*cost, *known.charged}:
            more = cost.get(resource, 0.0) - known.charged.get(resource, 0.0)
            self.spent[resource] = self.spent.get(resource, 0.0) + more
            total[resource] = total.get(resource, 0.0) + more
        return replace(known, charged=dict(cost), cost=total)

    def _answered(self, known: TrialStory, time: datetime | None) -> None:
        if known.answered is not None:  # it was given up, and then answered after all
            self.answered.remove(known.number)
        self.trials[known.number] = replace(known, answered=time, spent=dict(self.spent))
        self.answered.append(known.number)

    def _rank(self, known: TrialStory) -> None:
        goal = self.declared.goal
        if known.trial.source != self.declared.target or not goal.aims:
            return
        if goal.kind == "trade_off":
            self.front = with_one_more(self.declared, self.front, known)
            if self.front:
                self.best = nearest_to_all(self.declared, self.front)
                return
        if self.best is None or merit(self.declared, known) > merit(self.declared, self.best):
            self.best = known
        if goal.kind == "optimise":
            self.course.append((known, self.best))

    def _ranked_anew(self) -> None:
        """The goal or a reading's worth changed."""
        self.best, self.front, self.course = None, [], []
        for number in self.answered:
            if self.trials[number].is_read:
                self._rank(self.trials[number])


def read_events(path: str | Path, campaign: str | None = None) -> list[AnyEvent]:
    """All events of a campaign.

    Raises:
        LedgerError: if the file is no ledger, the campaign is not in it, or an event cannot be read.
    """
    with _explained(path):
        return ledger_reader.events(path, campaign)


def read_story(path: str | Path, campaign: str | None = None) -> Story:
    """The story of a campaign in a ledger.

    Raises:
        LedgerError: as ``read_events`` does.
    """
    with _explained(path), uncollected():
        return Story.of(ledger_reader.stream(path, campaign))


@contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        where = error.errors(include_url=False)[0]
        raise LedgerError(f"{path}: an event cannot be read ({where['msg']}); run 'closedloop verify'") from error


def resume(pauses: dict[str, Paused], event: Resumed) -> None:
    """A guard ends its own pause, a person every one."""
    if is_guard(event.by):
        pauses.pop(event.by, None)
    else:
        pauses.clear()
