"""Problems with several sources, each at a cost of its own: which to ask is part of the question."""

from __future__ import annotations

from math import log, pi, sin

import numpy as np
from problem import Aim, Problem, Real, Setting, Source

from problems.smooth import ALPHA, HARTMANN6, box, hartmann6, vector

FIDELITIES = {"full": 1.0, "half": 0.5, "rough": 0.0}


def augmented_hartmann(s: Setting, source: str) -> dict[str, float]:
    """Wu, Toscano-Palmerin, Frazier and Wilson 2019, as in BoTorch, at three levels of its continuous fidelity."""
    alpha = ALPHA - np.array([0.1 * (1 - FIDELITIES[source]), 0, 0, 0])
    return {"y": hartmann6(vector(s, 6), alpha=alpha)}


#            a of (H_u a - H_l b),  b,   of L T_u,  of T_u/T_l,  of r in the first log, whether both logs change
BOREHOLES = {
    "full": (1.0, 1.0, 2.0, 1.0, 1.0),
    "lf1": (1.0, 0.8, 1.0, 1.0, 1.0),
    "lf2": (1.0, 1.0, 8.0, 0.75, 1.0),
    "lf3": (1.09, 1.0, 3.0, 1.0, 4.0),
    "lf4": (1.05, 1.0, 3.0, 1.0, 2.0),
}


def borehole(s: Setting, source: str) -> dict[str, float]:
    """Flow through a borehole, m^3 a year: Morris, Mitchell and Ylvisaker 1993; levels of Chen et al. 2024 (BoTorch)."""
    upper, lower, k_length, k_ratio, k_radius = BOREHOLES[source]
    within = log(float(s["r"]) / float(s["r_w"]))
    outer = log(k_radius * float(s["r"]) / float(s["r_w"]))
    through = k_length * float(s["length"]) * float(s["T_u"]) / (within * float(s["r_w"]) ** 2 * float(s["K_w"]))
    head = upper * float(s["H_u"]) - lower * float(s["H_l"])
    return {"flow": 2 * pi * float(s["T_u"]) * head / (outer * (1 + through + k_ratio * s["T_u"] / s["T_l"]))}


def rosenbrock(bias: float):
    """Poloczek, Wang and Frazier 2017 (misoKG): the cheap source is off by a wave."""

    def evaluate(s: Setting, source: str) -> dict[str, float]:
        x, y = float(s["x"]), float(s["y"])
        wave = bias * sin(10 * x + 5 * y) if source == "cheap" else 0.0
        return {"f": (1 - x) ** 2 + 100 * (y - x**2) ** 2 - 456.3 + wave}

    return evaluate


PLANE = (Real("x", -2, 2), Real("y", -2, 2))
PROBLEMS = (
    Problem(
        name="augmented_hartmann",
        title="Augmented Hartmann, three levels",
        parameters=box(6, 0, 1),
        aims=(Aim("y"),),
        evaluate=augmented_hartmann,
        optimum=HARTMANN6,
        budget=20,
        sources=(Source("full", 1.0), Source("half", 0.3, fidelity=0.5), Source("rough", 0.1, fidelity=0.0)),
        levels=(4, 8, 12, 16, 20),
    ),
    Problem(
        name="borehole",
        title="Borehole, five sources",
        parameters=(
            Real("r_w", 0.05, 0.15),
            Real("r", 100, 10_000),
            Real("T_u", 100, 1000),
            Real("T_l", 10, 500),
            Real("H_u", 990, 1110),
            Real("H_l", 700, 820),
            Real("length", 1000, 2000),
            Real("K_w", 6000, 12_000),
        ),
        aims=(Aim("flow"),),
        evaluate=borehole,
        optimum=3.985463803,
        budget=15,
        sources=(
            Source("full", 1.0),
            Source("lf1", 0.1, fidelity=0.5),
            Source("lf2", 0.01, fidelity=0.0),
            Source("lf3", 0.1, fidelity=0.5),
            Source("lf4", 0.01, fidelity=0.0),
        ),
        levels=(3, 6, 9, 12, 15),
    ),
    Problem(
        name="rosenbrock_a",
        title="misoKG Rosenbrock A, cheap source nearly right",
        parameters=PLANE,
        aims=(Aim("f"),),
        evaluate=rosenbrock(0.1),
        optimum=-456.3,
        budget=25_000,
        sources=(Source("truth", 1000, noise=1e-3**0.5), Source("cheap", 1, noise=1e-3, fidelity=0.0)),
        levels=(5000, 10_000, 15_000, 20_000, 25_000),
    ),
    Problem(
        name="rosenbrock_b",
        title="misoKG Rosenbrock B, cheap source misleading",
        parameters=PLANE,
        aims=(Aim("f"),),
        evaluate=rosenbrock(2.0),
        optimum=-456.3,
        budget=1250,
        sources=(Source("truth", 50, noise=1.0), Source("cheap", 1, noise=1e-3, fidelity=0.0)),
        levels=(250, 500, 750, 1000, 1250),
    ),
)
