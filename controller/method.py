"""What a person settles of how a decision is made; whatever is absent the agent chooses, and says why."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .source_spec import Declared

Acquisition = Literal["log_ei", "log_ei_mc", "knowledge_gradient"]


class Method(Declared):
    """Overrides of the default strategy.

    ``log_ei`` is log expected improvement in closed form where the goal is linear in the responses, ``log_ei_mc`` the
    Monte Carlo estimate of it (qLogNEI), ``knowledge_gradient`` the gain of the best recommendation, which is also what
    sources compete by.
    """

    acquisition: Acquisition | None = None
    n_samples: int = Field(default=128, ge=16, le=4096)  # of a Monte Carlo estimate
    n_candidates: int | None = Field(default=None, ge=16, le=65536)  # settings that are screened
    trust_region: bool = False  # about the best reading (TuRBO): for many parameters and many trials
    n_starts: int | None = Field(default=None, ge=1, le=64)  # of them, from which the acquisition is climbed
