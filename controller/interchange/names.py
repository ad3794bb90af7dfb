"""Names of other tools as names of a campaign, which stand in expressions, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ..check import FUNCTIONS, NAME

MAX_LENGTH = 60


@dataclass(frozen=True)
class Names:
    """Foreign names and ours, one to one: ``QUAD:LI21:B`` is ``QUAD_LI21_B`` here."""

    ours: dict[str, str]  # by the foreign name

    @classmethod
    def of(cls, foreign: Iterable[str]) -> Names:
        """Each as it is where that is possible; no two alike."""
        wanted = list(dict.fromkeys(foreign))
        taken = {name for name in wanted if _is_good(name)}
        ours = {}
        for name in wanted:
            ours[name] = name if name in taken else _free(name, taken)
            taken.add(ours[name])
        return cls(ours)

    @cached_property
    def theirs(self) -> dict[str, str]:
        """The foreign names by ours."""
        return {ours: theirs for theirs, ours in self.ours.items()}

    @property
    def changed(self) -> list[str]:
        """What was renamed, in words."""
        return [f"{theirs!r} is called {ours!r} here" for theirs, ours in self.ours.items() if theirs != ours]


def campaign_name(text: str, default: str) -> str:
    """A name that a campaign may have."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")[:MAX_LENGTH]
    return name or default


def _is_good(name: str) -> bool:
    return bool(NAME.match(name)) and name not in FUNCTIONS


def _free(name: str, taken: set[str]) -> str:
    base = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:MAX_LENGTH] or "x"
    base = base if base[0].isalpha() else f"x_{base}"
    base = f"{base}_" if base in FUNCTIONS else base
    free, k = base, 2
    while free in taken:
        free, k = f"{base}_{k}", k + 1
    return free
