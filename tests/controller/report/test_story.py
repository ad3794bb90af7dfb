"""A story is what the state is, told without the mind: the same statuses, charges, pauses and best, event by event."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from closedloop.controller.evolve import evolve
from closedloop.controller.report.counts import counts
from closedloop.controller.report.story import Story
from closedloop.controller.state import State

WORLD = Path(__file__).parents[2] / "simulation" / "world.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("world_of_stories", WORLD)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_a_story_agrees_with_the_state_on_every_simulated_history(first: int) -> None:
    world = _load()
    for seed in range(first, first + 25):
        played = world.play(seed)
        events = played.disk.events()
        state, story = State(played.campaign), None
        for event in events:
            state = evolve(state, event)
            if story is None:
                story = Story.of([event])
            else:
                story.tell(event)
            assert story.spent == dict(state.spent), (seed, event)
            assert (story.paused, story.ending, story.stopped) == (state.paused, state.ending, state.stopped)
            number = getattr(event, "trial", None)
            if isinstance(number, int):
                told, known = story.trials[number], state.trials[number]
                assert (told.status, told.attempt, told.doubt) == (known.status, known.attempt, known.doubt), (
                    seed,
                    event,
                )
                assert (told.trial, told.reading, told.failure) == (known.trial, known.reading, known.failure)
        assert sum(counts(story).values()) == len(story.trials)
        assert story.reserved == pytest.approx(state.reserved)
        assert story.declared.raw == state.campaign.to_dict()
        assert story.n_answered("instrument") == state.n_readings("lab")
        assert (story.best.number if story.best else None) == (state.best.trial.number if state.best else None)
        cost = {r: sum(t.cost.get(r, 0.0) for t in story.trials.values()) for r in story.spent}
        assert cost == pytest.approx(story.spent)


def test_the_simulated_histories_hold_every_kind_of_event_that_a_story_is_told() -> None:
    world = _load()
    kinds = {event.kind for seed in range(100) for event in world.play(seed).disk.events()}
    assert kinds >= {"approved", "refused", "acting", "failed", "settled", "paused", "resumed", "ending", "amended"}
    assert kinds >= {"quarantined", "noted", "stopped"}
