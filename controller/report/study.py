"""What the sections of a report are made from: the story, and the mind at the end of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..campaign import Campaign
from ..ledger.audit import Audit
from ..records import AnyEvent, Setting, Started
from .story import Story

if TYPE_CHECKING:
    from ..belief import Belief
    from ..space import Array
    from ..state import State


@dataclass(frozen=True)
class Study:
    """One campaign to be reported."""

    story: Story
    events: Sequence[AnyEvent]
    audit: Audit | None = None  # whether the ledger is whole; None: nobody looked

    @cached_property
    def campaign(self) -> Campaign:
        """The declaration as the ledger has it, with all amendments."""
        return self.state.campaign

    @cached_property
    def state(self) -> State:
        """What the ledger adds up to."""
        from ..evolve import replay

        first = self.events[0]
        assert isinstance(first, Started)
        return replay(Campaign.trusted(first.campaign), self.events)

    @cached_property
    def belief(self) -> Belief | None:
        """The last correction's; None where nothing was read."""
        return self.state.belief

    @cached_property
    def centre(self) -> Setting:
        """Where slices cross: the best setting, or the first that was tried."""
        story = self.story
        first = next(iter(story.trials.values()), None)
        found = story.best or first
        return dict(found.trial.setting) if found else {}

    def objectives(self, values: Mapping[str, Array]) -> Array:
        """The goal's expression over arrays of responses, NaN where it has no value."""
        goal = self.campaign.goal
        with np.errstate(all="ignore"):
            x = goal.in_words(goal.objective(values, lib=np))
        return np.asarray(x, dtype=float)
