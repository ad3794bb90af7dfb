"""A story that forgets: where a long campaign stands, from what was kept of it and the events since.

Laws:
    * A standing says what the whole story says: of what is running, waiting, set aside, best, spent and worth.
    * It holds the trials that are open or exceptional and the newest answers in full, and of the rest only sums.
    * What touches a trial that it forgot raises ``Forgotten``: then the whole story is to be read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter

from ..calibration import Calibration, Scored
from ..ledger.digest import Entry, Forgotten
from ..lifecycle import Status, TrialEvent
from ..records import Amended, AnyEvent, Ending, Paused, Restored, Started, Stopped
from .declaration import Declaration
from .ranking import merit, with_one_more
from .story import Story, TrialStory
from .worth import Sums

VERSION = 4  # of the dump; another one is not read
WINDOW = 100  # answers held in full at least; a reader shows fewer, and an outlier is set aside sooner
_LOST = ("failed", "invalid")


@dataclass(frozen=True)
class Mark:
    """The sums over the first scored readings of a campaign, up to an answer."""

    sums: Sums
    answer: int = 0  # seq of the last answer that is in them

    def text(self) -> str:
        """As JSON."""
        return json.dumps({"answer": self.answer, "sums": vars(self.sums)})

    @classmethod
    def of(cls, text: str) -> Mark:
        """The inverse of ``text``."""
        found = json.loads(text)
        return cls(Sums.load(found["sums"]), found["answer"])


Marks = Callable[[int], tuple[Mark, Iterable[TrialStory]]]  # n -> a mark of at most n scored, and the answers behind it


class Dump(BaseModel):
    """A standing as JSON."""

    v: int
    seq: int
    declared: int  # seq of the event that holds the declaration
    began: datetime | None
    last: datetime | None
    spent: dict[str, float]
    pauses: dict[str, Paused]
    recalled: dict[str, int] = {}
    unsafe: dict[str, str]
    ending: Ending | None
    stopped: Stopped | None
    trials: list[Any]
    best: Any
    front: list[Any]
    told: list[int]
    answered: list[int]
    answers: dict[int, int]
    n_read: dict[str, int]
    n_lost: int
    runs: list[tuple[float, int]]
    sums: dict[str, Any]
    answer: int


class Standing(Story):
    """Told event by event, like a story."""

    def __init__(self, declared: Declaration, *, window: int = WINDOW) -> None:
        super().__init__(declared)
        self.window = window
        self.declared_seq = 0
        self.mark = Mark(Sums())
        self._told: set[int] = set()  # held though they are in the sums already: late ones, and the newest
        self._answers: dict[int, int] = {}  # seq of the answer of each number in ``answered``
        self._n_read: dict[str, int] = {}  # forgotten readings by source
        self._n_lost = 0  # forgotten trials that gave nothing
        self._best: TrialStory | None = None  # of what was forgotten
        self._front: list[TrialStory] = []  # of what was forgotten
        self._runs: list[tuple[float, int]] = []  # the course of what was forgotten: the best by then, for how long

    def tell(self, event: AnyEvent) -> None:
        """One event more.

        Raises:
            Forgotten: if it is about a trial that is no longer held, or changes what all trials are worth.
        """
        if isinstance(event, TrialEvent):
            self._check_held(event)
        if (
            isinstance(event, Amended)
            and self.mark.answer
            and _worth_of(event.campaign) != _worth_of(self.declared.raw)
        ):
            raise Forgotten
        if isinstance(event, Started | Amended):
            self.declared_seq = event.seq
        super().tell(event)
        if isinstance(event, TrialEvent) and event.trial in self.answered[-1:]:
            self._answers.setdefault(event.trial, event.seq)
        if len(self.answered) > 2 * self.window:
            self._forget()

    def n_answered(self, kind: str) -> int:
        """How many readings instruments, or simulators, gave."""
        sources = self.declared.sources
        return sum(n for s, n in self._n_read.items() if sources[s].kind == kind) + sum(
            t.is_read and sources[t.trial.source].kind == kind for t in self._untold()
        )

    def n_failed(self) -> int:
        """How many trials gave nothing."""
        return self._n_lost + sum(t.status in _LOST and t.reading is None for t in self._untold())

    def in_status(self, *statuses: Status) -> list[TrialStory]:
        """The trials of these statuses, oldest first; of readings and failures only the newest."""
        return sorted(super().in_status(*statuses), key=lambda t: t.number)

    def best_so_far(self) -> list[float]:
        """The best objective after each reading of the target."""
        return [x for value, n in self._runs for x in [value] * n] + super().best_so_far()

    def worth(self) -> Calibration | None:
        """What all forecasts of the target were worth."""
        return self.mark.sums.plus(Sums.of(self.scored())).calibration()

    def late_worth(self, marks: Marks | None = None) -> Calibration | None:
        """What the later half of them was worth.

        Args:
            marks: how to find the sums over the earlier half, where that is forgotten.
        """
        held = self.scored()
        n_early = (self.mark.sums.n + len(held)) // 2
        if n_early >= self.mark.sums.n:
            return Sums.of(held[n_early - self.mark.sums.n :]).calibration()
        mark, answers = (marks or self.marks)(n_early)
        early = Sums().plus(mark.sums)
        rest = (s for t in answers for s in self._scored_of(t))
        while early.n < n_early:
            early.add(next(rest))
        return self.mark.sums.plus(Sums.of(held)).plus(early, sign=-1).calibration()

    marks: Marks

    def dump(self) -> str:
        """As JSON; ``restore`` is the inverse."""
        trials = _trials()
        made = Dump(
            v=VERSION,
            seq=self.seq,
            declared=self.declared_seq,
            began=self.began,
            last=self.last,
            spent=self.spent,
            pauses=self.pauses,
            recalled=self.recalled,
            unsafe=self.unsafe,
            ending=self.ending,
            stopped=self.stopped,
            trials=[trials.dump_python(t, mode="json") for t in self.trials.values()],
            best=self._best and trials.dump_python(self._best, mode="json"),
            front=[trials.dump_python(t, mode="json") for t in self._front],
            told=sorted(self._told),
            answered=self.answered,
            answers=self._answers,
            n_read=self._n_read,
            n_lost=self._n_lost,
            runs=self._runs,
            sums=vars(self.mark.sums),
            answer=self.mark.answer,
        )
        return made.model_dump_json()

    @property
    def is_right(self) -> bool:
        """Whether it says what the whole story says by now."""
        return True

    def entry(self) -> Entry:
        """What is stored of it."""
        payload = self.dump() if self.is_right else None
        return Entry(n_scored=self.mark.sums.n, sums=self.mark.text(), payload=payload)

    @classmethod
    def restore(cls, text: str, declared: Callable[[int], Declaration], *, window: int = WINDOW) -> Standing:
        """From a dump.

        Raises:
            Forgotten: if it is none that can be read.
        """
        try:
            found = Dump.model_validate_json(text)
            held = [_trials().validate_python(t) for t in found.trials]
            best = found.best and _trials().validate_python(found.best)
            front = [_trials().validate_python(t) for t in found.front]
        except ValueError as error:
            raise Forgotten from error
        if found.v != VERSION:
            raise Forgotten
        made = cls(declared(found.declared), window=window)
        made.declared_seq, made.seq, made.began, made.last = found.declared, found.seq, found.began, found.last
        made.spent, made.pauses, made.ending, made.stopped = found.spent, found.pauses, found.ending, found.stopped
        made.unsafe, made.recalled = found.unsafe, found.recalled
        made.trials = {t.number: t for t in held}
        made.answered, made._answers, made._told = found.answered, found.answers, set(found.told)
        made._n_read, made._n_lost, made._best, made._runs = found.n_read, found.n_lost, best, found.runs
        made._front = front
        made.mark = Mark(Sums.load(found.sums), found.answer)
        made._ranked_anew()
        return made

    def _untold(self) -> Iterable[TrialStory]:
        return (t for n, t in self.trials.items() if n not in self._told)

    def _check_held(self, event: TrialEvent) -> None:
        is_gone = event.trial not in self.trials or event.trial in self._told
        is_out_of_place = isinstance(event, Restored) and event.trial not in self.answered
        if is_gone or is_out_of_place:
            raise Forgotten

    def _scored_of(self, t: TrialStory) -> list[Scored]:
        is_of_target = t.is_read and t.trial.source == self.declared.target
        return [s for r in self.declared.responses if (s := t.scored(r)) is not None] if is_of_target else []

    def _note(self, event: AnyEvent) -> None:
        """Notes are for a report, which reads the whole story."""

    def _answered(self, known: TrialStory, time: datetime | None) -> None:
        self._answers.pop(known.number, None)
        if known.answered is not None and known.number not in self.answered:
            self.answered.append(known.number)  # held, but out of its place: it is answered anew
        super()._answered(known, time)

    def _ranked_anew(self) -> None:
        self.best, self.front, self.course = self._best, self._front, []
        for number in self.answered:
            if self.trials[number].is_read:
                self._rank(self.trials[number])

    def _forget(self) -> None:
        """All but the newest answers become sums."""
        newest = max(self.trials)
        n_ranked, sums, answer = 0, Sums().plus(self.mark.sums), self.mark.answer
        for number in self.answered[: -self.window]:
            t = self.trials[number]
            if self._keeps(t):
                continue
            answer = max(answer, self._answers.pop(number))
            if t.is_read:
                n_ranked += t.trial.source == self.declared.target
                self._forget_front(t)
                self._n_read[t.trial.source] = self._n_read.get(t.trial.source, 0) + 1
                for s in self._scored_of(t):
                    sums.add(s)
            elif t.status in _LOST and t.reading is None:
                self._n_lost += 1
            else:
                continue  # in doubt, running again, cancelled or set aside: held, and in no sum
            if t.status == "late" or number == newest:
                self._told.add(number)
            else:
                del self.trials[number]
        self.answered = self.answered[-self.window :]
        self.mark = Mark(sums, answer)
        self._forget_course(n_ranked)

    def _keeps(self, t: TrialStory) -> bool:
        """Whether a trial is held though it was answered long ago."""
        return False

    def _forget_front(self, t: TrialStory) -> None:
        """Of a trade-off the front is kept, and while there is none the best reading."""
        if self.declared.goal.kind != "trade_off" or t.trial.source != self.declared.target:
            return
        self._front = with_one_more(self.declared, self._front, t)
        if not self._front and (self._best is None or merit(self.declared, t) > merit(self.declared, self._best)):
            self._best = t

    def _forget_course(self, n: int) -> None:
        for _, best in self.course[:n]:
            self._best = best
            x = self.objective(best.reading.values) if best.reading else None
            if x is None:
                continue
            value, length = self._runs.pop() if self._runs and self._runs[-1][0] == x else (x, 0)
            self._runs.append((value, length + 1))
        self.course = self.course[n:]


def _worth_of(raw: Any) -> tuple[Any, ...]:
    """What a declaration says of the worth of readings."""
    declared = Declaration.of(raw)
    table = (raw.get("candidates") or {}).get("digest")
    space = raw["parameters"], raw.get("constraints", []), raw.get("mixtures"), raw.get("predicates"), table
    return raw["goal"], raw["responses"], space, declared.target, list(raw["sources"])


@cache
def _trials() -> TypeAdapter[TrialStory]:
    return TypeAdapter(TrialStory)
