"""A candidate's numbers are those of its table, to the last bit: a driver may look its setting up there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import closedloop as cl
from closedloop.controller.design.candidates import raw_candidates
from closedloop.controller.errors import CampaignError

A = [k / 7 for k in range(8)]
B = [10.0 ** (k / 3) for k in range(8)]
C = [0.1 * k for k in range(8)]  # 0.30000000000000004 among them
TABLE: dict[str, Any] = {"a": A, "b": B, "c": C, "n": list(range(8)), "s": list("uvuvuvuv")}
PARAMETERS: dict[str, Any] = {
    "a": {"low": 0, "high": 1},
    "b": {"low": 1, "high": 1000, "scale": "log"},
    "c": {"low": 0, "high": 1, "step": 0.1},
    "n": {"kind": "integer", "low": 0, "high": 9},
    "s": {"choices": ["u", "v"]},
}
ROWS = [dict(zip(TABLE, row, strict=True)) for row in zip(*TABLE.values(), strict=True)]


def campaign(measured: Any = None, **changes: Any) -> cl.Campaign:
    source = {"instrument": "manual"} if measured is None else cl.instrument(cost={"money": 1})(measured)
    whole = {"parameters": PARAMETERS, "candidates": TABLE, "goal": {"maximize": "y"}, "budget": {"trials": 8}}
    return cl.Campaign(name="t", responses=["y"], sources={"s": source}, **{**whole, **changes})


def test_every_candidate_comes_back_as_it_stands_in_the_table() -> None:
    space = campaign().space
    for row in ROWS:
        assert space.check(row) == row
        assert space.decode(space.encode(row)) == row
        assert [type(v) for v in space.decode(space.encode(row)).values()] == [float, float, float, int, str]
    X = raw_candidates(space, np.empty((0, space.n_columns)), n=64, seed=0, rng=np.random.default_rng(0))
    assert sorted((space.decode(x) for x in X), key=lambda s: s["n"]) == ROWS


def test_a_setting_in_twelve_digits_is_the_candidate() -> None:
    space = campaign().space
    said = {**ROWS[2], "a": float(f"{2 / 7:.12g}"), "b": float(f"{B[2]:.12g}")}
    assert said != ROWS[2]
    assert space.check(said) == ROWS[2]
    with pytest.raises(CampaignError, match="no row of the candidates"):
        space.check({**said, "a": 0.2857})


def test_what_is_derived_is_worked_out_of_the_candidates_own_numbers() -> None:
    space = campaign(parameters={**PARAMETERS, "dose": {"derived": "7 * a"}}).space
    assert space.check(ROWS[3]) == space.decode(space.encode(space.check(ROWS[3]))) == {**ROWS[3], "dose": 3.0}


def test_an_inactive_cell_stays_empty() -> None:
    parameters = {"s": {"choices": ["u", "v"]}, "a": {"low": 0, "high": 1, "when": "s == 'u'"}}
    rows: list[dict[str, Any]] = [{"s": "u", "a": 1 / 3}, {"s": "u", "a": 1 / 7}, {"s": "v"}]
    space = campaign(parameters=parameters, candidates=[{"a": None, **row} for row in rows]).space
    assert [space.decode(space.encode(row)) for row in rows] == rows
    assert [space.check(row) for row in rows] == rows


def test_candidates_of_a_mixture_add_up_as_they_stand() -> None:
    rows = [{"p": 1 / 3, "q": 2 / 3}, {"p": 1 / 7, "q": 6 / 7}, {"p": 0.5, "q": 0.5}]
    shares = {n: {"low": 0, "high": 1} for n in "pq"}
    space = campaign(parameters=shares, mixtures={"m": {"of": ["p", "q"]}}, candidates=rows).space
    assert [space.decode(space.encode(row)) for row in rows] == rows


@pytest.mark.parametrize(
    ("limits", "kept"), [((2 / 7, 5 / 7), [2, 3, 4, 5]), ((np.nextafter(2 / 7, 1), np.nextafter(5 / 7, 0)), [3, 4])]
)
def test_limits_are_kept_by_the_candidates_own_numbers_to_the_bit(limits: tuple[float, float], kept: list[int]) -> None:
    space = campaign().space.within({"a": (float(limits[0]), float(limits[1]))})
    settings = [space.decode(x) for x in space.from_quantiles((np.arange(32)[:, None] + 0.5) / 32)]
    assert sorted({s["n"] for s in settings}) == kept
    assert all(not space.refusal(s) and space.check(s) == s for s in settings)
    assert [space.is_feasible(space.encode(row)[None])[0] for row in ROWS] == [row["n"] in kept for row in ROWS]


def test_the_same_table_within_other_bounds_is_found_in_its_own_place() -> None:
    """Bounds may be amended while the table stays: rows must not be taken from the old cube."""
    wide = {**PARAMETERS, "a": {"low": -1, "high": 3}}
    for parameters in (PARAMETERS, wide, PARAMETERS):
        space = campaign(parameters=parameters).space
        X = space.from_quantiles((np.arange(8)[:, None] + 0.5) / 8)
        assert sorted((space.decode(x) for x in X), key=lambda s: s["n"]) == ROWS
        assert space.is_feasible(np.stack([space.encode(row) for row in ROWS])).all()


def test_a_driver_finds_every_setting_in_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    known = {(a, b): -((a - 0.4) ** 2) - (b - 0.7) ** 2 for a, b in rng.random((60, 2)).tolist()}

    def looked_up(a: float, b: float) -> dict[str, float]:
        return {"y": known[a, b]}

    c = campaign(
        looked_up,
        parameters={n: {"low": 0, "high": 1} for n in "ab"},
        candidates=[{"a": a, "b": b} for a, b in known],
        budget={"trials": 14},
    )
    result = cl.run(c, ledger=tmp_path / "lab.db", executor="inline")
    assert all(t.reading is not None for t in result.state.trials.values())
    assert result.best is not None
    assert result.best.objective >= sorted(known.values())[-3]
