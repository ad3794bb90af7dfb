"""A standing says what the whole story says, however little it holds and wherever it was put away and taken up again."""

from __future__ import annotations

import importlib.util
import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from closedloop.controller.calibration import Calibration, Scored, calibration
from closedloop.controller.records import AnyEvent, Observed
from closedloop.controller.report.counts import counts
from closedloop.controller.report.declaration import Declaration, declaration_of
from closedloop.controller.report.standing import Forgotten, Mark, Standing
from closedloop.controller.report.story import Story
from closedloop.controller.report.worth import Sums

WORLD = Path(__file__).parents[2] / "simulation" / "world.py"
SHOWN = ("proposed", "approved", "acting", "unknown", "late", "cancelled")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("world_of_standings", WORLD)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def shown(story: Story) -> dict[str, object]:
    """All that ``status`` shows."""
    last = [story.trials[n] for n in story.answered[-2:]]
    return {
        "seq": (story.seq, story.began, story.last, story.declared.raw),
        "best": story.best,
        "spent": story.spent,
        "counts": counts(story),
        "trials": {s: story.in_status(s) for s in SHOWN},
        "aside": [t for t in story.in_status("invalid") if t.reading],
        "running": story.running,
        "newest": story.trials[max(story.trials)] if story.trials else None,
        "last": last,
        "course": story.best_so_far(),
        "state": (story.paused, story.ending, story.stopped, story.unsafe),
        "worth": story.worth(),
    }


def same(a: Calibration | None, b: Calibration | None) -> bool:
    if a is None or b is None:
        return a is b
    close = pytest.approx((b.mean_z, b.sd_z, b.crps), rel=1e-9, abs=1e-12)
    return (a.n, a.coverage) == (b.n, b.coverage) and (a.mean_z, a.sd_z, a.crps) == close


def told_both_ways(events: list[AnyEvent], window: int) -> Iterator[tuple[Story, Standing]]:
    """The story and the standing after each event; the standing is dumped and restored before each."""
    story, standing = Story.of(events[:1]), Standing(Declaration.of(events[0].campaign), window=window)
    standing.tell(events[0])
    marks, answers = [Mark(Sums())], {}

    def behind(n: int) -> tuple[Mark, Iterator]:
        mark = max((m for m in marks if m.sums.n <= n), key=lambda m: m.sums.n)
        return mark, (story.trials[k] for k, seq in sorted(answers.items(), key=lambda a: a[1]) if seq > mark.answer)

    for event in events[1:]:
        story.tell(event)
        if isinstance(event, Observed):
            answers[event.trial] = event.seq
        standing = Standing.restore(standing.dump(), lambda seq: declaration_of(events[seq - 1]), window=window)
        standing.marks = behind
        standing.tell(event)
        marks.append(standing.mark)
        yield story, standing


@pytest.mark.parametrize("first", range(0, 60, 20))
@pytest.mark.parametrize("window", [2, 5])
def test_a_standing_says_what_the_story_says(first: int, window: int) -> None:
    world, n_forgot, n_given_up = _load(), 0, 0
    for seed in range(first, first + 20):
        events = world.play(seed).disk.events()
        try:
            for story, standing in told_both_ways(events, window):
                whole, kept = shown(story), shown(standing)
                assert same(kept.pop("worth"), whole.pop("worth")), seed
                assert kept == whole, seed
                assert same(standing.late_worth(), story.late_worth()), seed
            n_forgot += len(standing.trials) < len(story.trials)
        except Forgotten:
            n_given_up += 1
    assert n_forgot > 3, "nothing was forgotten, so nothing was tested"
    assert n_given_up < 20


def test_a_dump_of_another_version_is_not_read() -> None:
    for text in ("", "{}", "null", '{"v":99}'):
        with pytest.raises(Forgotten):
            Standing.restore(text, lambda seq: pytest.fail("the declaration was asked for"))


def test_what_is_left_of_sums_is_exact_whatever_was_taken_off() -> None:
    rng = random.Random(1)
    early = [Scored(rng.gauss(0, 1) * 10.0 ** rng.randint(-8, 14), 1.0) for _ in range(500)]
    late = [Scored(rng.gauss(0.1, 1.0), rng.random()) for _ in range(500)]
    left = Sums.of([*early, *late]).plus(Sums.of(early), sign=-1).calibration()
    expected = calibration(late)
    assert (left.n, left.coverage, left.mean_z, left.crps) == (500, expected.coverage, expected.mean_z, expected.crps)
    assert math.isclose(left.sd_z, expected.sd_z, rel_tol=1e-12)
