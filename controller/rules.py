"""What a person lays down for a source: its guard's rules, who approves, and what a failure means.

Data only; the guard checks its rules beside the device, whatever the mind says.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .expressions import Constraint
from .records import Amount, Finite, Setting

OnUnknown = Literal["ask", "abandon", "rerun"]


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Interlock(_Rule):
    """A live reading that is watched beside the device: ``trip`` holds, and the device is made safe.

    ``watch`` names readings of the driver's ``monitor``; silence counts as tripped.
    """

    trip: str  # e.g. "pressure >= 6"
    every_s: float = Field(default=1.0, gt=0)
    resume_after_s: float | None = Field(default=None, ge=0)  # clear for that long: goes on; None: a person resumes

    @model_validator(mode="after")
    def _readable(self) -> Self:
        Constraint(self.trip)
        return self


class GuardRules(_Rule):
    """Limits that hold beside the device for every command, wherever it comes from."""

    limits: dict[str, tuple[Finite, Finite]] = {}  # lowest and highest value that may be commanded
    max_step: dict[str, Amount] = {}  # largest change from one command to the next
    max_rate: dict[str, Amount] = {}  # largest change per second between two commands
    forbidden: tuple[str, ...] = ()  # no setting where one of these comparisons holds
    interlocks: tuple[Interlock, ...] = ()
    safe_setting: Setting = {}  # where the device is sent by ``make_safe``, if its driver can
    deadman_s: float | None = Field(default=None, gt=0)  # the controller's longest silence; None: as the driver says

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name, (low, high) in self.limits.items():
            if low > high:
                raise ValueError(f"guard.limits.{name} [{low:g}, {high:g}]: the lowest is above the highest; swap them")
        for text in self.forbidden:
            Constraint(text)
        return self


class Approval(_Rule):
    """When a person must approve a trial before it begins; nothing set: never."""

    always: bool = False
    above: dict[str, Amount] = {}  # a trial that costs more than this
    outside_explored: float | None = Field(default=None, gt=0)  # further than this from every reading, unit cube
    people: tuple[str, ...] = ()  # who may approve; empty: anybody who gives a name

    @property
    def is_automatic(self) -> bool:
        """Whether no trial is ever asked for."""
        return not (self.always or self.above or self.outside_explored)


class OnFailure(_Rule):
    """What is done about failures of a source."""

    retries: int = Field(default=1, ge=0, le=20)  # of a simulator, within one trial
    backoff_s: float = Field(default=0.1, ge=0, le=3600)  # before the first retry; it doubles
    means: Literal["infeasible", "missing"] = "infeasible"  # learned as a constraint, or no information
    breaker: int = Field(default=5, ge=1)  # failures in a row after which the source is left alone
