"""kill -9 at random instants of a running campaign: what is lost, done twice, stuck or left behind.

    python tests/benchmarks/kills.py [--kills 200] [--rivals optuna,tune] [--rival-kills 20]

Ours: the reactor campaign on Ray, with the bench as a process of its own that outlives every controller and keeps its
own record of what it was commanded. Each life of the controller ends by SIGKILL at a random instant; campaign follows
campaign in one ledger until there were enough kills. Then the bench's record is held against the ledger.
Beside it, in the same run: Optuna with SQLite storage and Ray Tune with Tuner.restore, whose objective writes a line
to a side file when it has been carried out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MARK = "CLOSEDLOOP_KILLS"  # in the environment of all that we start, so that orphans are found
OPTIMUM = 10829.6  # of the bench, noise-free, within both limits
GUARD = {"limits": {"temperature": [25, 115]}, "forbidden": ["temperature + 8 * equivalents >= 150"]}
LONGEST_LIFE_S = 14.0


def environment(mark: str) -> dict[str, str]:
    return {**os.environ, MARK: mark, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "token"}


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def left_behind(mark: str, *, within_s: float) -> list[str]:
    """The names of processes that are still there when this time is over."""
    end = time.monotonic() + within_s
    while (there := marked(mark)) and time.monotonic() < end:
        time.sleep(0.2)
    names = [" ".join(p.cmdline()[:3])[:60] for p in there]
    for process in there:
        process.kill()
    return names


def life(command: list[str], *, mark: str, seconds: float, folder: Path) -> bool:
    """One life of a controller, ended by SIGKILL; whether it ended by itself before that."""
    with (folder / "output").open("a") as output:
        process = subprocess.Popen(command, env=environment(mark), stdout=output, stderr=output, cwd=folder)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return False
        if process.returncode:
            raise SystemExit(f"a controller failed by itself ({process.returncode}); see {output.name}")
        return True


# Ours.


@contextmanager
def bench(folder: Path) -> Iterator[str]:
    """The bench, which outlives controllers; its resource name."""
    command = [sys.executable, "-m", "closedloop.instruments.flow_reactor_bench", "--quiet", "--keep"]
    command += ["--record", str(folder / "record")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline())["resource"]
    finally:
        process.kill()
        process.wait()


def write_campaign(folder: Path, resource: str, k: int) -> Path:
    from closedloop.controller.campaign_file import find_campaign, parse

    declared, _ = parse(find_campaign("reactor").read_text())
    del declared["sources"]["reactor"]["start"]
    declared["sources"]["reactor"] |= {"settings": {"resource": resource}, "guard": GUARD, "on_unknown": "rerun"}
    path = folder / f"reactor-{k}.yaml"
    path.write_text(json.dumps({**declared, "name": f"reactor-{k}", "seed": k}))
    return path


def ours(n_kills: int, rng: random.Random, folder: Path) -> None:
    n_done, k, ended, orphans = 0, 1, [], Counter()
    with bench(folder) as resource:
        path = write_campaign(folder, resource, k)
        while n_done < n_kills or path.stem not in ended:
            command = [
                str(Path(sys.executable).with_name("closedloop")),
                "run",
                str(path),
                "--ledger",
                str(folder / "l.db"),
                "--quiet",
            ]
            mark = uuid.uuid4().hex
            seconds = rng.uniform(0.2, LONGEST_LIFE_S) if n_done < n_kills else 600.0
            if life(command, mark=mark, seconds=seconds, folder=folder):
                ended.append(path.stem)
                if n_done < n_kills:
                    k += 1
                    path = write_campaign(folder, resource, k)
            else:
                n_done += 1
            orphans.update(left_behind(mark, within_s=15.0))
            if n_done % 10 == 0:
                print(f"  {n_done} kills, {len(ended)} campaigns ended", file=sys.stderr, flush=True)
    tell(n_done, ended, folder, orphans)


def tell(n_kills: int, ended: list[str], folder: Path, orphans: Counter[str]) -> None:
    """The bench's record against the ledger."""
    from closedloop.controller.ledger import audit as ledger_audit
    from closedloop.controller.ledger import reader as ledger_reader
    from closedloop.instruments.flow_reactor_plant import true_response

    entries = [json.loads(line) for line in (folder / "record").read_text().splitlines()]
    began = {e["run"]: e["setting"] for e in entries if e["command"] == "INIT" and "refused" not in e}
    done = {e["run"] for e in entries if e["command"] == "DONE"}
    total: Counter[str] = Counter(
        {"lost": 0, "done twice": 0, "stuck": 0, "forbidden": 0, "late or recovered": 0, "reached": 0}
    )
    total["forbidden"] = sum(
        s["temperature"] > 115 or s["temperature"] + 8 * s["equivalents"] >= 150 for s in began.values()
    )
    best = []
    for name in ended:
        events = ledger_reader.events(folder / "l.db", name)
        key = events[0].key
        observed = {e.trial for e in events if e.kind == "observed"}
        again = Counter(e.trial for e in events if e.kind == "settled" and e.outcome in ("rerun", "not_started"))
        runs = Counter(int(r.split("-")[0]) for r in began if r.split("-")[1] == key)
        finished = {int(r.split("-")[0]) for r in done if r.split("-")[1] == key}
        total["lost"] += len(finished - observed)
        total["done twice"] += sum(n > 1 + again[t] for t, n in runs.items())
        total["stuck"] += sum(
            t.state in ("proposed", "approved", "acting", "unknown")
            for t in ledger_reader.trials(folder / "l.db", name)
        )
        total["late or recovered"] += sum(t.state == "late" for t in ledger_reader.trials(folder / "l.db", name))
        assert not ledger_audit.verify(folder / "l.db", name)
        measured = [
            t
            for t in ledger_reader.trials(folder / "l.db", name)
            if t.source == "reactor" and t.state in ("observed", "late")
        ]
        truths = [true_response(t.setting) for t in measured]
        good = [t["sty"] for t in truths if t["e_factor"] <= 9.8 * 1.01 and t["byproducts"] <= 8 * 1.01]
        best.append(max(good, default=0.0) / OPTIMUM)
        total["reached"] += best[-1] >= 0.95
    print(
        f"closedloop: {n_kills} kills, {len(ended)} campaigns, {len(began)} runs of the bench; lost {total['lost']}, "
        f"done twice {total['done twice']}, forbidden {total['forbidden']}, stuck {total['stuck']}, orphan processes "
        f"{sum(orphans.values())} {dict(orphans) or ''}; {total['late or recovered']} readings recovered from the device; "
        f"within 5 % of the true optimum: {total['reached']} of {len(ended)} (worst {min(best):.1%})",
        flush=True,
    )


# The rivals.

OPTUNA = """
import os, sys, time, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
folder = sys.argv[1]
def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    time.sleep(0.05)
    with open(folder + "/acted", "a") as f:
        f.write(f"{trial.number}\\n"); f.flush(); os.fsync(f.fileno())
    return (x - 0.3) ** 2
study = optuna.create_study(study_name="k", storage=f"sqlite:///{folder}/o.db", load_if_exists=True,
                            sampler=optuna.samplers.RandomSampler())
study.optimize(objective, n_trials=100000)
"""


def optuna(n_kills: int, rng: random.Random, folder: Path) -> None:
    import optuna as library

    mark = uuid.uuid4().hex
    for _ in range(n_kills):
        life([sys.executable, "-c", OPTUNA, str(folder)], mark=mark, seconds=rng.uniform(0.8, 4.0), folder=folder)
    library.logging.set_verbosity(library.logging.ERROR)
    study = library.load_study(study_name="k", storage=f"sqlite:///{folder}/o.db")
    acted = Counter(int(n) for n in (folder / "acted").read_text().split())
    states = {t.number: t.state.name for t in study.trials}
    lost = sum(states.get(n) != "COMPLETE" for n in acted)
    stuck = sum(s == "RUNNING" for s in states.values())
    twice = sum(n > 1 for n in acted.values())
    print(
        f"Optuna {library.__version__}, SQLite: {n_kills} kills, {len(acted)} actions; lost {lost}, done twice {twice}, "
        f"stuck as running for ever {stuck}, orphan processes {len(left_behind(mark, within_s=5.0))}",
        flush=True,
    )


TUNE = """
import os, sys, time, warnings
warnings.simplefilter("ignore")
import ray
from ray import tune
folder, n_samples = sys.argv[1], int(sys.argv[2])
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
def objective(config):
    time.sleep(0.05)
    with open(folder + "/acted", "a") as f:
        f.write(f"{config['x']!r}\\n"); f.flush(); os.fsync(f.fileno())
    tune.report({"loss": (config["x"] - 0.3) ** 2})
path = folder + "/tune/k"
trainable = tune.with_resources(objective, {"cpu": 1})
if tune.Tuner.can_restore(path):
    tuner = tune.Tuner.restore(path, trainable, resume_unfinished=True, restart_errored=True)
else:
    tuner = tune.Tuner(trainable, param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(num_samples=n_samples, reuse_actors=True),
        run_config=tune.RunConfig(name="k", storage_path=folder + "/tune", verbose=0))
found = tuner.fit()
with open(folder + "/recorded", "w") as f:
    f.write("\\n".join(repr(r.config["x"]) for r in found if r.metrics and "loss" in r.metrics))
"""


def tune(n_kills: int, rng: random.Random, folder: Path) -> None:
    import ray

    n_samples = 150 * n_kills
    n_orphans = 0
    for k in range(n_kills + 1):
        mark = uuid.uuid4().hex
        seconds = rng.uniform(5.0, 12.0) if k < n_kills else 900.0
        command = [sys.executable, "-c", TUNE, str(folder), str(n_samples)]
        is_over = life(command, mark=mark, seconds=seconds, folder=folder)
        n_orphans += len(left_behind(mark, within_s=15.0))
        if is_over:
            break
    acted = Counter((folder / "acted").read_text().split())
    recorded = set((folder / "recorded").read_text().split())
    print(
        f"Ray Tune {ray.__version__}, Tuner.restore: {k} kills, {n_samples} trials asked; {sum(acted.values())} actions, "
        f"lost {sum(x not in recorded for x in acted)}, done twice {sum(n > 1 for n in acted.values())}, "
        f"processes there 15 s after a kill {n_orphans}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rivals", default="optuna,tune")
    parser.add_argument("--rival-kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rivals = {"optuna": optuna, "tune": tune}
    for name in filter(None, given.rivals.split(",")):
        with tempfile.TemporaryDirectory(prefix="kills-") as folder:
            rivals[name](given.rival_kills, random.Random(given.seed), Path(folder))
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    print(f"  what ours leaves is in {folder}", file=sys.stderr)
    ours(given.kills, random.Random(given.seed), folder)


if __name__ == "__main__":
    main()
