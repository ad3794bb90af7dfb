"""From ``closedloop resume`` to the first new decision of a campaign of 1,000 trials, imports included, Ray left out."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DRIVER = """
import closedloop as cl

@cl.instrument(cost={"money": 1})
def lab(a, b, c, d):
    return {"y": -sum((v - 0.4) ** 2 for v in (a, b, c, d))}

@cl.simulator(cost={"money": 0.1})
def model(a, b, c, d):
    return {"y": -sum((v - 0.45) ** 2 for v in (a, b, c, d))}

campaign = cl.Campaign(
    name="long", parameters={n: {"low": 0, "high": 1} for n in "abcd"}, responses=["y"],
    sources={"lab": lab, "model": model}, goal={"maximize": "y"}, budget={"money": 5000})
"""
AGAIN = """
import sys, time
began = time.perf_counter()
sys.path.insert(0, sys.argv[1])
import closedloop as cl
from driver import campaign

class First(Exception):
    pass

def watch(state, event):
    if event.kind == "proposed":
        raise First

try:
    cl.run(campaign, ledger=sys.argv[1] + "/l.db", executor="inline", watch=watch)
except First:
    print(time.perf_counter() - began)
"""


def fill(folder: Path, n_trials: int) -> None:
    """A ledger of this many answered trials, a third of them measured, corrected once at the end."""
    import numpy as np

    sys.path.insert(0, str(folder))
    from driver import campaign

    from closedloop.controller.campaign_run import start
    from closedloop.controller.decide import assimilate
    from closedloop.controller.entry import enter
    from closedloop.controller.ledger.writer import Ledger
    from closedloop.controller.records import Observed, Proposed, Reading, Trial
    from closedloop.controller.state import State

    declared = campaign.resolve()
    rng = np.random.default_rng(0)
    with Ledger.open(folder / "l.db", "long") as book:
        state = start(State(declared), book)
        for n in range(1, n_trials + 1):
            source = "lab" if n % 3 == 0 else "model"
            setting = dict(zip("abcd", rng.random(4).tolist(), strict=True))
            trial = Trial(number=n, source=source, setting=setting, cost=declared.cost_of(source), key=state.key)
            y = -sum((v - 0.4) ** 2 for v in setting.values()) + 0.01 * rng.standard_normal()
            for event in (Proposed(trial=trial), Observed(trial=n, reading=Reading(values={"y": float(y)}))):
                state, _ = enter(state, book, event)
        enter(state, book, assimilate(state))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    given = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "driver.py").write_text(DRIVER)
        began = time.perf_counter()
        fill(folder, given.trials)
        print(f"{given.trials} trials written and corrected once in {time.perf_counter() - began:.1f} s", flush=True)
        command = [sys.executable, "-c", AGAIN, name]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        print(f"restart to the first new decision: {float(done.stdout):.2f} s (aim: under 5)", flush=True)


if __name__ == "__main__":
    main()
