"""The running moments against NumPy's, and their cost, which must not grow with the campaign."""

from __future__ import annotations

import json
import subprocess
import sys
from time import perf_counter

import numpy as np
import pytest

from closedloop.controller.belief import load_belief
from closedloop.controller.belief.climatology import Climatology
from closedloop.controller.belief.evidence import Evidence, Readings
from closedloop.controller.parameters import Continuous
from closedloop.controller.space import Space

SPACE = Space({"x": Continuous(low=0.0, high=1.0)})
RNG = np.random.default_rng(0)


def _grown(Y):
    """Evidence after each reading of Y (n, m)."""
    readings = Readings.none(1, Y.shape[1])
    for k, y in enumerate(Y):
        x = np.array([0.5])
        readings = readings.with_reading(k + 1, x_set=x, x=x, y=y, sd=np.full(len(y), np.nan), members=None)
        yield Evidence(SPACE, tuple("abc"[: Y.shape[1]]), "s", {"s": readings.observations})


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_moments_are_those_of_all_readings(scale):
    Y = scale * RNG.normal(loc=[1e3, -5.0], size=(40, 2))
    belief = Climatology()
    for k, evidence in enumerate(_grown(Y)):
        belief = belief.correct(evidence, (k + 1,), RNG)
    prediction = belief.predict(evidence, "s", np.zeros((3, 1)))
    np.testing.assert_allclose(prediction.mean, np.tile(Y.mean(axis=0), (3, 1)), rtol=1e-12)
    np.testing.assert_allclose(prediction.sd[0], Y.std(axis=0, ddof=1) * np.sqrt(1 + 1 / 40), rtol=1e-9)


def test_nothing_is_said_of_one_reading_or_a_strange_source():
    evidence = next(_grown(np.ones((1, 2))))
    belief = Climatology().correct(evidence, (1,), RNG)
    assert belief.predict(evidence, "s", np.zeros((1, 1))) is None
    assert belief.predict(evidence, "other", np.zeros((1, 1))) is None
    assert belief.unknowns("s") == {}


def test_many_fresh_readings_are_as_one_by_one_and_old_ones_are_not_counted_twice():
    *_, evidence = _grown(RNG.normal(size=(9, 1)))
    at_once = Climatology().correct(evidence, tuple(range(1, 10)), RNG)
    in_parts = Climatology().correct(evidence, (1, 2, 3), RNG).correct(evidence, tuple(range(4, 10)), RNG)
    assert at_once == in_parts
    assert at_once.sources["s"].n == 9


@pytest.mark.parametrize("y", [1e200, 1e308])
def test_readings_beyond_float64_leave_no_forecast_and_a_plain_dump(y):
    *_, evidence = _grown(np.array([[y], [-y], [y]]))
    belief = Climatology().correct(evidence, (1, 2, 3), RNG)
    forecast = belief.predict(evidence, "s", np.zeros((1, 1)))
    assert forecast is None or np.isfinite([forecast.mean, forecast.sd]).all()
    assert load_belief(json.loads(json.dumps(belief.dump(), allow_nan=False))) == belief


def test_equal_readings_give_a_spread_above_nought():
    *_, evidence = _grown(np.zeros((5, 1)))
    belief = Climatology().correct(evidence, (1, 2, 3, 4, 5), RNG)
    assert belief.predict(evidence, "s", np.zeros((1, 1))).sd[0, 0] > 0


def test_a_dump_is_plain_and_comes_back_the_same():
    *_, evidence = _grown(RNG.normal(size=(5, 2)))
    belief = Climatology().correct(evidence, (1, 2, 3, 4, 5), RNG)
    assert load_belief(json.loads(json.dumps(belief.dump()))) == belief


def test_a_reading_costs_the_same_at_any_age():
    belief, spent = Climatology(), []
    for k, evidence in enumerate(_grown(RNG.normal(size=(4000, 1)))):
        begun = perf_counter()
        belief = belief.correct(evidence, (k + 1,), RNG)
        spent.append(perf_counter() - begun)
    assert np.median(spent[-500:]) < 3 * np.median(spent[500:1000]) + 1e-4


def test_it_needs_neither_torch_nor_scipy():
    code = "import sys, closedloop.controller.belief.climatology; assert not {'torch', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
