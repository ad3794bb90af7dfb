"""A standing told anew from the beginning, by somebody who knows what will have become of its trials.

Without that, a reading that is set aside long after it was forgotten, or an answer that comes late, could not be told.
"""

from __future__ import annotations

from dataclasses import replace

from ..ledger.digest import Turns
from ..records import Amended, AnyEvent, Observed, Quarantined, Restored
from .declaration import declaration_of
from .standing import WINDOW, Standing
from .story import TrialStory


class Retold(Standing):
    """Right from ``turns.horizon`` on; before, only the sums of what it has forgotten are."""

    def __init__(self, turns: Turns, *, window: int = WINDOW) -> None:
        super().__init__(declaration_of(turns.declared), window=window)
        self._turns = turns

    @property
    def is_right(self) -> bool:
        """Whether it says what the whole story says."""
        return self.seq >= self._turns.horizon

    def tell(self, event: AnyEvent) -> None:
        """One event more."""
        if event.seq <= self._turns.horizon and self._is_foreseen(event):
            self.seq, self.last = event.seq, event.time or self.last
            self.declared_seq = event.seq if isinstance(event, Amended) else self.declared_seq
            return
        super().tell(event)
        if isinstance(event, Observed) and event.trial in self._turns.restored and event.trial in self.trials:
            self.trials[event.trial] = replace(self.trials[event.trial], status="observed")

    def _is_foreseen(self, event: AnyEvent) -> bool:
        """Whether an event changes nothing that was not known from the beginning."""
        if isinstance(event, Quarantined | Restored):
            known = self.trials.get(event.trial)
            is_aside = known is not None and known.status == "invalid"
            return event.trial not in self._turns.aside or isinstance(event, Restored) or is_aside
        return isinstance(event, Amended)

    def _keeps(self, t: TrialStory) -> bool:
        return t.number in self._turns.aside or (t.number in self._turns.late and not t.is_read)

    def _rank(self, known: TrialStory) -> None:
        if known.number not in self._turns.aside or self.seq > self._turns.horizon:
            super()._rank(known)
