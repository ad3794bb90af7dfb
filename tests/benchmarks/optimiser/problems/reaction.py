"""A mixed problem: a catalysed liquid reaction in stirred tanks in series; catalyst, temperature, concentration, tanks.

A -> P (wanted) and P -> Q (lost), first order in A and P, a total residence time TAU shared by the tanks. With catalyst c

    k1 = a_c exp(-E1_c/R (1/T - 1/T0)) f_c(T) c0^m_c        k2 = b_c exp(-E2_c/R (1/T - 1/T0)) c0^n_c

in 1/min at concentration c0 (mol/L), T0 = 350 K; f_c = 1 / (1 + exp((T - D_c)/4 K)) is what a catalyst keeps of its
activity near its decomposition temperature D_c. A tank is mixed ideally, so that over N tanks

    A_j = A_(j-1) / (1 + k1 t),   P_j = (P_(j-1) + k1 t A_j) / (1 + k2 t),   t = TAU / N.

The response is the yield of P in per cent, less 1.5 points a tank after the first for what holding it up costs. Each
catalyst has an optimum of its own; the best, "D", only does well in a narrow band of temperature below its D_c.
"""

from __future__ import annotations

from math import exp

from problem import Aim, Choice, Problem, Real, Setting, Whole

TAU, T0, R = 10.0, 350.0, 8.314e-3  # min, K, kJ/(mol K)
#            a,    E1,   b,     E2,   D,     m,    n
CATALYSTS = {
    "A": (0.30, 55.0, 0.030, 80.0, 395.0, 0.5, 0.9),
    "B": (0.45, 70.0, 0.060, 75.0, 385.0, 0.4, 0.5),
    "C": (0.20, 40.0, 0.012, 95.0, 372.0, 0.6, 1.2),
    "D": (0.90, 85.0, 0.020, 110.0, 349.0, 0.7, 1.4),
    "E": (0.12, 45.0, 0.004, 60.0, 390.0, 0.3, 0.3),
}


def yield_of(s: Setting, source: str) -> dict[str, float]:
    """Settings as declared below, to the response."""
    a, e1, b, e2, decomposes, m, n = CATALYSTS[str(s["catalyst"])]
    kelvin, c0, tanks = float(s["temperature"]) + 273.15, float(s["concentration"]), int(s["tanks"])
    k1 = a * exp(-e1 / R * (1 / kelvin - 1 / T0)) / (1 + exp((kelvin - decomposes) / 4)) * c0**m
    k2 = b * exp(-e2 / R * (1 / kelvin - 1 / T0)) * c0**n
    t = TAU / tanks
    reactant, product = 1.0, 0.0
    for _ in range(tanks):
        reactant /= 1 + k1 * t
        product = (product + k1 * t * reactant) / (1 + k2 * t)
    return {"net_yield": 100 * product - 1.5 * (tanks - 1)}


PROBLEMS = (
    Problem(
        name="reaction",
        title="Mixed reaction: catalyst, temperature, concentration, tanks",
        parameters=(
            Choice("catalyst", tuple(CATALYSTS)),
            Real("temperature", 30, 120),
            Real("concentration", 0.05, 2.0, log=True),
            Whole("tanks", 1, 6),
        ),
        aims=(Aim("net_yield", is_maximised=True),),
        evaluate=yield_of,
        optimum=82.87355361,
        budget=40,
    ),
)
