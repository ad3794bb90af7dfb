"""Seconds of CPU for one decision with a GP at 50 trials in six dimensions, one thread, beside Optuna's GP sampler.

A decision is all that happens between a reading and the next proposal: refit, acquisition, gains. Aim: 0.3 s.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import closedloop as cl

torch.set_num_threads(1)
N = 56
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
NAMES = "abcdef"


def hartmann6(x: np.ndarray) -> float:
    return float(-(ALPHA * np.exp(-(A * (x - P) ** 2).sum(1))).sum())


@cl.instrument()
def hartmann(a: float, b: float, c: float, d: float, e: float, f: float) -> dict:
    return {"y": hartmann6(np.array([a, b, c, d, e, f]))}


def ours(seed: int) -> tuple[list[float], float]:
    campaign = cl.Campaign(
        name="h6",
        seed=seed,
        parameters={n: {"low": 0, "high": 1} for n in NAMES},
        responses=["y"],
        sources={"hartmann": hartmann},
        goal={"minimize": "y"},
        budget={"trials": N},
    )
    cpu: list[float] = []

    def watch(state: object, event: object) -> None:
        if event.kind in ("observed", "proposed"):
            cpu.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        result = cl.run(campaign, ledger=Path(folder) / "l.db", executor="inline", watch=watch)
    between = np.diff(cpu)[1::2]  # observed -> proposed
    return list(between[44:54]), result.best.objective + 3.32237


def optuna_gp(seed: int) -> tuple[list[float], float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=seed))
    cpu = []
    for _ in range(N):
        began = time.process_time()
        trial = study.ask()
        x = np.array([trial.suggest_float(n, 0, 1) for n in NAMES])
        cpu.append(time.process_time() - began)
        study.tell(trial, hartmann6(x))
    return cpu[45:55], study.best_value + 3.32237


def main() -> None:
    rivals = {"closedloop": ours}
    try:
        import optuna  # noqa: F401

        rivals["optuna GP"] = optuna_gp
    except ImportError:
        print("optuna is not installed here: pip install optuna")
    for name, run in rivals.items():
        found = [run(seed) for seed in range(3)]
        seconds = [s for f in found for s in f[0]]
        regrets = sorted(f[1] for f in found)
        print(
            f"{name:10s}  CPU a decision at 45-55 trials: median {statistics.median(seconds):.3f} s, "
            f"max {max(seconds):.3f} s;  regret after {N} trials, 3 seeds: {', '.join(f'{r:.4f}' for r in regrets)}"
        )


if __name__ == "__main__":
    main()
