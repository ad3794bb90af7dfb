"""Every benchmark in turn, each in a process of its own on one thread: ``make bench``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    "command_line.py",
    "loop_overhead.py",
    "ledger_rate.py",
    "audit.py",
    "gp_decision.py",
    "reactor_agent.py",
    "instrument_link.py",
    "restart.py",
    "kills.py",
)


def main() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in SCRIPTS:
        print(f"\n=== {name}", flush=True)
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name(name)), *sys.argv[1:]], env=environment, check=True
        )


if __name__ == "__main__":
    main()
