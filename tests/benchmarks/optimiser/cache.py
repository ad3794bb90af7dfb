"""Results as JSON lines in one file, by rival, its version, problem, its digest, seed and budget; only added to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Key:
    """What a result is known by."""

    rival: str
    version: str
    problem: str
    digest: str
    seed: int
    budget: float


class Cache:
    """The later line counts, so that a failed cell can be run again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "cells.jsonl"
        self.cells: dict[Key, dict[str, Any]] = {}
        for line in self._lines():
            self.cells[Key(**line.pop("key"))] = line

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        for text in self.path.read_text().splitlines():
            try:
                yield json.loads(text)
            except json.JSONDecodeError:
                continue  # the half line of a run that was killed

    def add(self, key: Key, cell: dict[str, Any]) -> None:
        """One write, so that several runs may share the file."""
        self.cells[key] = cell
        with self.path.open("ab", buffering=0) as file:
            file.write((json.dumps({"key": vars(key), **cell}) + "\n").encode())
            os.fsync(file.fileno())

    def versions(self, rival: str) -> list[str]:
        """Versions with results, the latest last."""
        return list(dict.fromkeys(k.version for k in self.cells if k.rival == rival))
