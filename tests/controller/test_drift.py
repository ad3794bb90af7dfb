"""A response that drifts: a clock beside the settings, told by the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import closedloop as cl
from closedloop.controller.decide import assimilate, propose
from closedloop.controller.errors import CampaignError
from closedloop.controller.evolve import evolve
from closedloop.controller.records import Acting, Observed, Reading, Started
from closedloop.controller.state import State

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def campaign(*, has_clock: bool, seed: int = 0) -> cl.Campaign:
    parameters: dict[str, object] = {"x": {"low": 0, "high": 1}}
    if has_clock:
        parameters["hour"] = {"kind": "clock", "low": 0, "high": 8, "unit": "h"}
    return cl.Campaign(
        name="drift",
        seed=seed,
        parameters=parameters,
        responses=["y"],
        sources={"lab": {"instrument": "x:Lab", "cost": {"money": 1}}},
        goal={"maximize": "y"},
        budget={"money": 100},
    )


def run(c: cl.Campaign, n: int) -> tuple[State, list[float]]:
    """The optimum moves from 0.2 to 0.8 in eight hours; a reading takes a quarter of an hour."""
    state, regret, now = State(c), [], BEGAN

    def said(event: object) -> None:
        nonlocal state
        state = evolve(state, event.model_copy(update={"seq": state.seq + 1, "time": now}))  # type: ignore[attr-defined]

    said(Started(campaign=c.to_dict(), key="k"))
    for _ in range(n):
        proposed = propose(state, ["lab"])
        assert proposed is not None
        said(proposed)
        said(Acting(trial=proposed.trial.number))
        now += timedelta(minutes=15)
        best = 0.2 + 0.6 * (now - BEGAN) / timedelta(hours=8)
        loss = 4.0 * (float(proposed.trial.setting["x"]) - best) ** 2
        regret.append(loss)
        said(Observed(trial=proposed.trial.number, reading=Reading(values={"y": -loss})))
        said(assimilate(state))
    return state, regret


def test_the_ledgers_clock_is_read_back_and_stands_in_the_next_setting() -> None:
    state, _ = run(campaign(has_clock=True), 4)
    assert [t.reading.achieved["hour"] for t in state.observed()] == [0.25, 0.5, 0.75, 1.0]  # type: ignore[union-attr]
    assert state.context == {"hour": 1.0}
    assert state.evidence.of("lab").X[:, 1] == pytest.approx(np.array([0.25, 0.5, 0.75, 1.0]) / 8.0)


def test_with_a_clock_a_moving_optimum_is_followed() -> None:
    late = {
        has: [np.median(run(campaign(has_clock=has, seed=s), 30)[1][-8:]) for s in range(3)] for has in (False, True)
    }
    assert max(late[True]) < 0.25 * np.median(late[False])


@pytest.mark.parametrize(
    ("clock", "words"),
    [
        ({"kind": "clock", "low": 0, "high": 8, "unit": "mm"}, "no unit of time"),
        ({"choices": ["a", "b"], "context": True, "clock": True}, "clock"),
        ({"low": 0, "high": 8, "clock": True}, "clock"),
    ],
)
def test_a_clock_that_is_none_is_refused(clock: dict[str, object], words: str) -> None:
    c = campaign(has_clock=True).to_dict()
    with pytest.raises(CampaignError, match=words):
        cl.Campaign(**{**c, "parameters": {"x": {"low": 0, "high": 1}, "hour": clock}})
