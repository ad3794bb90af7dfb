"""A trial's states, in one table: what may happen to it next, and what it then is.

Laws:
    * A trial begins only once it is approved, and ``acting`` is written before its source is commanded.
    * A cut link, a dead process or a silence leaves an action ``unknown``; nothing repeats it by itself.
    * An answer that comes after its trial was given up is ``late``: it counts, and it counts once.
"""

from __future__ import annotations

from typing import Literal

from .records import Acting, Approved, Failed, Observed, Proposed, Quarantined, Refused, Restored, Settled

Status = Literal["proposed", "approved", "acting", "observed", "failed", "unknown", "late", "cancelled", "invalid"]
GUARD, HANDS = "guard of ", "hands of "  # how a guard and who commands sign, before the name of their source
_PARTS = ("breaker", "the controller", "agent", "rule", "driver")  # how the other parts sign
TrialEvent = Approved | Refused | Acting | Observed | Failed | Settled | Quarantined | Restored

_ENDS: dict[str, Status] = {
    "observed": "observed",
    "failed": "failed",
    "in doubt": "unknown",
    "invalid": "invalid",
    "cancelled": "cancelled",
    "refused": "cancelled",
}
# what it is -> what happens -> what it then is
TABLE: dict[Status, dict[str, Status]] = {
    "proposed": {"approved": "approved", "refused": "cancelled", "cancelled": "cancelled"},
    "approved": {"acting": "acting", **_ENDS},
    "acting": _ENDS,
    "unknown": {
        "observed": "late",
        "failed": "failed",
        "invalid": "invalid",
        "unknown": "unknown",  # the driver was asked and cannot tell
        "asked": "unknown",  # a person's word is waited for
        "not_started": "approved",
        "rerun": "approved",
        "abandoned": "failed",
    },
    "observed": {"quarantined": "invalid"},
    "late": {"quarantined": "invalid"},
    "failed": {"observed": "late"},
    "cancelled": {"observed": "late"},
    "invalid": {"observed": "late", "restored": "observed"},
}
RUNNING: frozenset[Status] = frozenset({"approved", "acting"})
READ: frozenset[Status] = frozenset({"observed", "late"})


def born(event: Proposed) -> Status:
    """What a trial is when it was proposed."""
    return "proposed" if event.asks else "approved"


def happening(event: TrialEvent) -> str:
    """The event in the words of the table."""
    match event:
        case Failed(is_in_doubt=True):
            return "in doubt"
        case Failed(cause="invalid" | "cancelled" as cause):
            return cause
        case Settled():
            return event.outcome
    return event.kind


def after(status: Status, event: TrialEvent) -> Status | None:
    """What a trial is after an event; None where that cannot happen to it."""
    return TABLE[status].get(happening(event))


def fault_of(event: TrialEvent, *, status: Status, attempt: int, has_reading: bool) -> str:
    """Why an event cannot happen to a trial that stands so, or nothing."""
    rules = (
        (status in READ and isinstance(event, Observed | Failed), f"was answered before ({status})"),
        (after(status, event) is None, f"is {status}, so it cannot be {happening(event)}"),
        (isinstance(event, Acting) and event.attempt != attempt, f"is at attempt {attempt}"),
        (isinstance(event, Restored) and not has_reading, "gave no reading that could be restored"),
        (isinstance(event, Observed) and has_reading, "has a reading, which was set aside; restore that one"),
    )
    return next((f"trial {event.trial} {text}" for is_broken, text in rules if is_broken), "")


def why_no_person(by: str) -> str:
    """Why no person may sign so, or nothing: what guards and the controller say is told apart by it."""
    if is_guard(by) or by in _PARTS:
        return f"{by!r} is how a part of the controller signs, and no person; give your own name with --by"
    return ""


def is_guard(by: str) -> bool:
    """Whether one that stands at a device speaks, and not a person or the agent: its pause is its own to end."""
    return by.startswith((GUARD, HANDS))
