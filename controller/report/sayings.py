"""What people, rules, guards and drivers said of a campaign, one line an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..records import (
    Acting,
    Amended,
    AnyEvent,
    Approved,
    Ending,
    Failed,
    Paused,
    Preferred,
    Quarantined,
    Recalled,
    Refused,
    Restored,
    Resumed,
    Setting,
    Settled,
)
from .words import value_words, with_unit

OUTCOMES = {
    "not_started": "it was never begun",
    "unknown": "whether it was carried out is not known",
    "rerun": "it is to be run again",
    "abandoned": "it is given up",
    "asked": "a person is to say what becomes of it",
}
_PARTS = ("agent", "rule", "driver", "breaker")  # what speaks and is no person


def saying(event: AnyEvent, *, units: Mapping[str, str], before: Setting | None = None) -> str:
    """The event in words, without its kind; empty where nobody said it.

    Args:
        event: any.
        units: of the parameters.
        before: the setting as it was proposed, for an approval that changes it.
    """
    match event:
        case Approved():
            changed = [_change(k, v, units, before or {}) for k, v in event.setting.items()]
            return f"#{event.trial} by {who(event.by)}" + (f", changed: {', '.join(changed)}" if changed else "")
        case Refused() | Settled() | Quarantined() | Restored() | Acting() | Failed():
            return f"#{event.trial} {_of_trial(event)}".rstrip()
        case Paused() | Resumed() | Preferred() | Recalled():
            return _of_all(event)
        case Ending():
            how = "at once" if event.mode == "abort" else "when what runs has ended"
            return f"by {who(event.by)}, {how}{_because(event.reason)}"
        case Amended():
            return f"by {who(event.by)}, {changes_words(event.changes)}{_because(event.reason)}"
    return ""


def recalled_words(recalled: Mapping[str, int]) -> str:
    """``24 readings of 'monday'``."""
    return ", ".join(f"{n} reading{'s' * (n != 1)} of {name!r}" for name, n in recalled.items())


def _of_all(event: Paused | Resumed | Preferred | Recalled) -> str:
    """Of the whole campaign."""
    if isinstance(event, Recalled):
        return "; ".join([recalled_words({event.name: len(event.readings)}), *event.notes])
    if isinstance(event, Preferred):
        return f"#{event.better} rather than #{event.worse}, says {who(event.by)}"
    return f"by {who(event.by)}{_because(event.reason)}"


def who(by: str) -> str:
    """Who spoke: a person by name, a part of the agent by what it is."""
    return f"the {by}" if by in _PARTS or by.startswith("guard ") else by


def changes_words(changes: Mapping[str, Any]) -> str:
    """``budget.money = 400, parameters.temperature.high = 110``."""
    return ", ".join(f"{key} = {changed_words(value)}" for key, value in changes.items())


def changed_words(value: Any) -> str:
    """A value of a declaration; of a table of candidates how long it is."""
    if isinstance(value, Mapping) and "packed" in value:
        return f"{value.get('n')} rows of {value.get('source') or 'a table'} ({str(value.get('digest'))[:12]})"
    return "nothing" if value is None else str(value)


def _of_trial(event: Refused | Settled | Quarantined | Restored | Acting | Failed) -> str:
    match event:
        case Refused():
            return f"by {who(event.by)}{_because(event.reason)}" + (f" (rule: {event.rule})" if event.rule else "")
        case Settled():
            return f"by {who(event.by)}: {OUTCOMES[event.outcome]}" + (f" ({event.text})" if event.text else "")
        case Quarantined() | Restored():
            return f"by {who(event.by)}{_because(event.reason)}"
        case Failed():
            doubt = "; it may have been carried out all the same" if event.is_in_doubt else ""
            return f"{event.cause}: {event.message}{doubt}"
        case Acting():
            return f"attempt {event.attempt}" if event.attempt > 1 else ""


def _change(name: str, value: Any, units: Mapping[str, str], before: Setting) -> str:
    old = f"{value_words(before[name])} → " if name in before else ""
    return f"{name} {old}{with_unit(value_words(value), units.get(name, ''))}"


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
