"""No data and no failure of the model break a decision: there is always a sound proposal, and it says where it is from."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from linear_operator.utils.errors import NotPSDError
from pydantic import ValidationError

from closedloop.controller.belief import prior_belief
from closedloop.controller.belief.evidence import Evidence, Observations
from closedloop.controller.belief.multi_source_fit import LEAST_NOISE
from closedloop.controller.belief.quarantine import is_outlier
from closedloop.controller.belief.standardised import tamed
from closedloop.controller.belief.surrogate import Surrogate
from closedloop.controller.campaign import Campaign
from closedloop.controller.design import ascent, best, climb, logei, searching
from closedloop.controller.design.analytic import AnalyticAcquisition
from closedloop.controller.design.choice import Choice
from closedloop.controller.design.gain import choose
from closedloop.controller.design.initial import initial_setting
from closedloop.controller.design.searching import Found
from closedloop.controller.errors import BeliefError
from closedloop.controller.records import Reading

Array = np.ndarray
World = Callable[[Array], list[float] | None]


def campaign(d: int = 2, m: int = 1, **changes: object) -> Campaign:
    declared = {
        "name": "t",
        "parameters": {f"x{i}": {"low": 0, "high": 1} for i in range(d)},
        "responses": [f"y{j}" for j in range(m)],
        "sources": {"lab": {"instrument": "x:Lab", "cost": {"money": 10}}},
        "goal": {"maximize": "y0"},
        "budget": {"money": 300},
        **changes,
    }
    return Campaign(**declared)


def evidence(c: Campaign, X: Array, Y: Array, sd: object = np.nan, **more: Array) -> Evidence:
    o = Observations(tuple(range(len(X))), X, X, Y, np.broadcast_to(sd, Y.shape).astype(float), (None,) * len(X))
    return Evidence(c.space, tuple(c.responses), "lab", {"lab": o}, **{k: {"lab": v} for k, v in more.items()})


def decided(c: Campaign, e: Evidence, seed: int = 0) -> Choice:
    """A decision after all of the evidence, as ``decide`` makes it: a belief that cannot be corrected stays."""
    belief = prior_belief(c)
    try:
        belief = belief.correct(e, (), np.random.default_rng(0))
    except BeliefError as error:
        assert str(error)
    choice = choose(belief, e, c, {"lab": 1 / 30}, ["lab"], np.random.default_rng(seed))
    c.space.check(c.space.decode(choice.setting))
    assert np.isfinite(choice.setting).all() and (choice.setting >= 0).all() and (choice.setting <= 1).all()
    assert np.isfinite(choice.gain) and all(np.isfinite(v) for v in choice.figures.values())
    forecast = belief.predict(e, "lab", choice.setting[None])
    assert forecast is None or (np.isfinite(forecast.mean).all() and (forecast.sd > 0).all())
    return choice


def run(c: Campaign, world: World, n: int) -> list[tuple[Array, list[float] | None]]:
    """A campaign in memory; a world that answers None has failed."""
    log: list[tuple[Array, list[float] | None]] = []
    for k in range(n):
        X = np.array([x for x, y in log if y is not None]).reshape(-1, c.space.n_columns)
        Y = np.array([y for _, y in log if y is not None]).reshape(-1, len(c.responses))
        failed = np.array([x for x, y in log if y is None]).reshape(-1, c.space.n_columns)
        x = initial_setting(c.space, k, 0) if k < 4 else decided(c, evidence(c, X, Y, infeasible=failed), k).setting
        log.append((x, world(x)))
    return log


def hill(X: Array) -> Array:
    return -((X - 0.3) ** 2).sum(axis=1, keepdims=True)


X12 = np.random.default_rng(0).random((12, 2))
Y12 = hill(X12)
NOISE = np.random.default_rng(1).standard_normal((2000, 1))


# 32: what is beyond what can be worked with


@pytest.mark.parametrize("wild", [1e12, 9.9e37, 1e151, -1e200, 1e307])
def test_fault_32_one_wild_reading_does_not_keep_the_model_from_deciding(wild: float) -> None:
    Y = Y12.copy()
    Y[3] = wild
    assert "Sobol" not in decided(campaign(), evidence(campaign(), X12, Y)).text


def test_fault_32_a_wild_reading_is_drawn_in_only_where_its_square_is_no_number() -> None:
    c, Y = campaign(), Y12.copy()
    Y[3] = 1e100
    assert tamed(evidence(c, X12, Y)).observations["lab"].Y is Y
    Y[3] = 1e200
    drawn_in = tamed(evidence(c, X12, Y)).observations["lab"].Y
    others = np.delete(np.arange(12), 3)
    assert np.array_equal(drawn_in[others], Y12[others])
    assert 0 < drawn_in[3, 0] < 20 * np.ptp(Y12)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-12, 1e12, 1e149, 1e160, 1e300, 1.7e308])
def test_fault_32_readings_of_any_scale_give_a_decision(scale: float) -> None:
    choice = decided(campaign(), evidence(campaign(), X12, Y12 * scale))
    if "Sobol" in choice.text:
        assert "spread beyond what float64 can square" in choice.text or "give them in a smaller unit" in choice.text
        assert choice.figures["fallback"] == 2.0


@pytest.mark.parametrize("bounds", [(0, 1e-12), (-1e12, 1e12), (1e12, 1e12 + 1), (0, 1e300)])
def test_fault_32_bounds_of_any_scale_give_a_decision(bounds: tuple[float, float]) -> None:
    c = campaign(parameters={"a": {"low": bounds[0], "high": bounds[1]}, "b": {"low": 0, "high": 1}})
    assert "Sobol" not in decided(c, evidence(c, X12, Y12)).text


def test_fault_32_constraints_of_very_different_size_are_kept() -> None:
    goal = {"maximize": "y0", "subject_to": ["y1 <= 3e11", "y2 <= 5e-13"]}
    c = campaign(m=3, goal=goal)
    choice = decided(c, evidence(c, X12, np.hstack([Y12, 1e12 * X12[:, :1], 1e-12 * X12[:, 1:]])))
    assert choice.setting[0] < 0.35 and choice.setting[1] < 0.55


def test_fault_32_an_objective_beyond_float64_gives_a_decision_without_a_warning() -> None:
    c = campaign(goal={"maximize": "exp(-y0)"})
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        choice = decided(c, evidence(c, X12, Y12 * 1e3))
    assert np.isfinite(choice.setting).all() and (choice.setting >= 0).all() and (choice.setting <= 1).all()


# 33: nothing but failures


def test_fault_33_where_every_trial_failed_space_filling_goes_on() -> None:
    log = run(campaign(), lambda x: None, 20)
    X = np.array([x for x, _ in log])
    assert len(np.unique(X.round(6), axis=0)) == 20
    quarters = {(bool(x[0] > 0.5), bool(x[1] > 0.5)) for x in X[4:]}
    assert len(quarters) == 4


def test_fault_33_the_sobol_points_say_why() -> None:
    c = campaign()
    nothing = np.empty((0, 2)), np.empty((0, 1))
    choice = decided(c, evidence(c, *nothing, infeasible=np.array([initial_setting(c.space, k, 0) for k in range(3)])))
    assert "next Sobol point" in choice.text and "fewer than two readings" in choice.text


# 33: failures in a part of the space


@pytest.mark.parametrize("d", [2, 4])
def test_fault_33_a_region_where_trials_fail_is_left_and_the_rest_is_optimised(d: int) -> None:
    def world(x: Array) -> list[float] | None:
        return None if x[0] > 0.6 else [-((x - 0.3) ** 2).sum()]

    log = run(campaign(d), world, 24)
    failed = [y is None for _, y in log]
    assert sum(failed[4:]) <= 6
    assert max(y[0] for _, y in log if y) > -0.01


def test_fault_33_the_edge_of_what_works_is_found_by_halving_not_by_creeping() -> None:
    """The optimum of what works, -0.04, lies on the edge of what fails, and the objective rises beyond it."""

    def world(x: Array) -> list[float] | None:
        return None if x[0] > 0.6 else [-((x[0] - 0.8) ** 2) - (x[1] - 0.5) ** 2]

    log = run(campaign(), world, 26)
    assert max(y[0] for _, y in log if y) > -0.043
    assert sum(y is None for _, y in log) <= 15


def test_fault_33_one_failure_does_not_condemn_its_place_for_good() -> None:
    n = 0

    def world(x: Array) -> list[float] | None:
        nonlocal n
        n += 1
        return None if n == 6 else [-((x - 0.6) ** 2).sum()]

    assert max(y[0] for _, y in run(campaign(), world, 18) if y) > -0.002


def test_fault_33_without_failures_nothing_about_success_is_said() -> None:
    e = evidence(campaign(), X12, Y12)
    assert "p_success" not in decided(campaign(), e).figures
    some = evidence(campaign(), X12, Y12, infeasible=np.array([[0.9, 0.9]]))
    assert 0 < decided(campaign(), some).figures["p_success"] < 1


# 34: nothing to learn, the same again


def test_fault_34_a_constant_response_is_looked_for_everywhere_and_nowhere_twice() -> None:
    X = np.array([x for x, _ in run(campaign(), lambda x: [5.0], 20)])
    gaps = np.abs(X[:, None] - X).max(axis=-1) + np.eye(20)
    assert gaps.min() > 0.03
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 11)] * 2), axis=-1).reshape(-1, 2)
    assert np.abs(grid[:, None] - X).max(axis=-1).min(axis=1).max() < 0.35


@pytest.mark.parametrize(
    ("X", "Y", "sd"),
    [
        (X12[[0] * 100], Y12[[0] * 100], np.nan),
        (X12[[0] * 2000], NOISE, np.nan),
        (X12[[0] * 10], NOISE[:10], np.nan),
        (X12[[0] * 10], NOISE[:10], 0.0),
        (X12[[0] * 100], Y12[[0] * 100], 0.0),
        (X12[:1] + 1e-9 * np.random.default_rng(2).random((30, 2)), NOISE[:30], np.nan),
        (X12[:1], Y12[:1], np.nan),
        (X12[[0, 0]], Y12[[0, 0]], np.nan),
    ],
    ids=["100 identical", "2000 repeats", "same x", "same x sd 0", "100 identical sd 0", "nearly same", "one", "two"],
)
def test_fault_34_repeats_give_a_decision_that_goes_elsewhere(X: Array, Y: Array, sd: float) -> None:
    choice = decided(campaign(), evidence(campaign(), X, Y, sd))
    assert np.abs(choice.setting - X[0]).max() > 0.05


# A reactor campaign that read one infeasible place over and over: temperature, time, equivalents, concentration in the
# unit cube; yield, waste, conversion, by-products.
STUCK_X = np.array(
    [
        [0.2862, 0.1627, 0.5883, 0.2875],
        [0.7498, 0.81, 0.3825, 0.505],
        [0.2417, 0.1007, 0.608, 0.265],
        [0.2542, 0.1167, 0.6032, 0.27],
        [0.2565, 0.1213, 0.6018, 0.2725],
        [0.2565, 0.12, 0.6018, 0.2725],
        [0.2579, 0.1247, 0.601, 0.2725],
        [0.2579, 0.1247, 0.601, 0.2725],
    ]
)
STUCK_Y = np.array(
    [
        [3144.57, 21.29, 94.47, 8.85],
        [1234.88, 24.47, 100.38, 44.81],
        [3272.2, 23.27, 87.72, 7.14],
        [3239.44, 22.46, 90.23, 7.65],
        [3250.91, 22.81, 90.49, 7.75],
        [3269.79, 22.24, 90.33, 7.65],
        [3209.99, 22.27, 90.91, 7.85],
        [3265.16, 22.14, 90.92, 7.88],
    ]
)


@pytest.mark.parametrize("seed", range(3))
def test_fault_34_the_search_for_what_is_feasible_does_not_read_one_place_for_ever(seed: int) -> None:
    c = campaign(4, 4, goal={"maximize": "y0", "subject_to": ["y1 <= 9.8", "y3 <= 8"]})
    choice = decided(c, evidence(c, STUCK_X, STUCK_Y), seed)
    assert choice.figures["log_p_feasible"] < -5
    assert np.abs(STUCK_X[2:] - choice.setting).max(axis=1).min() > 0.02


# 37: the model fails

# In closed form, and by Monte Carlo; within bounds only, and within a constraint, where another ascent is made.
METHODS = ("log_ei", "log_ei_mc")
WAYS = {"climb": (), "ascend": ("x0 + x1 <= 1.5",)}


def by(method: str, way: str = "climb") -> Campaign:
    return campaign(method={"acquisition": method}, constraints=list(WAYS[way]))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("svd"),
        ValueError("shape"),
        NotPSDError("not p.d."),
        np.linalg.LinAlgError("singular"),
        KeyError("k"),
    ],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize(
    ("method", "where"),
    [
        ("log_ei", (logei, "AnalyticAcquisition")),
        ("log_ei", (AnalyticAcquisition, "values")),
        ("log_ei_mc", (logei, "Acquisition")),
        ("log_ei_mc", (logei.Acquisition, "values")),
        ("knowledge_gradient", (best, "best_by_gain")),
        *[(m, w) for m in METHODS for w in ((logei, "likely_best"), (searching, "raw_candidates"))],
        *[(m, w) for m in METHODS for w in ((best, "best_settings"), (Surrogate, "target_model"))],
    ],
    ids=lambda x: x if isinstance(x, str) else x[1],
)
def test_fault_37_a_decision_that_fails_anywhere_falls_back_to_sobol_and_says_so(
    method: str, where: tuple[object, str], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(*where, fail)
    c = by(method)
    choice = decided(c, evidence(c, X12, Y12))
    assert "next Sobol point" in choice.text and type(error).__name__ in choice.text
    assert choice.figures["fallback"] == 2.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", WAYS)
def test_fault_37_where_only_the_ascent_fails_the_screened_settings_stand(
    method: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise NotPSDError("not p.d.")

    c = by(method, way)
    calm = decided(c, evidence(c, X12, Y12))
    monkeypatch.setattr(searching, way, fail)
    choice = decided(c, evidence(c, X12, Y12))
    assert "screened settings, since the ascent failed: NotPSDError" in choice.text
    assert choice.figures["fallback"] == 1.0
    gap = calm.figures["log_ei"] - choice.figures["log_ei"]
    assert 0 <= gap < 0.1  # still the model's, if not quite at the top


@pytest.mark.parametrize("error", [NotPSDError("x"), np.linalg.LinAlgError("x"), RuntimeError("x"), OverflowError("x")])
def test_fault_37_a_fit_that_fails_is_a_belief_error(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    c = campaign()
    monkeypatch.setattr("closedloop.controller.belief.surrogate.fit", fail)
    with pytest.raises(BeliefError, match=type(error).__name__):
        prior_belief(c).correct(evidence(c, X12, Y12), (), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("function", "most", "constraints"),
    [
        (climb.climb, climb.MAX_CALLS, []),
        (ascent.ascend, ascent.MAX_EVALUATIONS, []),
        (ascent.ascend, ascent.MAX_EVALUATIONS, ["x0 + x1 <= 1.5"]),
    ],
    ids=["climb", "ascend", "ascend within a constraint"],
)
def test_fault_37_the_work_of_an_ascent_is_bounded_by_a_count(
    function: Callable[..., Array], most: int, constraints: list[str]
) -> None:
    n, rng = 0, torch.Generator().manual_seed(0)

    def rough(X: torch.Tensor) -> torch.Tensor:
        nonlocal n
        n += 1
        return (X.sum(-1) - X.detach().sum(-1)) * torch.randn(len(X), generator=rng).double()

    try:
        function(rough, campaign(constraints=constraints).space, X12[:4] * 0.5)
    except BeliefError as error:
        assert "evaluations" in str(error)
    assert n <= most


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", WAYS)
def test_fault_37_a_spent_count_is_said(method: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(climb, "MAX_CALLS", 2)
    monkeypatch.setattr(ascent, "MAX_EVALUATIONS", 2)
    c = by(method, way)
    choice = decided(c, evidence(c, X12, Y12))
    assert "no end after 2 evaluations" in choice.text and choice.figures["fallback"] == 1.0


# 38: the model proposes nonsense


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, 7.0, -1.0])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", WAYS)
def test_fault_38_climbed_settings_that_are_nonsense_are_left_out_and_counted(
    way: str, method: str, nonsense: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, way, lambda f, space, starts: np.full_like(starts, nonsense))
    c = by(method, way)
    choice = decided(c, evidence(c, X12, Y12))
    assert "climbed settings, not finite or outside the space, left out" in choice.text
    assert choice.figures["fallback"] == 1.0


PENDING = np.array([[0.25, 0.75]])


@pytest.mark.parametrize(
    ("row", "said"),
    [([np.nan, 0.5], "is not finite"), ([1.5, 0.5], "lies outside the space"), ([0.25, 0.75], "is in flight already")],
)
@pytest.mark.parametrize("has_second", [False, True])
def test_fault_38_a_proposal_that_cannot_stand_is_replaced_and_said(
    row: list[float], said: str, has_second: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = np.array([row, [0.4, 0.6]][: 1 + has_second])
    monkeypatch.setattr(best, "best_settings", lambda *_, **__: Found(X, np.zeros(len(X))))
    choice = decided(campaign(), evidence(campaign(), X12, Y12, pending=PENDING))
    assert said in choice.text
    if has_second:
        assert np.array_equal(choice.setting, [0.4, 0.6]) and choice.figures["replaced"] == 1.0
    else:
        assert "Sobol" in choice.text and choice.figures["fallback"] == 2.0


@pytest.mark.parametrize("n", [2, 5, 1000])
def test_fault_38_with_few_settings_left_the_one_that_is_free_is_taken(n: int) -> None:
    c = campaign(parameters={"k": {"choices": [f"c{i}" for i in range(n)]}})
    X = np.eye(n)[: n - 1]
    e = evidence(c, X[:-1], np.arange(n - 2.0)[:, None] % 7, 0.0, pending=X[-1:])
    assert decided(c, e).setting[-1] == 1.0 or n == 1000


def test_fault_38_where_every_setting_is_known_the_decision_repeats_but_not_what_is_in_flight() -> None:
    c = campaign(parameters={"k": {"kind": "integer", "low": 0, "high": 4}})
    X = np.linspace(0, 1, 5)[:, None]
    choice = decided(c, evidence(c, X[:3], np.array([[1.0], [2.0], [0.5]]), 0.0, pending=X[3:]))
    assert choice.setting[0] in X[:3, 0]


# 39: one reading is wrong


def readings(*values: float) -> Evidence:
    return evidence(campaign(1), np.linspace(0, 1, len(values))[:, None], np.array(values)[:, None])


def test_fault_39_a_reading_far_outside_all_others_and_its_forecast_is_an_outlier() -> None:
    e = readings(1.0, 1.2, 0.9, 1.1, 1.0, 1e6)
    said = is_outlier(e, "lab", 5, z=1e4)
    assert "y0=1e+06" in said and "5 other readings (0.9 to 1.2)" in said and "1e+04 standard deviations" in said
    assert is_outlier(e, "lab", 5, z=-1e4)
    assert not is_outlier(e, "lab", 0, z=1e4)


@pytest.mark.parametrize(
    ("values", "z"),
    [
        ((1.0, 1.2, 0.9, 1.1, 1.0, 1e6), 29.0),
        ((1.0, 1.2, 0.9, 1.1, 1.0, 1e6), None),
        ((1.0, 1.2, 0.9, 1.1, 1.0, 1e6), float("nan")),
        ((1.0, 1.2, 0.9, 1.1, 1e6), 1e4),
        ((1.0, 1.2, 0.9, 1.1, 1.0, 300.0), 1e4),
        ((5.0, 5.0, 5.0, 5.0, 5.0, 5.1), 1e9),
        ((0.0, 0.0, 0.0, 0.0, 0.0, 1e9), 1e9),
    ],
    ids=["forecast", "no forecast", "no z", "too few", "300 ranges", "beside a constant", "beside zeros"],
)
def test_fault_39_a_reading_that_may_be_news_is_none(values: tuple[float, ...], z: float | None) -> None:
    assert is_outlier(readings(*values), "lab", len(values) - 1, z=z) == ""


@pytest.mark.parametrize("wild", [1.7e308, -1.7e308])
def test_fault_39_no_number_is_too_large_to_be_judged(wild: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_outlier(readings(1.0, 1.2, 0.9, 1.1, 1.0, wild), "lab", 5, z=1e300)
        assert not is_outlier(readings(1.7e308, -1.7e308, 0.9, 1.1, 1.0, 5.0), "lab", 5, z=1e300)


# 40: what noise may be said to be


@pytest.mark.parametrize("sd", [-1.0, float("nan"), float("inf")])
def test_fault_40_a_noise_that_is_negative_or_no_number_is_refused_at_birth(sd: float) -> None:
    with pytest.raises(ValidationError):
        Reading(values={"y0": 1.0}, sd={"y0": sd})


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_fault_40_a_noise_of_0_is_floored_at_the_size_of_the_response(scale: float) -> None:
    """Forecasts of repeats that agree to nine digits are sure, but to a share of the spread and never beyond."""
    c = campaign()
    X, Y = np.repeat(X12, 4, axis=0), np.repeat(Y12, 4, axis=0)
    e = evidence(c, X, (Y + 1e-9 * NOISE[:48]) * scale, 0.0)
    belief = Surrogate.prior(c).correct(e, (), np.random.default_rng(0))
    sd = belief.predict(e, "lab", X12).sd
    assert (sd >= np.sqrt(LEAST_NOISE) * belief.numbers.scale[0]).all()
    elsewhere = np.random.default_rng(5).random((200, 2))  # and where nothing was read, no surer than they are right
    forecast = belief.predict(e, "lab", elsewhere)
    z = (hill(elsewhere) * scale - forecast.mean) / forecast.sd
    assert np.mean(np.abs(z) < 2) > 0.9 and np.abs(z).max() < 5
    assert "Sobol" not in decided(c, e).text


@pytest.mark.parametrize("sd", [0.0, 1e-300, 1e6, 1e300])
def test_fault_40_a_noise_that_is_wildly_wrong_gives_a_decision(sd: float) -> None:
    assert "Sobol" not in decided(campaign(), evidence(campaign(), X12, Y12, sd)).text


def test_fault_40_noise_given_for_some_readings_only_gives_a_decision() -> None:
    sd = np.full_like(Y12, np.nan)
    sd[:4, 0] = 0.0, 1e9, 1e-9, 1.0
    assert "Sobol" not in decided(campaign(), evidence(campaign(), X12, Y12, sd)).text
