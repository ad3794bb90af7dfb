"""What a decision costs is bounded: however many readings there are, the model is asked of some of them only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from closedloop.controller.belief.evidence import Evidence, Observations
from closedloop.controller.belief.multi_source import MultiSourceGP
from closedloop.controller.belief.subset import newest_and_spread
from closedloop.controller.belief.surrogate import Surrogate
from closedloop.controller.campaign import Campaign
from closedloop.controller.design import logei
from closedloop.controller.design.gain import choose
from closedloop.controller.design.objective import Objective
from closedloop.controller.design.safeguard import Barred

Array = np.ndarray
GOAL = {"minimize": "y", "subject_to": ["z <= 0.7"]}


def campaign() -> Campaign:
    return Campaign(
        name="t",
        parameters={f"x{i}": {"low": 0, "high": 1} for i in range(3)},
        responses=["z", "y"],
        sources={"lab": {"instrument": "x:Lab", "cost": {"money": 1}}},
        goal=GOAL,
        budget={"money": 1e6},
    )


def evidence(X: Array) -> Evidence:
    y = ((X - 0.4) ** 2).sum(axis=1) + 0.01 * np.random.default_rng(1).standard_normal(len(X))
    Y = np.stack([X[:, 0], y], axis=1)
    o = Observations(tuple(range(len(X))), X, X, Y, np.full_like(Y, np.nan), (None,) * len(X))
    return Evidence(campaign().space, ("z", "y"), "lab", {"lab": o})


def believed(e: Evidence) -> tuple[Surrogate, Any, Objective]:
    belief = Surrogate.prior(campaign()).correct(e, (), np.random.default_rng(0))
    objective = Objective.fit(campaign().goal, ("y", "z"), e.of("lab").Y[:, [1, 0]])
    return belief, belief.target_model(e, [1, 0]), objective


def test_the_best_of_many_readings_are_the_same_as_if_all_were_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    e = evidence(np.random.default_rng(0).random((3000, 3)))
    _, model, objective = believed(e)
    found = logei.likely_best(model, e, objective)
    monkeypatch.setattr(logei, "N_PROMISING", 10_000)
    assert np.array_equal(found, logei.likely_best(model, e, objective))
    assert len(found) == logei.N_BASELINE and (found[:, 0] < 0.72).all()


def test_a_setting_that_was_read_a_thousand_times_does_not_hide_the_others() -> None:
    X = np.random.default_rng(0).random((2500, 3))
    X[:1500] = 0.4
    e = evidence(X)
    _, model, objective = believed(e)
    found = logei.likely_best(model, e, objective)
    assert len(found) == logei.N_BASELINE
    assert (found == 0.4).all(axis=1).sum() == 1


def test_a_decision_asks_no_more_of_the_model_for_twenty_times_the_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    n_rows, posterior = 0, MultiSourceGP.posterior

    def counted(self: MultiSourceGP, X: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal n_rows
        n_rows += X.shape[:-1].numel()
        return posterior(self, X, *args, **kwargs)

    monkeypatch.setattr(MultiSourceGP, "posterior", counted)
    counts = []
    for n in (1000, 20_000):
        e = evidence(np.random.default_rng(0).random((n, 3)))
        belief, n_rows = believed(e)[0], 0
        choice = choose(belief, e, campaign(), {"lab": 0.01}, ["lab"], np.random.default_rng(0))
        assert choice is not None and "fallback" not in choice.figures
        counts.append(n_rows)
    assert counts[1] <= 1.2 * counts[0]


@pytest.mark.parametrize("c", [1, 3, 12])
def test_the_kept_readings_are_the_newest_and_the_farthest_from_all_that_are_kept(c: int) -> None:
    X = np.random.default_rng(0).random((700, c))
    kept = [*range(680, 700)]
    while len(kept) < 40:
        kept.append(int((((X[:680, None] - X[kept]) ** 2).sum(axis=-1)).min(axis=1).argmax()))
    assert newest_and_spread(X, 40).tolist() == sorted(kept)


def test_what_is_crowded_and_what_is_beside_a_failure_is_as_defined() -> None:
    rng = np.random.default_rng(0)
    X, read, failed = rng.random((300, 2)), rng.random((400, 2)), rng.random((30, 2))
    none = np.empty((0, 2))
    barred = Barred(none, none, failed, read, n_crowd=3)
    near = np.abs(X[:, None] - read).max(axis=-1)
    to_failed = np.abs(X[:, None] - failed).max(axis=-1).min(axis=1)
    is_barred = ((near <= 0.05).sum(axis=1) >= 3) | ((to_failed <= 0.05) & (to_failed <= near.min(axis=1)))
    assert 0 < is_barred.sum() < 300
    assert np.array_equal(barred.without(X), X[~is_barred])
