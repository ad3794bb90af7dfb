"""Where a campaign stands, by its newest digest and the events since; by all its events where that does not do."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ..errors import LedgerError
from ..ledger import digest as ledger_digest
from ..ledger import reader as ledger_reader
from ..records import Amended, AnyEvent, Started
from .declaration import Declaration
from .standing import Forgotten, Mark, Standing
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
        return _Looked(path, found).standing
    except (Forgotten, ValueError):
        return read_story(path, campaign)


class _Looked:
    """A standing whose sums of the past are looked up where they are asked for."""

    def __init__(self, path: str | Path, found: ledger_digest.Digest) -> None:
        self._path, self._campaign = path, found.campaign
        self.standing = Standing.restore(found.payload, self._declared)
        for event in ledger_reader.stream(path, found.campaign, after_seq=found.seq):
            self.standing.tell(event)
        self.standing.marks = self._mark

    def _declared(self, seq: int) -> Declaration:
        return declaration_of(ledger_digest.event_at(self._path, self._campaign, seq))

    def _mark(self, n: int) -> tuple[Mark, Iterable[TrialStory]]:
        text = ledger_digest.mark_before(self._path, self._campaign, n)
        mark = mark_of(text) if text else Mark(Sums())
        answers = ledger_digest.answered_after(self._path, self._campaign, mark.answer)
        return mark, (_told(self.standing.declared, events) for events in answers)


def declaration_of(event: AnyEvent) -> Declaration:
    """The declaration that an event holds.

    Raises:
        LedgerError: if it holds none.
    """
    if not isinstance(event, Started | Amended):
        raise LedgerError(f"event {event.seq} is {event.kind!r} and holds no declaration; run 'closedloop verify'")
    return Declaration.of(event.campaign)


def text_of(mark: Mark) -> str:
    """A mark as JSON."""
    return json.dumps({"answer": mark.answer, "sums": vars(mark.sums)})


def mark_of(text: str) -> Mark:
    """The inverse of ``text_of``."""
    found = json.loads(text)
    return Mark(Sums.load(found["sums"]), found["answer"])


def _told(declared: Declaration, events: list[AnyEvent]) -> TrialStory:
    """One trial by its own events."""
    story = Story(declared)
    for event in events:
        story.tell(event)
    (known,) = story.trials.values()
    return known
