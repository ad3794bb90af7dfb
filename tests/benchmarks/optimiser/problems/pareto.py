"""Problems with two aims: Branin–Currin and a reactor for an SNAr reaction; scored by hypervolume."""

from __future__ import annotations

import numpy as np
from problem import Aim, Problem, Real, Setting
from scipy.integrate import solve_ivp

from problems.smooth import branin


def branin_currin(s: Setting, source: str) -> dict[str, float]:
    """Belakaria, Deshwal and Doppa 2019: both on the unit square."""
    a, b = float(s["x1"]), float(s["x2"])
    shape = 1.0 if b == 0 else 1 - np.exp(-1 / (2 * b))
    currin = shape * (2300 * a**3 + 1900 * a**2 + 2092 * a + 60) / (100 * a**3 + 500 * a**2 + 4 * a + 20)
    return {"branin": float(branin(15 * a - 5, 15 * b)), "currin": float(currin)}


# 2,4-difluoronitrobenzene with pyrrolidine in ethanol: rate at 90 degC (M^-1 min^-1), activation energy (kJ/mol)
RATES = {"ortho": (0.6 * 57.9, 33.3), "para": (0.6 * 2.70, 35.3), "ortho_on": (0.6 * 0.865, 38.9)}
RATES["para_on"] = (0.6 * 1.63, 44.8)
MASSES = np.array([159.09, 71.12, 210.21, 210.21, 261.33])  # g/mol: substrate, amine, ortho, para, twice substituted


def snar(s: Setting, source: str) -> dict[str, float]:
    """A plug flow reactor: space-time yield of the ortho product (kg m^-3 h^-1), and E-factor (waste by product).

    Kinetics of Hone, Holmes, Akien, Bourne and Muller 2017, React. Chem. Eng. 2, 103; the benchmark of Felton,
    Rittig and Lapkin 2021, Chemistry-Methods 1, 116 (Summit).
    """
    minutes, equivalents = float(s["tau"]), float(s["equivalents"])
    start = float(s["concentration"]) * np.array([1.0, equivalents, 0.0, 0.0, 0.0])
    kelvin, reference = float(s["temperature"]) + 273.15, 90 + 273.15
    k = {n: k0 * np.exp(-e / 8.314e-3 * (1 / kelvin - 1 / reference)) for n, (k0, e) in RATES.items()}

    def change(_: float, c: np.ndarray) -> list[float]:
        ortho, para = k["ortho"] * c[0] * c[1], k["para"] * c[0] * c[1]
        on_ortho, on_para = k["ortho_on"] * c[1] * c[2], k["para_on"] * c[1] * c[3]
        return [-ortho - para, -ortho - para - on_ortho - on_para, ortho - on_ortho, para - on_para, on_ortho + on_para]

    end = solve_ivp(change, (0, minutes), start, method="LSODA", rtol=1e-9, atol=1e-12).y[:, -1]
    product = MASSES[2] * end[2]  # g/L
    waste = 789.0 + MASSES @ end - product  # ethanol, and all that is dissolved and not wanted, g/L
    return {"sty": float(60 * product / minutes), "e_factor": float(waste / product)}


PROBLEMS = (
    Problem(
        name="branin_currin",
        title="Branin–Currin, two aims",
        parameters=(Real("x1", 0, 1), Real("x2", 0, 1)),
        aims=(Aim("branin", reference=18.0), Aim("currin", reference=6.0)),
        evaluate=branin_currin,
        optimum=59.365,  # of 600,000 points on a grid of 6000 by 6000
        budget=50,
        tolerance=0.01,
    ),
    Problem(
        name="snar_kinetics",
        title="SNAr reactor, two aims",
        parameters=(
            Real("tau", 0.5, 2.0),
            Real("equivalents", 1.0, 5.0),
            Real("concentration", 0.1, 0.5),
            Real("temperature", 30, 120),
        ),
        aims=(Aim("sty", is_maximised=True, reference=2957.0), Aim("e_factor", reference=10.7)),
        evaluate=snar,
        optimum=18_571.0,  # of 20,000 evaluations by NSGA-II, two seeds: 18,563.7 and, with both, 18,570.5
        budget=50,
        tolerance=5.0,
    ),
)
