"""Recomputing the decisions of a ledger: each from the events before it, compared with what was written.

A person's own experiment is not recomputed, for nothing decided it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .campaign import Campaign
from .errors import LedgerError
from .records import AnyEvent, Assimilated, Noted, Paused, Proposed, Quarantined, Refused, Settled, Started, Stopped

if TYPE_CHECKING:
    from .state import State

MAX_NAMED = 4  # differences that are kept in words


@dataclass(frozen=True)
class Recomputed:
    """One decision, made again."""

    seq: int
    kind: str
    trial: int | None
    differences: tuple[str, ...] = ()  # what is not a number and differs
    deviation: float = 0.0  # the largest relative deviation of a number; 0 where all are exactly equal
    where: str = ""  # the number that deviates most

    def is_same(self, tolerance: float = 0.0) -> bool:
        """Whether it is the decision that was written, numbers within a relative tolerance."""
        return not self.differences and self.deviation <= tolerance


def recompute(events: Sequence[AnyEvent]) -> Iterator[Recomputed]:
    """Each decision in turn; a long campaign takes about as long as its decisions took.

    Raises:
        LedgerError: if the ledger does not begin with a declaration, or if an event cannot follow.
    """
    from .evolve import evolve
    from .state import State

    state = State(_declared(events))
    for event in events:
        if _is_decision(event):
            yield _compared(event, decided_again(state, event))
        state = evolve(state, event)


def decided_again(state: State, event: AnyEvent) -> AnyEvent | None:
    """What is decided at ``state`` in place of ``event``."""
    from .decide import decide, propose
    from .state import replaced

    if isinstance(event, Proposed) and event.by == "session":
        context = {n: v for n, v in event.trial.setting.items() if n in state.context_names}
        return propose(replaced(state, given=context), [event.trial.source], by="session")
    return decide(state)


def _declared(events: Sequence[AnyEvent]) -> Campaign:
    if not events or not isinstance(events[0], Started):
        raise LedgerError("the first event is no declaration, so nothing can be recomputed; run 'closedloop verify'")
    return Campaign.trusted(events[0].campaign)


def _is_decision(event: AnyEvent) -> bool:
    is_own = isinstance(event, Proposed) and event.by != "person"
    by = {Quarantined: "agent", Refused: "agent", Settled: "rule", Paused: "breaker"}.get(type(event))
    is_breaker = isinstance(event, Noted) and bool(event.rests)
    is_signed = by is not None and getattr(event, "by", "") == by
    return is_own or is_breaker or is_signed or isinstance(event, Assimilated | Stopped)


def _compared(event: AnyEvent, again: AnyEvent | None) -> Recomputed:
    trial = event.trial.number if isinstance(event, Proposed) else None
    if again is None or again.kind != event.kind:
        now = "to wait" if again is None else f"an event {again.kind!r}"
        return Recomputed(event.seq, event.kind, trial, (f"decides {now} now",))
    found = _Differences(_smallest_gain(event))
    found.walk("", _content(event), _content(again))
    return Recomputed(event.seq, event.kind, trial, tuple(found.texts[:MAX_NAMED]), found.deviation, found.where)


def _content(event: AnyEvent) -> dict[str, Any]:
    """What was decided: words and the rejected alternatives tell of a decision, and are not part of it."""
    if isinstance(event, Proposed):
        trial = event.trial.model_dump(mode="json", exclude={"why", "alternatives"})
        return {**trial, "gain": event.trial.why.gain}
    return event.model_dump(mode="json", exclude={"v", "seq", "time", "letter"})


def _smallest_gain(event: AnyEvent) -> float:
    """Below this a gain is rounding: a millionth of what the forecast leaves open."""
    return 1e-6 * max(event.trial.forecast.sd.values(), default=0.0) if isinstance(event, Proposed) else 0.0


class _Differences:
    """What differs between two trees of plain data."""

    def __init__(self, smallest_gain: float) -> None:
        self.smallest_gain = smallest_gain
        self.texts: list[str] = []
        self.deviation = 0.0
        self.where = ""

    def walk(self, path: str, old: Any, new: Any) -> None:
        """Compare two branches."""
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for key in sorted({*old, *new}):
                self.walk(f"{path}.{key}" if path else str(key), old.get(key), new.get(key))
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for k, (a, b) in enumerate(zip(old, new, strict=True)):
                self.walk(f"{path}[{k}]", a, b)
        elif _is_number(old) and _is_number(new):
            self._number(path, old, new)
        elif old != new:
            self.texts.append(f"{path}: written {_short(old)}, now {_short(new)}")

    def _number(self, path: str, old: float, new: float) -> None:
        floor = self.smallest_gain if path == "gain" else 0.0
        deviation = abs(old - new) / max(abs(old), abs(new), floor) if old != new else 0.0
        if deviation > self.deviation:
            self.deviation, self.where = deviation, f"{path}: written {old!r}, now {new!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
