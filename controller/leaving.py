"""A polite end of a run: finish what runs, begin nothing new, and go."""

from __future__ import annotations

from dataclasses import dataclass

from .records import Paused

LEFT_BY = "the controller"  # how it signs


@dataclass
class Leaving:
    """Asked by a signal handler or another thread; the loop hears of it as a pause."""

    reason: str = ""
    _is_told: bool = False

    @property
    def is_asked(self) -> bool:
        """Whether somebody asked."""
        return bool(self.reason)

    def ask(self, reason: str) -> None:
        """Ask the loop to leave once what runs has ended."""
        self.reason = reason

    def words(self) -> list[Paused]:
        """The pause, once."""
        if not self.reason or self._is_told:
            return []
        self._is_told = True
        return [Paused(by=LEFT_BY, reason=self.reason)]
