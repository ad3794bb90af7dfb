"""One rival on one problem with one seed, in this process, on one thread; prints the result as one JSON line."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any


def run_cell(rival: str, problem_name: str, seed: int, *, data: Path | None, budget: float | None) -> dict[str, Any]:
    from problems import all_problems
    from rivals import find
    from rivals.rival import NotSupportedError
    from world import World

    warnings.filterwarnings("ignore")
    problem = all_problems(data)[problem_name]
    began = time.time()
    world = World(problem, seed, budget)
    error = ""
    try:
        player = find(rival)(problem, seed)
        world.advise = player.recommend
        world.begin()  # making the rival and importing its package are no decision
        player.play(world)
        if "full" not in world.recommended:
            world.finish()
    except NotSupportedError as fault:
        error = f"not supported: {fault}"
    except Exception as fault:
        traceback.print_exc(file=sys.stderr)
        error = f"{type(fault).__name__}: {' '.join(str(fault).split())[:400]}"
    return {
        "digest": problem.digest,
        "error": error,
        "seconds": round(time.time() - began, 2),
        "cost": world.costs,
        "regret": [None if r is None else float(f"{r:.6g}") for r in world.regrets],
        "recommended": world.recommended,
        "sources": world.sources if len(problem.sources) > 1 else [],
        "cpu": [[n, round(s, 5), q] for n, s, q in world.cpu],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rival")
    parser.add_argument("problem")
    parser.add_argument("seed", type=int)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--budget", type=float)
    given = parser.parse_args()
    found = run_cell(given.rival, given.problem, given.seed, data=given.data, budget=given.budget)
    print("\n" + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
