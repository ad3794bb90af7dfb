"""Looking on while a campaign runs: each event is told once and in order, whoever wrote it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from ..ledger.reader import campaigns
from ..records import AnyEvent
from ..report.story import Story, read_events
from .departure import tell_on_stderr
from .lines import line_of, line_of_ask
from .people import Ask, Place, ask_of, asks_of, is_answered_by_people
from .picture import now_utc, picture
from .terminal import escaped

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
        others = [name for name in campaigns(ledger) if name != campaign] if _is_there(ledger) else []
        self.place = Place(ledger, campaign, not others)  # for what people are to type
        self.notify: Callable[[str], None] = tell_on_stderr  # one line to whoever looks on, at any time
        past = self._events() if is_begun(ledger, campaign) else []
        if past:
            self.story = Story.of(past)

    @property
    def n_events(self) -> int:
        """How many events the story holds."""
        return self.story.seq if self.story else 0

    @property
    def unsafe(self) -> dict[str, str]:
        """The instruments that may not be safe, and what was said of them."""
        return self.story.unsafe if self.story else {}

    @property
    def asks(self) -> list[Ask]:
        """What waits for people."""
        return asks_of(self.story, self.place) if self.story else []

    @property
    def is_settled(self) -> bool:
        """Whether a run that was asked to leave has nothing left to wait for."""
        story = self.story
        if story is None or story.stopped:
            return story is not None
        is_open = story.running or any(t.doubt == "unasked" for t in story.in_status("unknown"))
        return story.paused is not None and not is_open

    @property
    def is_over(self) -> bool:
        """Whether the campaign has stopped."""
        return self.story is not None and self.story.stopped is not None

    @property
    def is_idle(self) -> bool:
        """Whether all that runs is in people's hands: there is nothing here to finish."""
        story = self.story
        if story is None or story.stopped or not story.running:
            return False
        return all(is_answered_by_people(story, t) for t in story.running)

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
    return _is_there(ledger) and campaign in campaigns(ledger)


def _is_there(ledger: Path) -> bool:
    return ledger.is_file() and ledger.stat().st_size > 0


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
    if view is View.LINES:
        yield from _tell_lines(ledger, campaign)
        return
    yield Follower(ledger, campaign, lambda story, event: None)


def _tell_lines(ledger: Path, campaign: str) -> Iterator[Follower]:
    """One line an event; where people are asked, what they may type, once."""

    def tell(story: Story, event: AnyEvent) -> None:
        print(line_of(story, event), flush=True)
        ask = ask_of(story, event, follower.place)
        if ask is not None:
            print(line_of_ask(ask), flush=True)

    follower = Follower(ledger, campaign, tell)
    for ask in follower.asks:
        if ask.kind != "pause":  # to run it is to resume it
            print(line_of_ask(ask, is_new=False), flush=True)
    yield follower


def _tell_json(stream: TextIO, event: AnyEvent) -> None:
    stream.write(escaped(event.model_dump_json()) + "\n")
    stream.flush()


@contextmanager
def _live(ledger: Path, campaign: str) -> Iterator[Follower]:
    from rich.live import Live
    from rich.text import Text

    from .terminal import console

    follower = Follower(ledger, campaign, lambda story, event: None)
    place, notices = follower.place, [""]
    waiting = Text(f"{campaign}: starting its sources", style="dim")

    def frame() -> object:
        if follower.story is None:
            return waiting
        return picture(follower.story, now=now_utc(), place=place, notice=notices[-1])

    follower.notify = notices.append  # past the live view a line would tear it

    with Live(get_renderable=frame, console=console(), refresh_per_second=4):  # type: ignore[arg-type]
        yield follower
