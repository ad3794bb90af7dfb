"""Problems with outcome constraints, which every rival has to learn: Gramacy's toy and the pressure vessel."""

from __future__ import annotations

import numpy as np
from problem import Aim, Problem, Real, Setting, Whole


def gramacy(s: Setting, source: str) -> dict[str, float]:
    """Gramacy et al. 2016, Technometrics 58, 1: a linear objective within two constraints on the unit square."""
    a, b = float(s["x1"]), float(s["x2"])
    first = 1.5 - a - 2 * b - 0.5 * np.sin(2 * np.pi * (a**2 - 2 * b))
    return {"y": a + b, "c1": float(first), "c2": a**2 + b**2 - 1.5}


def pressure_vessel(s: Setting, source: str) -> dict[str, float]:
    """Sandgren 1990; Kannan and Kramer 1994: cost of a vessel; shell and head come in sixteenths of an inch.

    The volume is limited from below; its constraint is in parts of the volume, so that it is of order one. The
    fourth constraint of the paper, length <= 240, is kept by the bound of 200.
    """
    shell, head = 0.0625 * int(s["shell"]), 0.0625 * int(s["head"])
    radius, length = float(s["radius"]), float(s["length"])
    cost = (
        0.6224 * shell * radius * length
        + 1.7781 * head * radius**2
        + 3.1661 * shell**2 * length
        + 19.84 * shell**2 * radius
    )
    volume = np.pi * radius**2 * length + 4 / 3 * np.pi * radius**3
    return {
        "y": cost,
        "c1": 0.0193 * radius - shell,
        "c2": 0.00954 * radius - head,
        "c3": 1 - volume / 1_296_000,
    }


PROBLEMS = (
    Problem(
        name="gramacy",
        title="Gramacy, constrained",
        parameters=(Real("x1", 0, 1), Real("x2", 0, 1)),
        aims=(Aim("y"),),
        limited=("c1", "c2"),
        evaluate=gramacy,
        optimum=0.599788052,
        budget=50,
    ),
    Problem(
        name="pressure_vessel",
        title="Pressure vessel, mixed and constrained",
        parameters=(Whole("shell", 1, 99), Whole("head", 1, 99), Real("radius", 10, 200), Real("length", 10, 200)),
        aims=(Aim("y"),),
        limited=("c1", "c2", "c3"),
        evaluate=pressure_vessel,
        optimum=6059.714335,
        budget=60,
    ),
)
