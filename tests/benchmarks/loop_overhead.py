"""The cost of the loop itself: an objective that does nothing, every event durable, beside Optuna with SQLite.

closedloop: Sobol settings, in-process executor, WAL and synchronous=FULL. Aim: under 2 ms a trial, flat to 10,000.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import closedloop as cl

N = 10_000
N_OPTUNA = 300


@cl.instrument()
def noop(a: float, b: float, c: float, d: float, e: float, f: float) -> dict:
    return {"y": a}


def ours(folder: Path) -> None:
    campaign = cl.Campaign(
        name="noop",
        parameters={n: {"low": 0, "high": 1} for n in "abcdef"},
        responses=["y"],
        sources={"noop": noop},
        goal={"maximize": "y"},
        budget={"trials": N},
        belief="climatology",
    )
    stamps: list[float] = []

    def watch(state: object, event: object) -> None:
        if event.kind == "assimilated":
            stamps.append(time.perf_counter())

    cl.run(campaign, ledger=folder / "noop.db", executor="inline", watch=watch)
    ms = 1e3 * np.diff(stamps)
    for low in range(0, N, N // 5):
        part = ms[low : low + N // 5]
        print(
            f"closedloop  trials {low + 1:6d}-{low + N // 5:6d}   {part.mean():.3f} ms a trial   (p99 {np.quantile(part, 0.99):.3f})"
        )


def floor(folder: Path) -> None:
    """Three bare commits, as a trial of ours has three events."""
    db = sqlite3.connect(folder / "raw.db", isolation_level=None)
    db.executescript("pragma journal_mode=wal; pragma synchronous=full; create table t(k integer primary key, v text)")
    began = time.perf_counter()
    for _ in range(3000):
        db.execute("begin immediate")
        db.execute("insert into t(v) values (?)", ("x" * 300,))
        db.execute("commit")
    print(f"sqlite3     three durable commits       {1e3 * (time.perf_counter() - began) / 1000:.3f} ms")


def optuna(folder: Path) -> None:
    try:
        import optuna
    except ImportError:
        print("optuna is not installed here: pip install optuna")
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{folder}/o.db", sampler=optuna.samplers.RandomSampler(0))
    began = time.perf_counter()
    study.optimize(lambda t: sum(t.suggest_float(n, 0, 1) for n in "abcdef"), n_trials=N_OPTUNA)
    print(
        f"optuna      sqlite, random, {N_OPTUNA} trials   {1e3 * (time.perf_counter() - began) / N_OPTUNA:.3f} ms a trial"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for part in (floor, ours, optuna) if len(sys.argv) < 2 else (floor, ours):
            part(Path(name))
