"""How long ``verify`` takes on a million events, and how much memory: ``python tests/benchmarks/audit.py [EVENTS]``.

Half of them belong to trials (proposed, acting, observed, assimilated), half are notes.
"""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from closedloop.controller.ledger.schema import APPLICATION_ID, GENESIS, MIGRATIONS, row_hash
from closedloop.controller.records import (
    Acting,
    Assimilated,
    Noted,
    Observed,
    Proposed,
    Reading,
    Started,
    Trial,
    dump_event,
)

TIME = "2026-01-01T00:00:00.000000+00:00"


def events(n: int):
    yield Started(campaign={"name": "a"}), None
    for k in range(1, n // 8 + 1):
        trial = Trial(number=k, source="s", setting={"x": k / n, "y": 1.0}, cost={"money": 1.0})
        yield Proposed(trial=trial), k
        yield Acting(trial=k), k
        yield Observed(trial=k, reading=Reading(values={"z": k / 3})), k
        yield Assimilated(trials=(k,), belief={"mean": [k / 7] * 8}), None
        for text in ("one", "two", "three", "four"):
            yield Noted(text=text * 20), None


def rows(n: int):
    before = GENESIS
    for seq, (event, trial) in enumerate(events(n), 1):
        payload = dump_event(event)
        before = row_hash(before, "a", seq=seq, time=TIME, kind=event.kind, payload=payload)
        yield "a", seq, TIME, event.kind, trial, payload, before


def make(path: Path, n: int) -> None:
    with sqlite3.connect(path) as shell:
        for statement in (s for migration in MIGRATIONS for s in migration):
            shell.execute(statement)
        (dense,) = shell.execute("SELECT sql FROM sqlite_master WHERE name = 'event_is_dense'").fetchone()
        shell.execute("DROP TRIGGER event_is_dense")
        shell.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", rows(n))
        shell.execute(dense)
        shell.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        shell.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    shell.close()


def measure(path: str) -> None:
    from closedloop.controller.ledger.audit import audit

    idle, start, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
    (found,) = audit(path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{found.n_events} events, {len(found.problems)} problems: {time.perf_counter() - start:.1f} s ", end="")
    print(f"({time.process_time() - cpu:.1f} s of a processor), ", end="")
    print(f"{(peak - idle) / 1024:.0f} MiB more than the {idle / 1024:.0f} MiB of the idle process")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2])
    else:
        for n in [int(sys.argv[1])] if len(sys.argv) > 1 else [10_000, 100_000, 1_000_000]:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "l.db"
                make(file, n)
                print(f"{file.stat().st_size / 2**20:.0f} MiB:", end=" ", flush=True)
                subprocess.run([sys.executable, __file__, "--measure", str(file)], check=True)
