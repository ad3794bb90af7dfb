"""The flow reactor's model: laws of chemistry, a tight reference solution, and published figures."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from closedloop.simulators.flow_reactor import GAS_CONSTANT, PRIORS, FlowReactor, concentrations
from closedloop.simulators.testing import SimulatorContract

NOMINAL = FlowReactor.unknowns
SETTING = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.3, "temperature": 80.0}
BOUNDS = {
    "residence_time": (0.5, 2.0),
    "equivalents": (1.0, 5.0),
    "concentration": (0.1, 0.5),
    "temperature": (30.0, 120.0),
}
some_setting = st.fixed_dictionaries({k: st.floats(*b) for k, b in BOUNDS.items()})
some_unknowns = st.fixed_dictionaries(
    {k: st.floats(m * np.exp(-3 * sd), m * np.exp(3 * sd)) for k, (m, sd) in PRIORS.items()}
)


class TestFlowReactor(SimulatorContract):
    make = FlowReactor
    setting = SETTING
    responses = ("sty", "e_factor", "conversion", "byproducts")


def reference(setting, unknowns):
    """The five mass balances in time, by another method, as tight as it goes."""
    inverse = 1 / (setting["temperature"] + 273.15) - 1 / 363.15
    k = [unknowns[f"k_{x}"] * np.exp(-unknowns[f"E_{x}"] / GAS_CONSTANT * inverse) for x in "abcd"]
    fed = setting["concentration"]

    def slope(_, c):
        a, b, p, q = k[0] * c[0] * c[1], k[1] * c[0] * c[1], k[2] * c[2] * c[1], k[3] * c[3] * c[1]
        return [-a - b, -a - b - p - q, a - p, b - q, p + q]

    start = [fed, fed * setting["equivalents"], 0, 0, 0]
    span = (0, 60 * setting["residence_time"])
    return solve_ivp(slope, span, start, method="LSODA", rtol=1e-10, atol=1e-13).y[:, -1]


def draws(n, rng):
    return {k: m * np.exp(sd * rng.standard_normal(n)) for k, (m, sd) in PRIORS.items()}


@settings(max_examples=40, deadline=None)
@given(some_setting, some_unknowns)
def test_the_exposure_form_solves_the_mass_balances(setting, unknowns):
    found = np.array(concentrations(setting, unknowns))
    assert found == pytest.approx(reference(setting, unknowns), rel=1e-6, abs=1e-9 * setting["concentration"])


@settings(max_examples=60, deadline=None)
@given(some_setting, some_unknowns)
def test_rings_and_amine_are_conserved(setting, unknowns):
    c1, c2, c3, c4, c5 = concentrations(setting, unknowns)
    fed = setting["concentration"]
    assert c1 + c3 + c4 + c5 == pytest.approx(fed, rel=1e-12)
    assert c2 + c3 + c4 + 2 * c5 == pytest.approx(fed * setting["equivalents"], rel=1e-12)
    assert min(c1, c2, c3, c4, c5) >= 0


@given(some_setting)
@settings(max_examples=30, deadline=None)
def test_without_side_reactions_it_is_the_textbook_second_order_reaction(setting):
    unknowns = {**NOMINAL, "k_b": 0.0, "k_c": 0.0, "k_d": 0.0}
    setting = {**setting, "temperature": 90.0, "equivalents": 2.0}
    fed, t = setting["concentration"], 60 * setting["residence_time"]
    growth = np.exp(fed * NOMINAL["k_a"] * t)  # (c_2 / c_1) / (c_20 / c_10) for two equivalents
    exact = fed * (2 * growth - 2) / (2 * growth - 1)
    assert concentrations(setting, unknowns).c3 == pytest.approx(exact, rel=1e-8)


def test_nothing_reacts_when_the_rates_are_zero():
    still = FlowReactor().simulate(SETTING, dict.fromkeys(NOMINAL, 0.0))
    assert (still["sty"], still["conversion"], still["byproducts"]) == pytest.approx((0, 0, 0))
    assert still["e_factor"] == 1000.0


def test_equal_rates_in_series_are_no_special_case():
    apart = {**NOMINAL, "E_c": 33.3, "E_b": 33.3, "k_c": NOMINAL["k_a"] + NOMINAL["k_b"]}
    nudged = {**apart, "k_c": apart["k_c"] * (1 + 1e-7)}
    a, b = FlowReactor().simulate(SETTING, apart), FlowReactor().simulate(SETTING, nudged)
    assert a["sty"] == pytest.approx(b["sty"], rel=1e-6)


def test_amine_for_half_the_rings_converts_half_in_the_long_run():
    long = {**SETTING, "equivalents": 0.5, "residence_time": 1e4}
    only_first = {**NOMINAL, "k_c": 0.0, "k_d": 0.0}
    assert FlowReactor().simulate(long, only_first)["conversion"] == pytest.approx(50.0, rel=1e-6)


@pytest.mark.parametrize("name", sorted(BOUNDS))
def test_more_of_anything_converts_more(name):
    grid = np.linspace(*BOUNDS[name], 25)
    conversion = FlowReactor().simulate({**SETTING, name: grid}, {})["conversion"]
    assert np.all(np.diff(conversion) > -1e-9)


def test_selectivity_to_para_in_a_short_reactor_is_the_ratio_of_rates():
    short = {**SETTING, "residence_time": 1e-6, "temperature": 90.0}
    c = concentrations(short, NOMINAL)
    assert c.c4 / c.c3 == pytest.approx(NOMINAL["k_b"] / NOMINAL["k_a"], rel=1e-6)


def test_summit_gives_nearly_the_same():
    """tests/test_benchmarks.py of Summit states 168.958672 and 191.260294.

    The rest is its two slips: para formed with k_a, and 273.71 K.
    """
    setting = {"residence_time": 1.5, "equivalents": 0.5, "concentration": 0.1, "temperature": 30.0}
    ours = FlowReactor().simulate(setting, {})
    assert ours["sty"] == pytest.approx(168.958672, rel=6e-3)
    assert ours["e_factor"] == pytest.approx(191.260294, rel=6e-3)


def test_settings_and_members_broadcast():
    rng = np.random.default_rng(0)
    setting = {k: rng.uniform(*b, (7, 1)) for k, b in BOUNDS.items()}
    unknowns = draws(5, rng)
    table = FlowReactor().simulate(setting, unknowns)
    row = {k: float(v[3, 0]) for k, v in setting.items()}
    for name, column in table.items():
        assert column.shape == (7, 5)
        one = FlowReactor().simulate(row, {k: v[2] for k, v in unknowns.items()})[name]
        assert column[3, 2] == pytest.approx(float(one), rel=1e-7)


@pytest.mark.parametrize(("n_settings", "limit_s"), [(1, 0.015), (64, 1.0)])
def test_64_members_are_quick(n_settings, limit_s):
    rng = np.random.default_rng(1)
    setting = {k: rng.uniform(*b, (n_settings, 1)) for k, b in BOUNDS.items()}
    unknowns = draws(64, rng)

    def seconds():
        begun = time.process_time()
        FlowReactor().simulate(setting, unknowns)
        return time.process_time() - begun

    assert min(seconds() for _ in range(7)) < limit_s  # of the processor, the best of a few: the machine is shared


def test_the_priors_are_wrong_but_honest():
    from closedloop.instruments.flow_reactor_plant import ENERGIES, RATES

    truth = dict(zip(PRIORS, RATES + ENERGIES, strict=True))
    z = {k: np.log(truth[k] / median) / sd for k, (median, sd) in PRIORS.items()}
    assert all(0.3 < abs(v) < 1.5 for v in z.values()), z
    assert all(abs(truth[k] / NOMINAL[k] - 1) > 0.03 for k in truth)
