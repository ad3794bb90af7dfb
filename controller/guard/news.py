"""What a source's guard has to say that its campaign does not know yet. Pure.

Laws:
    * A guard pauses once, however often its state is looked at.
    * Only what tripped an interlock and has been clear for its ``resume_after_s`` resumes by itself; the rest is for
      a person to resume: a guard that is gone, a controller that kept silent.
"""

from __future__ import annotations

from ..lifecycle import GUARD
from ..perform import unsafe
from ..records import Noted, Paused, Resumed
from ..source import Binding
from .link import GuardStatus


class GuardNews:
    """The guard of one source, as its campaign sees it."""

    def __init__(self, binding: Binding) -> None:
        self.is_held = False  # paused by this guard, and not resumed since
        self._who = f"{GUARD}{binding.name!r}"
        self._interlocks = binding.guard.interlocks
        self._resume_after_s: float | None = None
        self._name, self._fault = binding.name, ""

    def hear(self, status: GuardStatus | None, *, must_arm: bool = False) -> Paused | Resumed | Noted | None:
        """What is new in how the guard is.

        Args:
            status: how it is.
            must_arm: it was resumed, and will be armed before the next command.
        """
        if status is None:
            return None
        if status.fault != self._fault:
            self._fault = status.fault
            if self._fault and (status.tripped or status.deadman_fired):  # nobody asked for it, so nobody was told
                return unsafe(self._name, self._fault)
        if not self.is_held:
            why = "" if must_arm and status.may_resume else _why_held(status)
            if not why:
                return None
            self.is_held, self._resume_after_s = True, self._patience_s(status)
            return self._paused(why)
        if status.tripped:
            self._resume_after_s = self._patience_s(status)
        if self._is_clear(status):
            self.is_held = False
            return Resumed(by=self._who, reason=f"clear for {status.clear_for_s:.3g} s")
        return None

    def held(self, status: GuardStatus | None, why: str) -> Paused:
        """A command was not let through: the pause that says so, however often it has paused before."""
        self.is_held = True
        told = _why_held(status) if status else ""
        self._resume_after_s = self._patience_s(status) if status and told else None
        return self._paused(told or why)

    def _paused(self, why: str) -> Paused:
        return Paused(by=self._who, reason=why, is_temporary=self._resume_after_s is not None)

    def why_not(self, status: GuardStatus | None) -> str:
        """Why it would let nothing through though somebody resumes; empty: it would, or nothing is known."""
        if status is None:
            return ""
        if not status.is_alive:
            return "its guard is gone; start the campaign again"
        return f"{status.tripped}; it trips still" if status.tripped and not status.clear_for_s else ""

    def resumed(self) -> None:
        """A person resumed the campaign."""
        self.is_held = False

    def _is_clear(self, status: GuardStatus) -> bool:
        if self._resume_after_s is None or not status.is_alive or status.deadman_fired or status.fault:
            return False
        # The guard that tripped holds until it is armed; one that came after it knows of no trip.
        return status.may_resume or (not status.tripped and status.clear_for_s >= self._resume_after_s)

    def _patience_s(self, status: GuardStatus) -> float | None:
        waits = [i.resume_after_s for i in self._interlocks if repr(i.trip) in status.tripped]
        known = [w for w in waits if w is not None]
        return max(known) if status.is_alive and known and len(known) == len(waits) else None


def _why_held(status: GuardStatus) -> str:
    if not status.is_alive:
        return "its process is gone, so nothing would make the device safe"
    silent = "it heard nothing of the controller for too long, and made the device safe"
    unsafe = f"; the device may not be safe: {status.fault}" if status.fault else ""
    why = status.tripped or (silent if status.deadman_fired else "")
    return f"{why}{unsafe}" if why else ""
