"""Looking on while a campaign runs: each event is told once and in order, whoever wrote it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from ..ledger_reader import campaigns
from ..records import AnyEvent
from ..report.story import Story, read_events
from .lines import line_of
from .picture import now_utc, picture

Tell = Callable[[Story, AnyEvent], None]


class View(StrEnum):
    """How a run is shown."""

    LIVE = "live"
    LINES = "lines"
    JSON = "json"
    QUIET = "quiet"


class Follower:
    """The watch of a run. The loop announces most events; those it wrote before, it is not told of."""

    def __init__(self, ledger: Path, campaign: str, tell: Tell) -> None:
        self._ledger, self._campaign, self._tell = ledger, campaign, tell
        self.story: Story | None = None
        past = self._events() if is_begun(ledger, campaign) else []
        if past:
            self.story = Story.of(past)

    @property
    def n_events(self) -> int:
        """How many events the story holds."""
        return self.story.seq if self.story else 0

    def __call__(self, state: object, event: AnyEvent) -> None:
        """Told by the loop after each event was written."""
        if event.seq > self.n_events + 1:
            self.catch_up(before=event.seq)
        self._one(event)

    def catch_up(self, *, before: int | None = None) -> None:
        """Tell what the ledger holds and was not told."""
        for event in self._events():
            if event.seq > self.n_events and (before is None or event.seq < before):
                self._one(event)

    def _one(self, event: AnyEvent) -> None:
        if self.story is None:
            self.story = Story.of([event])
        else:
            self.story.tell(event)
        self._tell(self.story, event)

    def _events(self) -> list[AnyEvent]:
        return read_events(self._ledger, self._campaign)


def is_begun(ledger: Path, campaign: str) -> bool:
    """Whether a ledger has the campaign already."""
    return ledger.is_file() and ledger.stat().st_size > 0 and campaign in campaigns(ledger)


@contextmanager
def looking_on(view: View, ledger: Path, campaign: str) -> Iterator[Follower]:
    """The follower to give to ``run``; what it shows ends with the block."""
    if view is View.LIVE:
        with _live(ledger, campaign) as follower:
            yield follower
        return
    if view is View.JSON:
        stream = sys.stdout
        with redirect_stdout(sys.stderr):  # a driver that prints must not stand among the events
            yield Follower(ledger, campaign, lambda story, event: _tell_json(stream, event))
        return
    tell: dict[View, Tell] = {View.LINES: _tell_line, View.QUIET: lambda story, event: None}
    yield Follower(ledger, campaign, tell[view])


def _tell_line(story: Story, event: AnyEvent) -> None:
    print(line_of(story, event), flush=True)


def _tell_json(stream: TextIO, event: AnyEvent) -> None:
    stream.write(event.model_dump_json() + "\n")
    stream.flush()


@contextmanager
def _live(ledger: Path, campaign: str) -> Iterator[Follower]:
    from rich.live import Live
    from rich.text import Text

    from .terminal import console

    follower = Follower(ledger, campaign, lambda story, event: None)
    waiting = Text(f"{campaign}: starting its sources", style="dim")

    def frame() -> object:
        return picture(follower.story, now=now_utc()) if follower.story else waiting

    with Live(get_renderable=frame, console=console(), refresh_per_second=4):  # type: ignore[arg-type]
        yield follower
