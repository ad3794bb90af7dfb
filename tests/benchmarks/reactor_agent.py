"""What the simulator and assimilation are worth: money until a good setting was measured, paired seeds.

The agent of ``campaigns/reactor.yaml`` beside the same agent with the instrument only, on the plant of the bench in
this process (same physics, noise, drift and heat loss; no sockets). Good: the plant's noise-free response keeps the
limits to 1 % (a third of the band; less than one reading's noise) and its yield is within 3 % of the true optimum.
Also: how many readings the 80 % forecast intervals cover in the second half of each campaign.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_SLACK = 1.01
NEAR = 0.97
BUDGET = 400


def campaign_of(arm: str, seed: int):
    import closedloop as cl
    from closedloop.controller.campaign_file import find_campaign, parse

    declared, _ = parse(find_campaign("reactor").read_text())
    declared |= {"seed": seed, "budget": {"money": BUDGET}}
    declared["sources"]["reactor"] = {"instrument": plant(seed), "cost": {"money": 10}}
    if arm == "instrument":
        del declared["sources"]["model"]
    return cl.Campaign(**declared)


def plant(seed: int) -> type:
    import numpy as np

    import closedloop as cl
    from closedloop.instruments import flow_reactor_plant as physics

    rng = np.random.default_rng(seed)
    n_runs = 0

    class Plant(cl.Instrument):
        """The plant of the bench without its sockets."""

        def measure(self, setting: dict) -> cl.Reading:
            nonlocal n_runs
            values = physics.read_out(setting, n_runs=n_runs, rng=rng)
            n_runs += 1
            achieved = float(physics.achieved_temperature(setting["temperature"], setting["residence_time"]))
            responses = {k: float(values[k]) for k in physics.NOISE}
            sd = {k: abs(v) * physics.NOISE[k] for k, v in responses.items()}
            return cl.Reading(values=responses, sd=sd, achieved={"temperature": achieved + rng.normal(0, 0.1)})

    return Plant


def one(arm: str, seed: int) -> dict:
    import torch

    import closedloop as cl
    from closedloop.instruments.flow_reactor_plant import true_response

    torch.set_num_threads(1)
    campaign = campaign_of(arm, seed)
    optimum = 10829.6 if campaign.goal.subject_to == ("e_factor <= 9.8", "byproducts <= 8") else None
    if optimum is None:
        from closedloop.instruments.flow_reactor_plant import true_optimum

        limits = {c.split("<=")[0].strip(): float(c.split("<=")[1]) for c in campaign.goal.subject_to}
        optimum = float(true_optimum(limits).responses["sty"])
    limits = {c.split("<=")[0].strip(): float(c.split("<=")[1]) for c in campaign.goal.subject_to}
    paid: list[float | None] = []
    zs: list[float] = []

    def watch(state: object, event: object) -> None:
        if event.kind == "assimilated":
            for i in event.innovations:
                if i.source == "reactor":
                    zs.append(list(i.z.values()))
        if event.kind == "observed" and state.trials[event.trial].trial.source == "reactor":
            truth = true_response(state.trials[event.trial].trial.setting)
            is_good = truth["sty"] >= NEAR * optimum and all(truth[r] <= LIMIT_SLACK * v for r, v in limits.items())
            if is_good and not paid:
                paid.append(state.spent["money"])

    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        result = cl.run(campaign, ledger=Path(folder) / "l.db", executor="inline", watch=watch)
    second = [z for row in zs[len(zs) // 2 :] for z in row]
    return {
        "money": paid[0] if paid else None,
        "covered": sum(abs(z) < 1.2816 for z in second) / max(len(second), 1),
        "n_experiments": result.state.n_readings("reactor"),
        "n_simulations": result.state.n_readings("model"),
        "cpu": time.process_time() - began,
    }


def quartiles(values: list[float]) -> str:
    q = statistics.quantiles(values, n=4, method="inclusive")
    return f"{q[0]:.0f} | {q[1]:.0f} | {q[2]:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("ARM", "SEED"))
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one[0], int(given.one[1]))))
        return
    money: dict[str, list[float]] = {}
    for arm in ("simulator", "instrument"):
        rows = []
        for first in range(0, given.seeds, 2):  # two at a time, one thread each
            running = [
                subprocess.Popen([sys.executable, __file__, "--one", arm, str(s)], stdout=subprocess.PIPE, text=True)
                for s in range(first, min(first + 2, given.seeds))
            ]
            rows += [json.loads(p.communicate()[0].splitlines()[-1]) for p in running]
        money[arm] = [r["money"] if r["money"] is not None else BUDGET for r in rows]
        late = sum(r["money"] is None for r in rows)
        covered = statistics.mean(r["covered"] for r in rows)
        print(
            f"{arm:10s} money to a good setting, quartiles: {quartiles(money[arm])}   (never within "
            f"{BUDGET}: {late} of {given.seeds})   80 % intervals cover {covered:.0%} of the second half   "
            f"CPU {statistics.median(r['cpu'] for r in rows):.0f} s a campaign of "
            f"{statistics.median(r['n_experiments'] for r in rows):.0f} + {statistics.median(r['n_simulations'] for r in rows):.0f}"
        )
        print(f"           each seed: {', '.join(f'{m:.0f}' for m in money[arm])}", flush=True)
    pairs = [b / a for a, b in zip(money["simulator"], money["instrument"], strict=True)]
    print(
        f"instrument only costs {statistics.median(pairs):.1f} times as much (median of pairs; quartiles {'|'.join(f'{q:.1f}' for q in statistics.quantiles(pairs, n=4, method='inclusive'))})"
    )


if __name__ == "__main__":
    main()
