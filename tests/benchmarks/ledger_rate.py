"""The ledger's speed: appends beside a bare sqlite3 loop, and a million events opened, replayed and looked at.

    python tests/benchmarks/ledger_rate.py [N_EVENTS] [--keep FILE]

Appends: one event a transaction, synchronous=FULL, ours and the bare loop in turn, row by row, on the same disk, so
that what else the disk does falls on both alike; the medians of each round are compared, and the median round counts.
What an append costs beyond the disk is a constant, so the quicker the disk, the lower the share. Aims: at least 80 % of the bare rate;
a million events open and replay in under 20 s; `closedloop status` on them in under 0.5 s, process start included.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import closedloop as cl
from closedloop.controller.belief.climatology import Moments
from closedloop.controller.evolve import replay
from closedloop.controller.ledger import keeper as ledger_keeper
from closedloop.controller.ledger.rows import uncollected
from closedloop.controller.ledger.schema import GENESIS, row_hash
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import (
    Acting,
    AnyEvent,
    Assimilated,
    Forecast,
    Innovation,
    Observed,
    Proposed,
    Reading,
    Started,
    Trial,
    Why,
    dump_event,
)
from closedloop.controller.report.lookup import KEEPING

N_APPENDS = 1_500
N_ROUNDS = 5
BARE = """CREATE TABLE event (campaign TEXT NOT NULL, seq INTEGER NOT NULL, time TEXT NOT NULL, kind TEXT NOT NULL,
    trial INTEGER, payload TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (campaign, seq)) WITHOUT ROWID"""
ROW = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)"


def declared() -> cl.Campaign:
    """Four parameters, one instrument, a belief that costs nothing."""
    return cl.Campaign(
        name="long",
        parameters={n: {"low": 0, "high": 1} for n in "abcd"},
        responses=["y"],
        sources={"oven": {"instrument": "closedloop.instruments.manual:Manual", "cost": {"money": 1}}},
        goal={"maximize": "y"},
        budget={"trials": 10_000_000},
        belief="climatology",
    )


def events(campaign: cl.Campaign) -> Iterator[AnyEvent]:
    """What a campaign without end says: started, then proposed, acting, observed, assimilated."""
    yield Started(campaign=campaign.to_dict(), provenance={"folder": "."}, key="long")
    moments, number = Moments(), 0
    while True:
        number += 1
        setting = {n: (number * g) % 1.0 for n, g in zip("abcd", (0.618034, 0.414214, 0.732051, 0.236068), strict=True)}
        y = 1.0 - sum((v - 0.5) ** 2 for v in setting.values()) + 0.01 * ((number * 0.7548776662) % 1.0)
        forecast = Forecast()
        if moments.n >= 2:
            forecast = Forecast(mean={"y": moments.mean[0]}, sd={"y": moments.sd[0]}, basis="climatology")
        cost = {"trials": 1.0, "money": 1.0}
        why = Why(text="space-filling: the belief has no preference yet", gain=0.0, cost=1e-7)
        yield Proposed(
            trial=Trial(
                number=number, source="oven", setting=setting, forecast=forecast, cost=cost, why=why, key="long"
            )
        )
        yield Acting(trial=number)
        yield Observed(trial=number, reading=Reading(values={"y": y}, sd={"y": 0.01}))
        told = ()
        if forecast.mean:
            difference = y - forecast.mean["y"]
            z = {"y": difference / forecast.sd["y"]}
            told = (Innovation(trial=number, source="oven", difference={"y": difference}, z=z),)
        moments = moments.add([y])
        belief = {"n": moments.n, "mean": list(moments.mean), "squares": list(moments.squares)}
        dump = {"kind": "climatology", "sources": {"oven": belief}}
        yield Assimilated(trials=(number,), innovations=told, belief=dump)


def filled(path: Path, n_events: int) -> None:
    """A ledger of so many events, written in one go; it verifies like any other."""
    campaign = declared()
    Ledger.open(path, campaign.name).close()
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("PRAGMA synchronous = OFF")
    shell.execute("BEGIN")
    shell.executemany(ROW, _rows(campaign, n_events))
    shell.execute("COMMIT")
    shell.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shell.close()


def _rows(campaign: cl.Campaign, n_events: int) -> Iterator[tuple[object, ...]]:
    before, began = GENESIS, datetime(2026, 1, 1, tzinfo=UTC)
    for seq, event in zip(range(1, n_events + 1), events(campaign), strict=False):
        time = (began + timedelta(seconds=seq)).isoformat(timespec="microseconds")
        payload = dump_event(event)
        before = row_hash(before, campaign.name, seq=seq, time=time, kind=event.kind, payload=payload)
        trial = event.trial.number if isinstance(event, Proposed) else getattr(event, "trial", None)
        yield campaign.name, seq, time, event.kind, trial, payload, before


def appends() -> None:
    """Some rounds, each on files of its own."""
    shares = []
    for _ in range(N_ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            ours, bare = one_round(Path(name))
        shares.append(100 * bare / ours)
        print(f"append        {ours:7.1f} us an event ({1e6 / ours:6.0f}/s), bare sqlite3 {bare:7.1f} us ", end="")
        print(f"({1e6 / bare:6.0f}/s): {shares[-1]:.0f} % of the bare rate")
    print(f"append        {statistics.median(shares):.0f} % of the bare rate in the median round")


def one_round(folder: Path) -> tuple[float, float]:
    """Median microseconds: ours, and of the bare loop; one row each in turn."""
    campaign = declared()
    said = [event for _, event in zip(range(N_APPENDS), events(campaign), strict=False)]
    rows = list(_rows(campaign, N_APPENDS))
    bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", BARE):
        bare.execute(statement)
    ours_us, bare_us = [], []
    with Ledger.open(folder / "ours.db", campaign.name) as ledger:
        for event, row in zip(said, rows, strict=True):
            t0 = time.perf_counter()
            ledger.append(event)
            t1 = time.perf_counter()
            bare.execute("BEGIN IMMEDIATE")
            bare.execute(ROW, row)
            bare.execute("COMMIT")
            t2 = time.perf_counter()
            ours_us.append(1e6 * (t1 - t0))
            bare_us.append(1e6 * (t2 - t1))
    return statistics.median(ours_us), statistics.median(bare_us)


def long_ledger(path: Path, n_events: int) -> None:
    """Open, read and replay; what it took and how much memory."""
    if not path.exists():
        began = time.perf_counter()
        filled(path, n_events)
        made = time.perf_counter()
        print(f"made          {made - began:6.2f} s, {n_events} events, {path.stat().st_size / 1e6:.0f} MB")
        ledger_keeper.MOST = n_events  # at once what the writer's keeper does on the way
        Ledger.open(path, "long", keeping=KEEPING).close()
        took = time.perf_counter() - made
        print(f"digests       {took:6.2f} s, {1e6 * took / n_events:.0f} us an event, in the thread of the heartbeat")
    began = time.perf_counter()
    with Ledger.open(path, "long") as ledger, uncollected():
        opened = time.perf_counter()
        n = sum(1 for _ in ledger.stream())
        read = time.perf_counter()
        state = replay(declared(), ledger.stream())
        done = time.perf_counter()
    print(f"open          {opened - began:6.2f} s")
    print(f"read only     {read - opened:6.2f} s, {1e6 * (read - opened) / n:.1f} us an event")
    print(f"read, replay  {done - read:6.2f} s, {1e6 * (done - read) / n:.1f} us an event, {len(state.trials)} trials")
    print(f"memory        {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB at most")


def status(path: Path) -> None:
    """The command as a person types it."""
    script = "import sys; from closedloop.controller.cli import main; sys.exit(main())"
    for words in (["--version"], ["status", "--ledger", str(path)], ["status", "--json", "--ledger", str(path)]):
        times = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", script, *words], check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        print(f"closedloop {' '.join(words[:2]):18s} {statistics.median(times):.2f} s")


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    n_events = int(arguments[0]) if arguments and arguments[0].isdigit() else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        appends()
        path = Path(arguments[-1]) if "--keep" in sys.argv else Path(name) / "long.db"
        long_ledger(path, n_events)
        status(path)


if __name__ == "__main__":
    main()
