"""The choice among actions: gains against a closed form, the guard, and short loops that must reach their goals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from closedloop.controller.belief.evidence import Evidence, Observations
from closedloop.controller.belief.surrogate import Surrogate
from closedloop.controller.campaign import Campaign
from closedloop.controller.design.choice import Choice
from closedloop.controller.design.gain import choose
from closedloop.controller.design.initial import initial_setting
from closedloop.controller.design.knowledge import Outlook
from closedloop.controller.design.objective import Objective
from closedloop.controller.goal import Goal

Array = np.ndarray
COSTS = {"lab": 0.03, "model": 0.003}


def campaign(*, simulator: bool = False, **changes: object) -> Campaign:
    sources = {"lab": {"instrument": "x:Lab", "cost": {"money": 10}}}
    if simulator:
        sources["model"] = {"simulator": "x:Model", "cost": {"money": 1}}
    declared = {
        "name": "t",
        "parameters": {f"x{i}": {"low": 0, "high": 1} for i in range(2)},
        "responses": ["y"],
        "sources": sources,
        "goal": {"maximize": "y"},
        "budget": {"money": 300},
        **changes,
    }
    return Campaign(**declared)


class Loop:
    """The agent in plain Python: what is chosen is answered at once."""

    def __init__(self, c: Campaign, answer: dict[str, Callable[[Array], Array]], *, initial: dict[str, int]) -> None:
        self.campaign, self.answer = c, answer
        self.read: dict[str, list[tuple[int, Array, Array]]] = {}
        self.belief, self.choices = Surrogate.prior(c), []
        for place, (source, n) in enumerate(initial.items()):
            for k in range(n):
                self.ask(source, initial_setting(c.space, k, c.seed + place))

    def ask(self, source: str, row: Array) -> None:
        n = sum(map(len, self.read.values()))
        self.read.setdefault(source, []).append((n, row, self.answer[source](row[None])[0]))

    @property
    def evidence(self) -> Evidence:
        def observed(rows: list[tuple[int, Array, Array]]) -> Observations:
            trials, X, Y = (list(column) for column in zip(*rows, strict=True))
            return Observations(
                trials, np.array(X), np.array(X), np.array(Y), np.full(np.shape(Y), np.nan), [None] * len(X)
            )

        return Evidence(
            self.campaign.space,
            tuple(self.campaign.responses),
            "lab",
            {s: observed(rows) for s, rows in self.read.items()},
        )

    def choose(self, allowed: tuple[str, ...] | None = None) -> Choice | None:
        n = sum(map(len, self.read.values()))
        self.belief = self.belief.correct(self.evidence, (), np.random.default_rng(0))
        rng = np.random.default_rng([self.campaign.seed, n])
        last = max((n for n, _, _ in self.read["lab"]), default=-1)
        spent = sum(COSTS[s] for s, rows in self.read.items() for n, _, _ in rows if s != "lab" and n > last)
        free = allowed or tuple(self.campaign.sources)
        return choose(self.belief, self.evidence, self.campaign, COSTS, free, rng, spent=spent)

    def run(self, n_measured: int) -> Loop:
        while len(self.read["lab"]) < n_measured:
            choice = self.choose()
            self.choices.append(choice)
            self.ask(choice.source, choice.setting)
        return self

    @property
    def Y(self) -> Array:
        return np.array([y for _, _, y in self.read["lab"]])


def branin(X: Array) -> Array:
    a, b = X[:, :1] * 15 - 5, X[:, 1:] * 15
    return -((b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10)


def outlook(goal: Goal, mean: list[list[float]], sd: list[list[float]]) -> Outlook:
    names = tuple("ab"[: len(mean[0])])
    o = Objective(goal, names, 0.0, 1.0, (1.0,) * len(goal.constraints))
    return Outlook(o, np.zeros((len(mean), 1)), np.array(mean), np.array(sd), -2.0)


def test_the_gain_of_one_uncertain_rival_is_the_closed_form() -> None:
    """Frazier, Powell & Dayanik 2009, eq. 20: s f(-|d| / s), f(z) = z Phi(z) + phi(z)."""
    for d, s in ((0.0, 1.0), (0.5, 1.0), (0.3, 0.4)):
        gain = outlook(Goal(maximize="a"), [[0.0], [-d]], [[0.0], [1.0]]).gains(np.array([[[0.0], [s]]]))[0]
        z = -d / s
        assert gain == pytest.approx(s * (z * norm.cdf(z) + norm.pdf(z)), rel=0.05)  # 64 draws


def test_a_source_that_moves_nothing_gains_nothing() -> None:
    o = outlook(Goal(maximize="a", subject_to=("b <= 0",)), [[0.0, 0.1], [1.0, 0.5]], [[0.5, 0.5], [1.0, 1.0]])
    np.testing.assert_allclose(o.gains(np.zeros((3, 2, 2))), 0.0, atol=1e-12)
    assert (o.gains(np.random.default_rng(0).random((20, 2, 2)) * 0.5) >= 0).all()


def test_to_learn_whether_the_best_is_feasible_is_worth_something() -> None:
    o = outlook(Goal(maximize="a", subject_to=("b <= 0",)), [[0.0, -3.0], [1.0, 0.0]], [[0.0, 0.1], [0.0, 1.0]])
    about_b = np.array([[[0.0, 0.0], [0.0, 0.9]]])
    assert o.gains(about_b)[0] > 0.1


def test_branin_is_reached_and_the_same_seed_chooses_the_same() -> None:
    loop = Loop(campaign(), {"lab": branin}, initial={"lab": 5}).run(28)
    assert -0.397887 - loop.Y.max() < 0.1
    again = Loop(campaign(), {"lab": branin}, initial={"lab": 5}).run(8)
    assert all(np.array_equal(a.setting, b.setting) for a, b in zip(loop.choices, again.choices, strict=False))


def test_a_biased_cheap_simulator_saves_measurements() -> None:
    def model(X: Array) -> Array:
        return branin(X) - 20 * X[:, :1] + 15 * X[:, 1:]

    loop = Loop(campaign(simulator=True), {"model": model, "lab": branin}, initial={"model": 8, "lab": 3}).run(11)
    assert -0.397887 - loop.Y.max() < 0.1
    sources = [c.source for c in loop.choices]
    assert sources.count("model") > sources.count("lab") > 0
    text = next(c.text for c in loop.choices if c.source == "model")
    assert "model: expected gain" in text and "lab promises at best" in text and "%" in text
    assert {a.source for a in loop.choices[0].alternatives} >= {"lab", "model"} - {loop.choices[0].source}


def test_between_two_measurements_simulations_cost_no_more_than_one() -> None:
    def useless(X: Array) -> Array:
        return 60 * np.sin(9 * X[:, :1]) * np.cos(7 * X[:, 1:]) - 50

    loop = Loop(campaign(simulator=True), {"model": useless, "lab": branin}, initial={"model": 4, "lab": 3}).run(7)
    runs = "".join(c.source[0] for c in loop.choices).split("l")
    assert max(map(len, runs)) <= round(COSTS["lab"] / COSTS["model"])


def test_it_waits_where_the_target_is_not_allowed_and_the_others_have_spent_their_part() -> None:
    loop = Loop(campaign(simulator=True), {"model": branin, "lab": branin}, initial={"lab": 4, "model": 12})
    assert loop.choose(("model",)) is None
    assert loop.choose().source == "lab"


def test_without_two_readings_the_next_sobol_point_is_taken_and_said() -> None:
    loop = Loop(campaign(), {"lab": branin}, initial={"lab": 1})
    choice = loop.choose()
    assert "Sobol" in choice.text and choice.gain == 0.0
    assert np.allclose(choice.setting, initial_setting(loop.campaign.space, 1, 0), atol=1e-9)


def test_where_nothing_gains_the_target_is_asked_and_it_is_said() -> None:
    c = campaign(parameters={"k": {"choices": ["A", "B"]}}, simulator=True)
    loop = Loop(c, {"lab": lambda X: X[:, :1], "model": lambda X: X[:, :1]}, initial={"lab": 30, "model": 2})
    choice = loop.choose()
    assert choice.source == "lab" and "no action promises a gain" in choice.text


def test_a_constrained_problem_reaches_its_optimum() -> None:
    """Gramacy et al., Technometrics 2016, 58, 1: the constrained minimum is 0.5998."""

    def gramacy(X: Array) -> Array:
        a, b = X[:, 0], X[:, 1]
        c1 = 1.5 - a - 2 * b - 0.5 * np.sin(2 * np.pi * (a**2 - 2 * b))
        return np.stack([a + b, c1, a**2 + b**2 - 1.5], axis=-1)

    c = campaign(responses=["sum", "c1", "c2"], goal={"minimize": "sum", "subject_to": ["c1 <= 0", "c2 <= 0"]}, seed=1)
    Y = Loop(c, {"lab": gramacy}, initial={"lab": 5}).run(18).Y
    is_feasible = (Y[:, 1:] <= 0).all(axis=1)
    assert Y[is_feasible, 0].min() < 0.63


def test_a_mixed_space_with_a_target_value_and_a_constraint() -> None:
    c = campaign(
        parameters={
            "T": {"low": 10, "high": 1000, "scale": "log"},
            "catalyst": {"choices": ["A", "B", "C", "D"]},
            "n": {"kind": "integer", "low": 1, "high": 9},
        },
        constraints=["n * T <= 3000"],
        goal={"target": "y", "value": 7.0},
    )

    def answer(X: Array) -> Array:
        s = c.space.check(c.space.decode(X[0]))
        kind = {"A": 0.0, "B": 1.5, "C": -1.0, "D": 0.5}[str(s["catalyst"])]
        return np.array([[2 * np.log10(float(s["T"])) + kind - 0.06 * (int(s["n"]) - 6) ** 2]])

    Y = Loop(c, {"lab": answer}, initial={"lab": 6}).run(18).Y
    assert np.abs(Y - 7.0).min() < 0.05
