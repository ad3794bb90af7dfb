"""The action taken, in words and figures, beside the best that were not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..space import Array
    from .searching import Found

REPEAT = "repeat"  # the note of a setting of the target that was read before
NOTHING = 1e-6  # of the objective's spread: gains below it are rounding
N_RIVALS = 5


@dataclass(frozen=True)
class Option:
    """An action that was weighed."""

    source: str
    setting: Array  # (c,) in the unit cube
    gain: float  # in the units of the objective
    cost: float  # share of the budget
    note: str = ""
    p_success: float | None = None  # that a trial succeeds; None where none ever failed

    @property
    def gain_per_cost(self) -> float:
        """What the actions compete by."""
        return self.gain / self.cost


@dataclass(frozen=True)
class Choice:
    """The action taken, why, and the best that were not."""

    source: str
    setting: Array  # (c,) in the unit cube
    gain: float
    cost: float
    text: str
    alternatives: tuple[Option, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def gain_per_cost(self) -> float:
        """What the actions compete by."""
        return self.gain / self.cost

    def with_figures(self, figures: Mapping[str, float]) -> Choice:
        """This with figures of the whole beside those of the action."""
        return replace(self, figures={**self.figures, **figures})

    def with_replaced(self, fault: str) -> Choice:
        """This, saying that it stands in for settings that could not be proposed."""
        text = f"{self.text} (in place of one that {fault})"
        return replace(self, text=text, figures={**self.figures, "replaced": 1.0})


def chosen(
    candidates: list[Option],
    options: list[Option],
    found: Found,
    target: str,
    *,
    scale: float,
    is_spent: bool,
    measure: str = "log_ei",
) -> Choice:
    """The candidate with the highest gain per cost; the first where none gains anything.

    Args:
        candidates: actions that may be taken, the target's first.
        options: all that were weighed.
        found: how the target's settings were found.
        target: the source at which the goal is to be reached.
        scale: of the objective, in its units.
        is_spent: whether other sources were left out because they have spent their part.
        measure: what the values of the found settings are called.
    """
    best = max(candidates, key=lambda o: o.gain_per_cost)
    is_nothing = all(o.gain <= NOTHING * scale for o in candidates)
    if is_nothing:
        best = candidates[0]
    rivals = _rivals(best, options)
    figures = {f"gain_{o.source}": o.gain for o in (best, *rivals) if not o.note or o is best}
    if best.p_success is not None:
        figures["p_success"] = best.p_success
    if best.source == target and not best.note and np.isfinite(found.log_values[0]):
        figures[measure if found.is_improvement else "log_p_feasible"] = float(found.log_values[0])
    if best.source == target and found.fallback:
        figures["fallback"] = float(found.fallback)
    if best.note == REPEAT:
        figures["repeat"] = 1.0
    text = _text(best, rivals, is_nothing=is_nothing, is_spent=is_spent)
    if found.how and best.source == target and best.note != REPEAT:
        text += f"; {found.how}"
    text += f" ({found.note})" if found.note else ""
    return Choice(best.source, best.setting, best.gain, best.cost, text, tuple(rivals), figures)


def _rivals(best: Option, options: list[Option]) -> list[Option]:
    """The best action of each other source, then the next settings of the target."""
    firsts = {}
    for o in options:
        if o.source != best.source and o.source not in firsts:
            firsts[o.source] = o
    instead = [replace(o, note="new setting") for o in options if o.source == best.source and not o.note]
    instead = instead if best.note == REPEAT else []
    return [*firsts.values(), *instead, *(o for o in options if o.note and o is not best)][:N_RIVALS]


def _text(best: Option, rivals: list[Option], *, is_nothing: bool, is_spent: bool) -> str:
    if is_nothing:
        return f"{best.source}: no action promises a gain; the setting with the highest expected improvement is taken"
    again = " of another reading of a setting" if best.note == REPEAT else ""
    text = f"{best.source}: expected gain {best.gain:.3g}{again} for {best.cost:.2%} of the budget"
    for o in rivals:
        if not o.note:
            text += f"; {o.source} promises at best {o.gain:.3g} for {o.cost:.2%}"
    return text + (", but its part is spent until the next reading" if is_spent else "")
