"""The timeline shows what became of each trial, what people said, and when the campaign was paused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from closedloop.controller.records import (
    Acting,
    AnyEvent,
    Approved,
    Failed,
    Observed,
    Paused,
    Proposed,
    Quarantined,
    Reading,
    Refused,
    Resumed,
    Settled,
    Started,
    Stopped,
    Trial,
)
from closedloop.controller.report.counts import counts, others_words
from closedloop.controller.report.page import page
from closedloop.controller.report.story import Story
from closedloop.controller.report.study import Study
from closedloop.controller.report.timeline import group_of, paused, timeline

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
DECLARED = {
    "name": "n", "goal": {"maximize": "y"}, "parameters": {"x": {"low": 0, "high": 9}}, "responses": {"y": {}},
    "sources": {"oven": {"instrument": "manual", "cost": {}}}, "budget": {"trials": 30},
}  # fmt: skip


def stamped(events: list[AnyEvent]) -> list[AnyEvent]:
    return [e.model_copy(update={"seq": k, "time": BEGAN + timedelta(seconds=k)}) for k, e in enumerate(events, 1)]


def proposed(n: int, asks: str = "") -> Proposed:
    return Proposed(trial=Trial(number=n, source="oven", setting={"x": 1.0}), asks=asks)


def reading(n: int) -> Observed:
    return Observed(trial=n, reading=Reading(values={"y": float(n)}))


TOLD = [
    Started(campaign=DECLARED),
    proposed(1), Acting(trial=1), reading(1),
    proposed(2), Acting(trial=2), Failed(trial=2, cause="error", message="dry"),
    proposed(3, "dear"), Approved(trial=3, by="ann"), Acting(trial=3), reading(3),
    Quarantined(trial=3, by="agent", reason="odd"),
    proposed(4, "dear"), Refused(trial=4, by="ann", reason="too hot"),
    proposed(5), Acting(trial=5), Failed(trial=5, cause="unknown", message="silence", is_in_doubt=True),
    Paused(by="ann", reason="lunch"), Paused(by="guard of 'oven'", reason="p"), Resumed(by="guard of 'oven'"),
    Resumed(by="ann"),
    proposed(6), Acting(trial=6), Failed(trial=6, cause="unknown", message="silence", is_in_doubt=True),
    Settled(trial=6, outcome="abandoned", by="bob"), reading(6),
    proposed(7, "dear"), proposed(8), Acting(trial=8),
]  # fmt: skip


def test_every_trial_is_counted_once_and_the_numbers_add_up() -> None:
    story = Story.of(stamped(TOLD))
    assert [group_of(story.trials[n]) for n in range(1, 9)] == [
        "read", "failed", "set aside", "not run", "in doubt", "read", "open", "open",
    ]  # fmt: skip
    assert sum(counts(story).values()) == 8
    assert others_words(story) == "1 failed, 1 set aside, 1 not run, 1 in doubt, 1 waiting, 1 open"


def test_it_says_what_is_to_be_seen() -> None:
    events = stamped(TOLD)
    text = timeline(Study(Story.of(events), events, None))
    for words in ("red gave no reading", "in doubt", "not settled", "not run", "▲ approved", "✕ refused", "paused"):
        assert words in text
    bare = stamped(TOLD[:4])
    assert "From proposal to answer.<" in timeline(Study(Story.of(bare), bare, None))


@pytest.mark.parametrize(
    ("events", "spans"),
    [
        ([Paused(by="ann", reason="lunch"), Resumed(by="ann")], [(1, 2)]),
        ([Paused(by="guard of 'a'", reason="p"), Paused(by="ann", reason="l"), Resumed(by="guard of 'a'")], [(1, 9)]),
        ([Paused(by="ann", reason="lunch"), Stopped(reason="enough")], [(1, 2)]),
        ([Resumed(by="ann")], []),
    ],
)
def test_pauses_that_overlap_are_one_and_the_last_may_be_open(events: list, spans: list) -> None:
    found = paused(stamped(events), until=BEGAN + timedelta(seconds=9))
    assert [tuple((t - BEGAN).total_seconds() for t in span) for span in found] == spans


def test_the_page_holds_the_whole_of_it() -> None:
    events = stamped(TOLD)
    text = page(Study(Story.of(events), events, None))
    assert "of 8 trials in all: 1 failed, 1 set aside" in text
