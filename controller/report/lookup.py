"""Where a campaign stands, by its newest digest and the events since; by all its events where that does not do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ..ledger import digest as ledger_digest
from ..ledger import reader as ledger_reader
from ..ledger.digest import Forgotten, Keeping
from ..records import AnyEvent
from .declaration import Declaration, declaration_of
from .retold import Retold
from .standing import Mark, Standing
from .story import Story, TrialStory, read_story
from .worth import Sums


def read_standing(path: str | Path, campaign: str | None = None) -> Story:
    """What ``read_story`` tells, as far as ``status`` shows it, in a moment also where the story is long.

    Raises:
        LedgerError: if the file is no ledger, the campaign is not in it, or an event cannot be read.
    """
    found = ledger_digest.newest(path, campaign)
    if not found.payload:
        return read_story(path, campaign)
    try:
        return looked_up(path, found)
    except (Forgotten, ValueError):
        return read_story(path, campaign)


def looked_up(path: str | Path, found: ledger_digest.Digest, *, to: int | None = None) -> Standing:
    """A digest and the events since, up to one.

    Raises:
        Forgotten or ValueError: if that does not do.
    """
    return _Looked(path, found, to).standing


class _Looked:
    """A standing whose sums of the past are looked up where they are asked for."""

    def __init__(self, path: str | Path, found: ledger_digest.Digest, to: int | None) -> None:
        self._path, self._campaign = path, found.campaign
        self.standing = _restored(found.payload, self._event)
        for event in ledger_reader.stream(path, found.campaign, after_seq=found.seq):
            if to is None or event.seq <= to:
                self.standing.tell(event)
        self.standing.marks = self._mark

    def _event(self, seq: int) -> AnyEvent:
        return ledger_digest.event_at(self._path, self._campaign, seq)

    def _mark(self, n: int) -> tuple[Mark, Iterable[TrialStory]]:
        text = ledger_digest.mark_before(self._path, self._campaign, n)
        mark = Mark.of(text) if text else Mark(Sums())
        answers = ledger_digest.answered_after(self._path, self._campaign, mark.answer)
        return mark, (_told(self.standing.declared, events) for events in answers)


def _restored(payload: str, event_at: Callable[[int], AnyEvent]) -> Standing:
    return Standing.restore(payload, lambda seq: declaration_of(event_at(seq)))


KEEPING = Keeping(restore=_restored, anew=Retold)  # for the writer of a ledger


def _told(declared: Declaration, events: list[AnyEvent]) -> TrialStory:
    """One trial by its own events."""
    story = Story(declared)
    for event in events:
        story.tell(event)
    (known,) = story.trials.values()
    return known
