"""How long the read-only commands take, whole process, beside a bare Python and beside Optuna's own command."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

N = 7
CAMPAIGN = """\
name: quick
parameters: {x: {low: 0, high: 1}}
responses: [y]
sources: {line: {instrument: "./line.py:line", cost: {money: 1}}}
goal: {maximize: y}
budget: {money: 30}
belief: climatology
"""
LINE = "import closedloop as cl\n\n@cl.instrument()\ndef line(x):\n    return {'y': x}\n"


def timed(command: list[str], folder: Path) -> str:
    seconds = []
    for _ in range(N):
        began = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    return f"median {statistics.median(seconds):.2f} s   min {min(seconds):.2f}   max {max(seconds):.2f}"


def main() -> None:
    tool = str(Path(sys.executable).with_name("closedloop"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "quick.yaml").write_text(CAMPAIGN)
        (folder / "line.py").write_text(LINE)
        subprocess.run([tool, "run", "quick.yaml", "--executor", "inline", "--quiet"], cwd=folder, check=True)
        print(f"bare python           {timed([sys.executable, '-c', 'pass'], folder)}")
        for words in (["--help"], ["status"], ["best"], ["show", "3"], ["export", "--output", "out.csv"], ["verify"]):
            print(f"closedloop {words[0]:10s} {timed([tool, *words], folder)}   (aim: 0.40)")
        rival = shutil.which("optuna", path=str(Path(sys.executable).parent))
        print(f"optuna --help         {timed([rival, '--help'], folder)}" if rival else "optuna is not installed here")


if __name__ == "__main__":
    main()
