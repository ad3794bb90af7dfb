"""What a campaign asks of people, and what they may type."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..records import AnyEvent, Paused, Proposed, Settled
from ..report.sayings import who
from ..report.words import amount, plus_minus, setting_words, with_unit
from . import options

if TYPE_CHECKING:
    from ..report.story import Story, TrialStory

LEAVING = "the controller"  # whoever it tells to go on has asked it to leave
Kind = Literal["danger", "approval", "doubt", "pause", "answer", "cut off"]


@dataclass(frozen=True)
class Ask:
    """One thing that waits for a person."""

    kind: Kind
    text: str
    ways: tuple[tuple[str, str], ...]  # what to type, and what it means
    trial: int | None = None
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a campaign is, as a command line has to say it."""

    ledger: Path
    campaign: str
    is_only: bool = True

    def type(self, *words: object) -> str:
        """The command to type."""
        campaign = [] if self.is_only else ["--campaign", self.campaign]
        return shlex.join(["closedloop", *map(str, words), *campaign, *self._ledger])

    def resume(self) -> str:
        """The command that goes on."""
        return shlex.join(["closedloop", "resume", self.campaign, *self._ledger])

    @property
    def _ledger(self) -> list[str]:
        return [] if self.ledger == options.LEDGER else ["--ledger", str(self.ledger)]


def asks_of(story: Story, place: Place, *, is_run: bool = True) -> list[Ask]:
    """All that waits for people, the most urgent first; ``is_run``: whether a controller has the campaign."""
    if story.stopped:
        return []
    return [*_asks(story, place), *([] if is_run else [_cut_off(story, t, place) for t in cut_off(story)])]


def cut_off(story: Story) -> list[TrialStory]:
    """What was under way, or whose driver was to be asked, when the controller that is gone had it."""
    in_doubt = [t for t in story.in_status("unknown") if t.doubt != "asked"]
    return [*story.in_status("acting"), *in_doubt]


def ask_of(story: Story, event: AnyEvent, place: Place) -> Ask | None:
    """What an event asks of people; ``story`` was told of it already."""
    match event:
        case Proposed():
            t = story.trials[event.trial.number]
            if t.status == "proposed":
                return _approval(story, t, place)
            return _answer(story, t, place) if is_answered_by_people(story, t) else None
        case Settled(outcome="asked"):
            return _doubt(story, story.trials[event.trial], place)
        case Paused() if event.by != LEAVING:
            return _pause(event, place)
    return None


def _asks(story: Story, place: Place) -> Iterator[Ask]:
    for text in story.unsafe.values():
        yield _danger(story, text, place)
    for paused in sorted(story.pauses.values(), key=lambda pause: pause.seq):
        yield _pause(paused, place)
    for t in story.in_status("unknown"):
        if t.doubt == "asked":
            yield _doubt(story, t, place)
    for t in story.in_status("proposed"):
        yield _approval(story, t, place)
    for t in story.running:
        if is_answered_by_people(story, t):
            yield _answer(story, t, place)


def is_answered_by_people(story: Story, t: TrialStory) -> bool:
    """Whether a person or another program runs the trial, as far as the declaration tells."""
    return t.by != "agent" or story.declared.sources[t.trial.source].code.lower().split(":")[-1] == "manual"


def _danger(story: Story, text: str, place: Place) -> Ask:
    first = () if story.pauses else ((place.type("pause"), "nothing begins meanwhile"),)
    return Ask("danger", text, (*first, (place.resume(), "somebody has seen to it, and it goes on")))


def _pause(paused: Paused, place: Place) -> Ask:
    return Ask("pause", f"paused by {who(paused.by)}: {paused.reason}", ((place.resume(), "it goes on"),))


def _cut_off(story: Story, t: TrialStory, place: Place) -> Ask:
    return Ask(
        "cut off",
        f"trial {t.number} was cut off when its controller ended; whether it was carried out is settled on resume",
        ((place.resume(), "its driver is asked, and the campaign goes on"),),
        t.number,
        _details(story, t),
    )


def _approval(story: Story, t: TrialStory, place: Place) -> Ask:
    parameter = next(iter(t.trial.setting))
    people = story.declared.sources[t.trial.source].people
    by = ("--by", people[0]) if people else ()
    may = f"; {' or '.join(people)} may say so" if len(people) > 1 else ""
    return Ask(
        "approval",
        f"trial {t.number} waits for approval: {t.asks}",
        (
            (place.type("approve", t.number, *by), f"it runs; with --set {parameter}=VALUE it runs so{may}"),
            (place.type("refuse", t.number, "--reason", "TEXT"), "it does not run"),
        ),
        t.number,
        _details(story, t),
    )


def _doubt(story: Story, t: TrialStory, place: Place) -> Ask:
    said = f": {t.failure.message}" if t.failure else ""
    values = [f"{r}=VALUE" for r in story.declared.responses]
    return Ask(
        "doubt",
        f"trial {t.number} is in doubt, it may have been carried out or not{said}",
        (
            (place.type("ingest", t.number, *values), "it was carried out, and gave this"),
            (place.type("approve", t.number, "--again"), "it is run again"),
            (place.type("refuse", t.number, "--reason", "TEXT"), "it is given up"),
        ),
        t.number,
        _details(story, t),
    )


def _answer(story: Story, t: TrialStory, place: Place) -> Ask:
    values = [f"{r}=VALUE" for r in story.declared.responses]
    return Ask(
        "answer",
        f"trial {t.number} waits for its result",
        (
            (place.type("ingest", t.number, *values), "what it gave"),
            (place.type("ingest", t.number, "--failed", "TEXT"), "it gave nothing"),
        ),
        t.number,
        _details(story, t),
    )


def _details(story: Story, t: TrialStory) -> tuple[str, ...]:
    declared = story.declared
    costs = ", ".join(amount(r, x) for r, x in t.trial.cost.items() if r != "trials")
    where = f"{t.trial.source} at {setting_words(t.trial.setting, declared.parameters)}"
    return (where, f"forecast: {forecast_words(story, t)}", *([f"cost: {costs}"] if costs else []))


def forecast_words(story: Story, t: TrialStory) -> str:
    """What is expected of a trial."""
    mean, sd = t.trial.forecast.mean, t.trial.forecast.sd
    units = story.declared.responses
    parts = [f"{r} {with_unit(plus_minus(m, sd.get(r)), units.get(r, ''))}" for r, m in mean.items()]
    return ", ".join(parts) or "none: nothing was known yet"
