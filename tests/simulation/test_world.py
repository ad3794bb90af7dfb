"""Thousands of histories of the same laws: nothing lost, nothing done twice, nothing forbidden."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from closedloop.controller import entry, loop
from closedloop.controller.loop import Hands
from closedloop.controller.records import AnyEvent
from closedloop.controller.state import State


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulated_world", Path(__file__).with_name("world.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


world = _load()
N_QUICK, N_ALL, CHUNK = 300, 10_000, 100


@pytest.mark.parametrize("first", range(0, N_QUICK, CHUNK))
def test_none_lost_none_doubled_none_forbidden(first: int) -> None:
    for seed in range(first, first + CHUNK):
        world.play(seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(N_QUICK, N_ALL, CHUNK))
def test_none_lost_none_doubled_none_forbidden_at_length(first: int) -> None:
    for seed in range(first, min(first + CHUNK, N_ALL)):
        world.play(seed)


def test_a_history_is_played_again_to_the_letter() -> None:
    one, two = world.play(7), world.play(7)
    assert one.disk.rows == two.disk.rows
    assert one.device.commands == two.device.commands


def breaks_within(n: int, says: str) -> None:
    with pytest.raises(world.Broken, match=says):
        for seed in range(n):
            world.play(seed)


# The invariants are worth something only if a controller that is wrong breaks them.


def test_a_controller_that_repeats_what_is_in_doubt_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def again(self: Hands, state: State) -> State:
        for number in state.doubts:
            self.executor.submit(state.trials[number].trial)
        return state

    monkeypatch.setattr(Hands, "carry_out", lambda self, state, was=Hands.carry_out: again(self, was(self, state)))
    breaks_within(100, "more often than it was let|was commanded while unknown")


def test_a_controller_that_commands_before_it_writes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    was = Hands.write

    def write(self: Hands, state: State, event: AnyEvent) -> State:
        if event.kind == "acting":
            self.executor.submit(state.trials[event.trial].trial)
        return was(self, state, event)

    monkeypatch.setattr(Hands, "write", write)
    breaks_within(100, "without a written intent|more often|was commanded while")


def test_a_controller_that_counts_an_echo_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "admit", lambda state, event: event)
    breaks_within(100, "Error|counted twice")


def test_hands_that_do_not_hear_a_pause_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.PlayedExecutor, "hold", lambda self: None)
    breaks_within(300, "in a pause|asked for the end|within|breaks the constraint|outside")


def test_an_abort_that_makes_nothing_safe_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.PlayedExecutor, "make_safe", lambda self: {})
    breaks_within(300, "made nothing safe")


def test_a_mind_that_lets_everything_begin_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "may_begin", lambda state, number: True)
    breaks_within(300, "in doubt|in a pause|at once|spending")


def test_a_device_without_a_guard_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.Guard, "refusal", lambda self, setting, now_s: None)
    spaces = property(lambda self: dict.fromkeys(self.sources, self.space))
    monkeypatch.setattr(world.cl.Campaign, "spaces", spaces)  # else the mind keeps away from it of itself
    breaks_within(100, "forbidden setting|a step of")


def test_a_disk_that_forgets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    was = world.PlayedLedger.append

    def append(self: object, event: AnyEvent) -> AnyEvent:
        written = was(self, event)
        if event.kind == "observed":
            self.world.disk.rows.pop()
            self.world.disk._read = self.world.disk._read[: len(self.world.disk.rows)]
        return written

    monkeypatch.setattr(world.PlayedLedger, "append", append)
    breaks_within(20, "Error|adds up")
