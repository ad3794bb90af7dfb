"""What the bench's flow reactor really does: the truth that a campaign is to find.

It shares no code with the simulator. Its rate constants differ from the published ones and from the priors,
the reactor loses heat, and the pumps deliver a little less amine than they say: no choice of rate constants
in the simulator makes the two agree everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RATES = (0.42, 0.0250, 0.0122, 0.0210)  # L/(mol s) at 90 degC, of 1+2->3, 1+2->4, 3+2->5, 4+2->5
ENERGIES = (36.5, 39.0, 42.0, 42.5)  # kJ/mol
AMBIENT = 22.0  # degC
AMINE_DELIVERED = 0.965  # of what the pump of 2 reports; nobody sees this
FEED_DELIVERED = 1.01  # of what the pump of 1 reports
WEAR_PER_RUN = 0.0003  # the amine pump loses this share each run
GAIN_DRIFT = 0.012  # the detector's gain ends here, after some 20 runs
NOISE = {"sty": 0.012, "e_factor": 0.012, "conversion": 0.004, "byproducts": 0.015}  # relative, one sd
SPECIES = 5
AMBIENT_BAR = 1.0
FLOW_BAR = 1.0  # the tubing's resistance at a residence time of one minute
STEPS = 800


class Knob(NamedTuple):
    """One setpoint: what the device calls it, takes, and falls back to."""

    name: str
    low: float
    high: float
    start: float


KNOBS: dict[str, Knob] = {
    "TEMP": Knob("temperature", 20.0, 130.0, 25.0),
    "TIME": Knob("residence_time", 0.4, 2.5, 1.0),
    "EQUIV": Knob("equivalents", 0.8, 5.5, 1.0),
    "CONC": Knob("concentration", 0.05, 0.55, 0.1),
}
CAMPAIGN = {
    "temperature": (30.0, 120.0),
    "residence_time": (0.5, 2.0),
    "equivalents": (1.0, 5.0),
    "concentration": (0.1, 0.5),
}


def achieved_temperature(temperature: Any, residence_time: Any) -> Any:
    """The reactor's temperature in degC: the wall loses heat, and a fast stream does not warm through."""
    return AMBIENT + (temperature - AMBIENT) * (0.975 - 0.10 * np.exp(-residence_time / 0.6))


def pressure(temperature: float, residence_time: float) -> float:
    """The reactor's pressure in bar while the pumps run: the tubing resists the flow, and the ethanol boils."""
    vapour: float = 10.0 ** (8.20417 - 1642.89 / (temperature + 230.3)) / 750.06  # Antoine's equation of ethanol
    return AMBIENT_BAR + FLOW_BAR / residence_time + vapour


def true_response(setting: Mapping[str, Any], *, n_runs: int = 0) -> dict[str, Any]:
    """The responses without noise, as a function of the setpoints; for benchmarks and tests only.

    Args:
        setting: residence_time min, equivalents, concentration mol/L, temperature degC; floats or arrays.
        n_runs: runs since the pumps were serviced; 0 is free of wear.
    """
    tau = np.asarray(setting["residence_time"], dtype=float)
    temperature = achieved_temperature(np.asarray(setting["temperature"], dtype=float), tau)
    fed = FEED_DELIVERED * np.asarray(setting["concentration"], dtype=float)
    amine = AMINE_DELIVERED * (1.0 - WEAR_PER_RUN * n_runs) * np.asarray(setting["equivalents"], dtype=float) * fed
    c = _outlet(temperature, tau * 60.0, fed, amine)
    product = np.maximum(0.21021 * c[2], 1e-9)  # kg/L
    waste = 0.789 + 0.15909 * c[0] + 0.07112 * c[1] + 0.21021 * c[3] + 0.26133 * c[4]  # with the ethanol
    return {
        "sty": 60e3 * product / tau,
        "e_factor": np.minimum(waste / product, 1e3),
        "conversion": 100.0 * (1.0 - c[0] / fed),
        "byproducts": 100.0 * (c[3] + c[4]) / fed,
    }


def _outlet(temperature: Array, seconds: Array, fed: Array, amine: Array) -> Array:
    """Classical Runge-Kutta over u in [0, 1], t = u^2 seconds: short steps where the feeds meet."""
    inverse = 1.0 / (temperature + 273.15) - 1.0 / 363.15
    k = [r * np.exp(-e / 8.314e-3 * inverse) for r, e in zip(RATES, ENERGIES, strict=True)]
    zero = 0.0 * (fed + seconds + k[0])
    c = np.stack([fed + zero, amine + zero, zero, zero, zero])
    h = 1.0 / STEPS
    for u in np.arange(STEPS) * h:
        r1 = 2 * u * seconds * _rates(c, k)
        r2 = (2 * u + h) * seconds * _rates(c + 0.5 * h * r1, k)
        r3 = (2 * u + h) * seconds * _rates(c + 0.5 * h * r2, k)
        r4 = (2 * u + 2 * h) * seconds * _rates(c + h * r3, k)
        c = c + h / 6.0 * (r1 + 2 * r2 + 2 * r3 + r4)
    return c


def _rates(c: Array, k: list[Array]) -> Array:
    a, b, p, q = k[0] * c[0] * c[1], k[1] * c[0] * c[1], k[2] * c[2] * c[1], k[3] * c[3] * c[1]
    return np.stack([-a - b, -a - b - p - q, a - p, b - q, p + q])


def read_out(setting: Mapping[str, float], *, n_runs: int, rng: np.random.Generator) -> dict[str, float]:
    """What the detector shows: the truth after ``n_runs`` of wear, times its drifting gain, with noise."""
    truth = true_response(setting, n_runs=n_runs)
    gain = 1.0 + GAIN_DRIFT * (1.0 - np.exp(-n_runs / 8.0))
    gains = {"sty": gain, "e_factor": 1.0 / gain, "conversion": 1.0, "byproducts": gain}
    return {k: float(v * gains[k] * (1.0 + NOISE[k] * rng.standard_normal())) for k, v in truth.items()}


class Optimum(NamedTuple):
    """The best setting that keeps the limits, and its true responses."""

    setting: dict[str, float]
    responses: dict[str, float]


def true_optimum(limits: Mapping[str, float], *, maximize: str = "sty", n_rounds: int = 70) -> Optimum:
    """The bench's constrained optimum over ``CAMPAIGN``, by sampling in a box that closes in on the best.

    Args:
        limits: the highest allowed value, by response.
        maximize: the response to be maximised.
        n_rounds: after each the box shrinks by a ninth.
    """
    rng = np.random.default_rng(0)
    low, high = (np.array(b) for b in zip(*CAMPAIGN.values(), strict=True))
    best, width = 0.5 * (low + high), high - low
    value = -np.inf
    for _ in range(n_rounds):
        X = np.clip(best + width * rng.uniform(-1.0, 1.0, (256, len(low))), low, high)  # (n, d)
        Y = true_response(dict(zip(CAMPAIGN, X.T, strict=True)))
        allowed = np.all([Y[k] <= limit for k, limit in limits.items()], axis=0)
        score = np.where(allowed, Y[maximize], -np.inf)
        if score.max() > value:
            value, best = score.max(), X[score.argmax()]
        width = width * 8 / 9
    setting = {k: float(x) for k, x in zip(CAMPAIGN, best, strict=True)}
    return Optimum(setting, {k: float(v) for k, v in true_response(setting).items()})
