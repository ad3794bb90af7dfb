"""Calibration against published formulas, numbers in words, and a story that agrees with the state."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedloop.controller.calibration import Scored, calibration, crps, half_width, running, second_half
from closedloop.controller.report.declaration import Declaration
from closedloop.controller.report.markup import el, table
from closedloop.controller.report.words import duration, number, plus_minus, printable, sparkline


def test_crps_is_the_integral_that_defines_it():
    y, mean, sd = 1.7, 1.0, 0.5

    def cdf(x):
        return np.array([0.5 * (1 + math.erf((v - mean) / sd / math.sqrt(2))) for v in x])

    below, above = np.linspace(-8, y, 20_001), np.linspace(y, 10, 20_001)
    integral = np.trapezoid(cdf(below) ** 2, below) + np.trapezoid((1 - cdf(above)) ** 2, above)
    assert crps(Scored((y - mean) / sd, sd)) == pytest.approx(integral, abs=1e-6)


def test_normal_readings_are_well_calibrated():
    z = np.random.default_rng(1).standard_normal(20_000)
    c = calibration([Scored(float(v), 2.0) for v in z])
    assert c.coverage == pytest.approx((0.5, 0.8, 0.95), abs=0.01)
    assert (c.mean_z, c.sd_z) == pytest.approx((0, 1), abs=0.02)
    assert c.crps == pytest.approx(2.0 / math.sqrt(math.pi), rel=0.02)
    assert half_width(0.8) == pytest.approx(1.2816, abs=1e-4)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 3)).map(lambda t: Scored(*t)), min_size=1, max_size=30))
def test_the_running_calibration_ends_as_the_whole(scored):
    last, whole = running(scored)[-1], calibration(scored)
    assert last.n == whole.n and last.coverage == whole.coverage
    assert (last.mean_z, last.sd_z, last.crps) == pytest.approx((whole.mean_z, whole.sd_z, whole.crps), abs=1e-9)
    assert len(second_half(scored)) == math.ceil(len(scored) / 2)


def test_nothing_is_no_calibration():
    assert calibration([]) is None and running([]) == []


@pytest.mark.parametrize(
    ("x", "text"),
    [(0.0, "0"), (79.0, "79"), (0.12345, "0.1235"), (-3.5, "-3.5"), (1.2e-7, "1.200e-7"), (123456.0, "123456")],
)
def test_numbers(x, text):
    assert number(x) == text


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [(57.234, 1.83, "57.2 ± 1.8"), (1234.5, 210.0, "1234 ± 210"), (3.0, None, "3"), (0.5, 0.0, "0.5")],
)
def test_digits_follow_the_standard_deviation(mean, sd, text):
    assert plus_minus(mean, sd) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.25 s"), (42, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (90000, "1 d 01 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@given(st.text())
def test_what_is_printed_steers_no_terminal(text):
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in printable(text))


@given(st.text())
def test_text_in_a_page_is_text(text):
    for made in (el("p", text), el("p", "x", title=text), table([text], [[text]])):
        inner = made.replace("<p", "").replace("</p>", "")
        assert "<script" not in inner
    assert "<" not in el("b", text)[3:-4]


def test_a_sparkline_goes_from_low_to_high():
    assert sparkline([1, 2, 3])[0] == "▁" and sparkline([1, 2, 3])[-1] == "█"
    assert sparkline([]) == "" and len(sparkline(list(range(500)))) == 40


def test_a_declaration_reads_durations_as_the_campaign_does():
    import closedloop as cl

    campaign = cl.Campaign(
        name="d",
        parameters={"x": {"low": 0, "high": 1}},
        responses=["y"],
        sources={"a": {"instrument": "m:A", "cost": {"time": "90 s"}}},
        goal={"maximize": "y"},
        budget={"time": "2 hours", "trials": 5},
    )
    read = Declaration.of(campaign.to_dict())
    assert read.budget == campaign.budget_amounts
    assert read.sources["a"].cost == campaign.cost_of("a")
    assert (read.target, read.belief) == (campaign.target, campaign.belief_kind)
