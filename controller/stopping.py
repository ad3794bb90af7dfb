"""When to stop: budgets and evidence, composed with ``&`` and ``|``; each stop gives its reason with figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from .records import Stopped
from .state import State


class Rule(ABC):
    """Says why to stop, or None: go on."""

    @abstractmethod
    def verdict(self, state: State) -> Stopped | None:
        """The stop that this rule calls for."""

    def __and__(self, other: Rule) -> Rule:
        return Both(self, other)

    def __or__(self, other: Rule) -> Rule:
        return Either(self, other)


@dataclass(frozen=True)
class Either(Rule):
    """Stops as soon as one of the two does."""

    first: Rule
    second: Rule

    def verdict(self, state: State) -> Stopped | None:
        """The first's stop, else the second's."""
        return self.first.verdict(state) or self.second.verdict(state)


@dataclass(frozen=True)
class Both(Rule):
    """Stops when both do."""

    first: Rule
    second: Rule

    def verdict(self, state: State) -> Stopped | None:
        """Both reasons in one."""
        one, two = self.first.verdict(state), self.second.verdict(state)
        if one is None or two is None:
            return None
        return Stopped(reason=f"{one.reason}; {two.reason}", figures={**one.figures, **two.figures})


@dataclass(frozen=True)
class BudgetSpent(Rule):
    """No source that leads to the goal can be afforded any more."""

    def verdict(self, state: State) -> Stopped | None:
        """Stops when the target source is out of reach: simulations alone can add no reading of it."""
        campaign = state.campaign
        cost = campaign.cost_of(campaign.target)
        if state.can_afford(cost):
            return None
        short = [
            r
            for r, limit in campaign.budget_amounts.items()
            if state.spent.get(r, 0.0) + state.reserved.get(r, 0.0) + cost.get(r, 0.0) > limit * (1 + 1e-9)
        ]
        figures = {f"spent_{r}": state.spent.get(r, 0.0) for r in short}
        unit = {r: "s of time" if r == "time" else r for r in short}
        words = ", ".join(f"{state.spent.get(r, 0.0):g} of {campaign.budget_amounts[r]:g} {unit[r]}" for r in short)
        return Stopped(
            reason=f"budget spent: {words}, and one trial of {campaign.target!r} would go beyond it",
            figures=figures,
        )


@dataclass(frozen=True)
class AskedToEnd(Rule):
    """A person asked for the end."""

    def verdict(self, state: State) -> Stopped | None:
        """Stops with the person's name and reason."""
        ending = state.ending
        if ending is None:
            return None
        word = "aborted" if ending.mode == "abort" else "stopped"
        return Stopped(reason=f"{word} by {ending.by}" + (f": {ending.reason}" if ending.reason else ""))


DEFAULT: Rule = AskedToEnd() | BudgetSpent()
