"""The SNAr flow reaction of 2,4-difluoronitrobenzene with pyrrolidine, as an ideal plug-flow reactor.

Four second-order steps, after Hone, Holmes, Akien, Bourne and Muller, React. Chem. Eng. 2017, 2, 103-108
(doi:10.1039/C6RE00109B)::

    1 + 2 -> 3   k_a   3 is the wanted ortho product        3 + 2 -> 5   k_c   5 is the bis adduct
    1 + 2 -> 4   k_b   4 is the para product                4 + 2 -> 5   k_d

Yield and waste are counted as in the Summit benchmark of the same reaction (Felton, Rittig and Lapkin,
Chem. Methods 2021, 1, 116-122). Two slips of that code are not repeated: it forms 4 with k_a, which breaks
the mass balance, and it takes 0 degC for 273.71 K.

Every step consumes one 2, so in the exposure ``s`` = integral of c_2 dt the other species obey linear
equations and are known in closed form; only ds/dt = c_2(s) is integrated, and mass is kept to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from ..controller.records import Setting
from .simulator import Simulator

Array = NDArray[np.float64]

GAS_CONSTANT = 8.314462618e-3  # kJ/(mol K)
ZERO_CELSIUS = 273.15  # K
T_REF = 90.0 + ZERO_CELSIUS  # K; the rate constants are stated at this temperature
MOLAR_MASS = (159.09, 71.12, 210.21, 210.21, 261.33)  # g/mol, of 1 to 5
ETHANOL = 0.789  # kg/L at 25 degC
E_FACTOR_MAX = 1e3  # stands for "no product"
SECONDS_PER_MINUTE = 60.0

# What a chemist might believe before the first run on the bench of `instruments`: median and standard
# deviation of the logarithm. Off the bench's truth by up to 1.3 standard deviations, as honest priors are.
PRIORS: dict[str, tuple[float, float]] = {
    "k_a": (0.62, 0.4),
    "k_b": (0.017, 0.4),
    "k_c": (0.0075, 0.4),
    "k_d": (0.030, 0.4),
    "E_a": (33.0, 0.12),
    "E_b": (35.0, 0.12),
    "E_c": (45.0, 0.12),
    "E_d": (40.0, 0.12),
}


class Outlet(NamedTuple):
    """Concentrations at the outlet in mol/L, of species 1 to 5."""

    c1: Array
    c2: Array
    c3: Array
    c4: Array
    c5: Array


class FlowReactor(Simulator):
    """The plug-flow reactor: ``sty`` kg/(m^3 h), ``e_factor``, ``conversion`` % and ``byproducts`` %.

    Settings: ``residence_time`` min, ``equivalents`` of 2, ``concentration`` of 1 in mol/L, ``temperature``
    degC; floats, or arrays that broadcast with each other and with the unknowns.
    Unknowns: ``k_a`` to ``k_d``, L/(mol s) at 90 degC, and ``E_a`` to ``E_d``, kJ/mol.
    """

    is_vectorised: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...] | None] = ("temperature", "residence_time", "equivalents", "concentration")
    unknowns: ClassVar[dict[str, float]] = {
        "k_a": 0.579,
        "k_b": 0.0270,
        "k_c": 0.00865,
        "k_d": 0.0163,
        "E_a": 33.3,
        "E_b": 35.3,
        "E_c": 38.9,
        "E_d": 44.8,
    }

    def simulate(self, setting: Setting, unknowns: Mapping[str, Any]) -> Mapping[str, Any]:
        """The responses at the outlet; see ``Simulator.simulate``."""
        outlet = concentrations(setting, {**self.unknowns, **unknowns})
        tau = np.asarray(setting["residence_time"], dtype=float)
        fed = np.asarray(setting["concentration"], dtype=float)
        product = MOLAR_MASS[2] * outlet.c3 * 1e-3  # kg/L
        waste = 1e-3 * sum(m * c for m, c in zip(MOLAR_MASS, outlet, strict=True)) - product
        with np.errstate(divide="ignore"):
            e_factor = np.minimum((ETHANOL + waste) / product, E_FACTOR_MAX)
        return {
            "sty": 60.0 * 1e3 * product / tau,
            "e_factor": e_factor,
            "conversion": 100.0 * (1.0 - outlet.c1 / fed),
            "byproducts": 100.0 * (outlet.c4 + outlet.c5) / fed,
        }


def concentrations(setting: Mapping[str, Any], unknowns: Mapping[str, Any]) -> Outlet:
    """What leaves the reactor, for all settings and unknowns at once.

    Args:
        setting: as in ``FlowReactor``; floats or arrays.
        unknowns: all eight; floats or arrays. Everything broadcasts together.
    """
    temperature = np.asarray(setting["temperature"], dtype=float) + ZERO_CELSIUS
    rates = [_arrhenius(unknowns[f"k_{x}"], unknowns[f"E_{x}"], temperature) for x in "abcd"]
    fed = np.asarray(setting["concentration"], dtype=float)
    amine = fed * np.asarray(setting["equivalents"], dtype=float)
    tau = SECONDS_PER_MINUTE * np.asarray(setting["residence_time"], dtype=float)
    *rates, fed, amine, tau = np.broadcast_arrays(*rates, fed, amine, tau)
    flat = [np.ravel(a) for a in rates]
    exposure = _exposure(flat, np.ravel(fed), np.ravel(amine), np.ravel(tau))
    outlet = _species(exposure, flat, np.ravel(fed), np.ravel(amine))
    return Outlet(*(c.reshape(tau.shape) for c in outlet))


def _arrhenius(k_ref: Any, energy: Any, temperature: Array) -> Array:
    inverse = 1.0 / temperature - 1.0 / T_REF
    rate: Array = np.asarray(k_ref) * np.exp(-np.asarray(energy) / GAS_CONSTANT * inverse)
    return rate


def _exposure(rates: list[Array], fed: Array, amine: Array, tau: Array) -> Array:
    """The outlet's ``s`` in mol s/L, integrated as x = s / (amine tau) over t / tau in [0, 1]."""
    full = amine * tau

    def slope(_: float, x: Array) -> Array:
        return _species(x * full, rates, fed, amine).c2 / amine

    solved = solve_ivp(slope, (0.0, 1.0), np.zeros_like(full), method="DOP853", rtol=1e-10, atol=1e-12, t_eval=[1.0])
    exposure: Array = solved.y[:, -1] * full
    return exposure


def _species(s: Array, rates: list[Array], fed: Array, amine: Array) -> Outlet:
    """All species after an exposure ``s``: first-order steps in series (Bateman)."""
    k_a, k_b, k_c, k_d = rates
    total = k_a + k_b
    c1 = fed * np.exp(-total * s)
    c3 = k_a * fed * _series(total, k_c, s)
    c4 = k_b * fed * _series(total, k_d, s)
    c5 = np.maximum(fed - c1 - c3 - c4, 0.0)
    return Outlet(c1, np.maximum(amine - (fed - c1) - c5, 0.0), c3, c4, c5)


def _series(p: Array, q: Array, s: Array) -> Array:
    """(exp(-q s) - exp(-p s)) / (p - q), also where p and q are equal."""
    gap = np.abs(p - q) * s
    shape = np.where(gap > 1e-12, -np.expm1(-gap) / np.maximum(gap, 1e-12), 1.0)
    series: Array = s * np.exp(-np.minimum(p, q) * s) * shape
    return series
