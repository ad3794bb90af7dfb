"""closedloop beside other optimisers: same problems, same seeds, same budget, each run in a process on one thread.

Install what it runs beside us with ``pip install -e ".[bench]"``; then, for example::

    python tests/benchmarks/optimiser --out out/optimiser --problems branin hartmann6 --seeds 0-9 --jobs 2

Results are kept in ``cells.jsonl`` in the folder ``--out`` under rival, version, problem, seed and budget: a run that was
interrupted goes on, and rivals are not run again when only closedloop changed. ``--label NAME`` files closedloop's
results under a name of yours; ``--rivals closedloop closedloop@NAME`` sets the two side by side.
``--print-only`` runs nothing. ``--data FOLDER`` adds the problems of measured tables.

Regret is by true, noise-free values, of feasible settings (limits strict), in the problem's own units; with several
aims it is hypervolume that is missing. CPU seconds are for one decision (all that happens between a reading and the next
suggestions) at 50 trials, or for the last ten where there are fewer. They are only worth comparing if nothing else ran.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cache import Cache, Key
from problem import Problem
from problems import all_problems, missing_tables
from rivals import PLACES, version_of
from statistics_of import Standing, standing
from table import overall, problem_table, title_of

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


def main() -> None:
    given = _arguments()
    problems = all_problems(given.data)
    if missing := missing_tables(given.data):
        where = f"{given.data} has no table for" if given.data else "no --data FOLDER with measured tables, so without"
        print(f"{where} {', '.join(missing)}")
    chosen = {name: problems[name] for name in _known(given.problems or list(problems), problems, "problem")}
    rivals = {name: _version(name, given.label) for name in given.rivals}
    for name in [n for n, v in rivals.items() if not v]:
        print(f"{title_of(name)}: not installed here, or nothing is kept under that label")
        del rivals[name]
    cache = Cache(given.out)
    rivals = {n: (v if v != "latest" else (cache.versions(n) or [""])[-1]) for n, v in rivals.items()}
    if not given.print_only:
        keys = [
            Key(name, version, p.name, p.digest, seed, given.budget or p.budget)
            for seed in given.seeds
            for p in chosen.values()
            for name, version in rivals.items()
            if "@" not in name
        ]
        _run([k for k in keys if _is_wanted(cache.cells.get(k), given.again)], cache, given)
    _show(chosen, rivals, cache, given)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/optimiser"), help="where results are kept")
    parser.add_argument("--rivals", nargs="+", default=list(PLACES), metavar="NAME", help=", ".join(PLACES))
    parser.add_argument("--problems", nargs="+", metavar="NAME", help="all, if absent")
    parser.add_argument("--seeds", type=_seeds, default=list(range(10)), help="0-9, or a number of seeds")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--data", type=Path, help="folder with the measured tables")
    parser.add_argument("--budget", type=float, help="instead of the problem's own, for a quick look")
    parser.add_argument("--label", help="file closedloop's results under this name instead of its code's digest")
    parser.add_argument("--timeout", type=float, default=7200, help="seconds a run may take")
    parser.add_argument("--again", action="store_true", help="run again what ended in an error")
    parser.add_argument("--print-only", action="store_true", help="run nothing")
    parser.add_argument("--no-plot", action="store_true")
    given = parser.parse_args()
    _known([r.partition("@")[0] for r in given.rivals], PLACES, "rival")
    return given


def _seeds(text: str) -> list[int]:
    first, dash, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if dash else list(range(int(first)))


def _known(names: list[str], known: Any, what: str) -> list[str]:
    unknown = [n for n in names if n not in known]
    if unknown:
        raise SystemExit(f"{what} {unknown[0]!r} is unknown; known: {', '.join(known)}")
    return names


def _version(rival: str, label: str | None) -> str:
    name, at, kept = rival.partition("@")
    if at:
        return kept
    return label if label and name == "closedloop" else version_of(name)


def _is_wanted(cell: dict[str, Any] | None, again: bool) -> bool:
    return cell is None or (again and bool(cell["error"]))


def _run(keys: list[Key], cache: Cache, given: argparse.Namespace) -> None:
    began = time.time()
    with ThreadPoolExecutor(given.jobs) as pool:
        for n, (key, cell) in enumerate(pool.map(lambda k: (k, _one(k, given)), keys), start=1):
            cache.add(key, cell)
            regret = cell["regret"][-1] if cell["regret"] else None
            said = cell["error"] or f"regret {'–' if regret is None else f'{regret:.4g}'}"
            print(
                f"[{n}/{len(keys)}, {time.time() - began:.0f} s] {key.rival} on {key.problem}, seed {key.seed}: "
                f"{said}, {cell['seconds']:.0f} s",
                flush=True,
            )


def _one(key: Key, given: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("cell.py")), key.rival, key.problem, str(key.seed)]
    command += ["--budget", str(key.budget)] + (["--data", str(given.data)] if given.data else [])
    nothing = {"cost": [], "regret": [], "recommended": {}, "sources": [], "cpu": []}
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **ONE_THREAD},
            capture_output=True,
            text=True,
            timeout=given.timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {given.timeout:g} s", "seconds": given.timeout, **nothing}
    try:
        cell: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        words = " ".join(done.stderr.split())[-400:]
        return {"error": f"ended with exit code {done.returncode}: {words}", "seconds": 0.0, **nothing}
    if cell.pop("digest") != key.digest:
        raise SystemExit(f"{key.problem} was changed while the suite ran; start it again")
    if cell["error"] and not cell["error"].startswith("not supported"):
        print(done.stderr[-2000:], file=sys.stderr)
    return cell


def _show(chosen: dict[str, Problem], rivals: dict[str, str], cache: Cache, given: argparse.Namespace) -> None:
    found: dict[str, dict[str, Standing]] = {}
    traces: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for problem in chosen.values():
        budget = given.budget or problem.budget
        standings, notes = {}, {}
        for name, version in rivals.items():
            keys = [Key(name.partition("@")[0], version, problem.name, problem.digest, s, budget) for s in given.seeds]
            cells = [cache.cells[k] for k in keys if k in cache.cells]
            good = [c for c in cells if not c["error"]]
            if good:
                standings[name] = standing(problem, good, budget)
                traces.setdefault(problem.name, {})[name] = good
            faults = [c["error"] for c in cells if c["error"]]
            if faults:
                notes[name] = f"{len(faults)} of {len(cells)} seeds: {faults[0]}"
            elif not cells:
                notes[name] = "not run"
        found[problem.name] = standings
        print(problem_table(problem, budget, standings, notes))
    if len(found) > 1:
        print(overall(chosen, found))
    if traces and not given.no_plot:
        from picture import draw

        path = given.out / "regret.png"
        draw(chosen, traces, path, budget=given.budget)
        print(f"\n{path}")


if __name__ == "__main__":
    main()
