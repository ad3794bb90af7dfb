"""Box-bounded test functions with one response: Branin, Hartmann, Ackley, Levy (Surjanovic and Bingham 2013)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from problem import Aim, Problem, Real, Setting, Source

A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
HARTMANN6 = -3.322368011415515


def hartmann6(x: np.ndarray, *, alpha: np.ndarray = ALPHA) -> float:
    return float(-(alpha * np.exp(-(A * (x - P) ** 2).sum(1))).sum())


def branin(a: float, b: float) -> float:
    return (b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10


def ackley(x: np.ndarray) -> float:
    root = np.sqrt(np.mean(x**2))
    return float(-20 * np.exp(-0.2 * root) - np.exp(np.mean(np.cos(2 * np.pi * x))) + 20 + np.e)


def levy(x: np.ndarray) -> float:
    w = 1 + (x - 1) / 4
    inner = (w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2)
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    return float(np.sin(np.pi * w[0]) ** 2 + inner.sum() + last)


def box(n: int, low: float, high: float) -> tuple[Real, ...]:
    return tuple(Real(f"x{i + 1}", low, high) for i in range(n))


def vector(setting: Setting, n: int) -> np.ndarray:
    return np.array([float(setting[f"x{i + 1}"]) for i in range(n)])


def of(n: int, function: Callable[[np.ndarray], float]) -> Callable[[Setting, str], dict[str, float]]:
    return lambda setting, source: {"y": function(vector(setting, n))}


Y = (Aim("y"),)
# Levy's box is moved by 3, so that an optimiser that begins in the middle is not given the optimum for nothing;
# 5 % of the standard deviation of the values over the box, by 2^16 Sobol points
LEVY_NOISE = 0.05 * 27.609
ACTIVE = (3, 11, 19, 27, 35, 43)  # of fifty

PROBLEMS = (
    Problem(
        name="branin",
        title="Branin, 2-d",
        parameters=(Real("x1", -5, 10), Real("x2", 0, 15)),
        aims=Y,
        evaluate=lambda s, source: {"y": float(branin(s["x1"], s["x2"]))},
        optimum=0.39788735772973816,
        budget=30,
    ),
    Problem(
        name="hartmann6",
        title="Hartmann, 6-d",
        parameters=box(6, 0, 1),
        aims=Y,
        evaluate=of(6, hartmann6),
        optimum=HARTMANN6,
        budget=60,
    ),
    Problem(
        name="hartmann6_q4",
        title="Hartmann, 6-d, batches of 4",
        parameters=box(6, 0, 1),
        aims=Y,
        evaluate=of(6, hartmann6),
        optimum=HARTMANN6,
        budget=60,
        n_batch=4,
    ),
    Problem(
        name="ackley10",
        title="Ackley, 10-d",
        parameters=box(10, -5, 10),
        aims=Y,
        evaluate=of(10, ackley),
        optimum=0.0,
        budget=80,
    ),
    Problem(
        name="levy4_noisy",
        title="Levy, 4-d, 5 % noise",
        parameters=box(4, -7, 13),
        aims=Y,
        evaluate=of(4, levy),
        optimum=0.0,
        budget=50,
        sources=(Source("lab", noise=LEVY_NOISE),),
    ),
    Problem(
        name="hartmann6_50d",
        title="Hartmann, 6 of 50 dimensions",
        parameters=box(50, 0, 1),
        aims=Y,
        evaluate=lambda s, source: {"y": hartmann6(np.array([s[f"x{i}"] for i in ACTIVE]))},
        optimum=HARTMANN6,
        budget=100,
    ),
)
