"""What the bench remembers: its runs, and every command that was meant to change it.

Laws:
    * The memory is the sum of its entries; kept in a file, it outlives the bench, and a bench started on the same
      file goes on from it.
    * An entry is written before its command is answered. A command that was refused is there too, and says so.
    * A run that the bench was carrying out when it ended was aborted: its power went.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

Entry = dict[str, Any]


@dataclass
class Run:
    """One run: its id, what was set, and how it ended."""

    id: str
    setting: dict[str, float]
    state: str = "RUNNING"
    results: tuple[str, ...] = ()  # as the device says them
    quality: str = "GOOD"

    @property
    def fields(self) -> str:
        """The results and their quality, as the device says them; nothing before the run is done."""
        return ",".join([*self.results, self.quality]) if self.results else ""


NO_RUN = Run("none", {}, "NONE")


@dataclass
class Memory:
    """Entries in the order in which they happened, and what they add up to.

    Args:
        path: where the entries are kept, one line of JSON each; without it they end with the bench.
    """

    path: Path | None = None
    entries: list[Entry] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)  # in the order of their INIT
    device_s: float = 0.0  # device time of the last entry
    on_s: float = 0.0  # device seconds for which heater and pumps have been on
    is_on: bool = False

    def __post_init__(self) -> None:
        self._file: TextIO | None = None
        if self.path is not None:
            for entry in _entries(self.path):
                self._apply(entry)
            self._file = self.path.open("a", encoding="utf-8")
        if self.entries:
            self.note("POWER", device_s=self.device_s, is_on=False)

    @property
    def is_kept(self) -> bool:
        """Whether it outlives the bench."""
        return self.path is not None

    @property
    def newest(self) -> Run:
        """The run that was begun last."""
        return next(reversed(self.runs.values()), NO_RUN)

    def run(self, run_id: str) -> Run:
        """The run of this id; its state is NONE if it was never begun."""
        return self.runs.get(run_id, Run(run_id, {}, "NONE"))

    def note(self, command: str, *, device_s: float, is_on: bool, **details: Any) -> None:
        """Write one entry."""
        entry = {"command": command, "time": time.time(), "device_s": device_s, "is_on": is_on, **details}
        if self._file is not None:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        self._apply(entry)

    def on_until(self, device_s: float) -> float:
        """Device seconds for which heater and pumps were on, until this moment."""
        return self.on_s + (device_s - self.device_s if self.is_on else 0.0)

    def _apply(self, entry: Entry) -> None:
        self.entries.append(entry)
        was_powered = entry["command"] != "POWER"
        self.on_s = self.on_until(entry["device_s"]) if was_powered else self.on_s
        self.device_s, self.is_on = entry["device_s"], entry["is_on"]
        if "refused" in entry:
            return
        if entry["command"] == "INIT":
            self.runs[entry["run"]] = Run(entry["run"], entry["setting"])
        elif entry["command"] == "DONE":
            run = self.runs[entry["run"]]
            run.state, run.results, run.quality = "DONE", tuple(entry["results"]), entry["quality"]
        elif entry["command"] in ("ABORT", "*RST", "POWER") and self.newest.state == "RUNNING":
            self.newest.state = "ABORTED"


def _entries(path: Path) -> list[Entry]:
    """What the file holds, without a last line that was cut off in the middle; that one is removed from it."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
        path.write_bytes(b"".join(lines))
    return [json.loads(line) for line in lines]
