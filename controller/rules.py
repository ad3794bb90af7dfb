"""What a person lays down for a source: its guard's rules, who approves, what a failure means, what is unknown of it.

Data only; the guard checks its rules beside the device, whatever the mind says.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .expressions import Constraint
from .records import Amount, Finite, Setting
from .units import is_trusted

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
        if not is_trusted():
            self._check_safe_setting()
        return self

    def _check_safe_setting(self) -> None:
        """The guard itself must not command what it forbids."""
        safe = self.safe_setting
        for name, (low, high) in self.limits.items():
            x = safe.get(name, low)
            if isinstance(x, str) or not low <= x <= high:
                raise ValueError(
                    f"guard.safe_setting {name}={x} lies outside guard.limits.{name} [{low:g}, {high:g}]; move it "
                    "inside, or widen the limits"
                )
        for text in self.forbidden:
            rule = Constraint(text)
            numbers = {n: x for n in rule.names if not isinstance(x := safe.get(n, ""), str)}
            if len(numbers) == len(rule.names) and rule.margin(numbers) >= 0:
                shown = ", ".join(f"{n}={x}" for n, x in sorted(numbers.items()))
                raise ValueError(
                    f"guard.safe_setting {shown} lies where {text!r} holds, which guard.forbidden forbids; move it away"
                )


class Approval(_Rule):
    """When a person must approve a trial before it begins; nothing set: never."""

    always: bool = False
    above: dict[str, Amount] = {}  # a trial that costs more than this
    outside_explored: float | None = Field(default=None, gt=0)  # further than this from every reading, unit cube
    people: tuple[str, ...] = ()  # who may approve; empty: anybody who gives a name

    @model_validator(mode="after")
    def _asks_somebody(self) -> Self:
        if self.people and self.is_automatic and not is_trusted():
            raise ValueError(
                f"approval.people {', '.join(self.people)}: nobody would ever be asked; say when they are: always: "
                "true, above: {RESOURCE: AMOUNT} or outside_explored: DISTANCE, or leave people out"
            )
        return self

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


class Prior(_Rule):
    """What is believed of a simulator's unknown before any reading: exactly one of the two.

    ``normal: [mean, sd]``, or ``lognormal: [median, sd of the logarithm]``.
    """

    normal: tuple[Finite, Finite] | None = None
    lognormal: tuple[Finite, Finite] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.normal is None) == (self.lognormal is None):
            raise ValueError("a prior has exactly one of normal: [mean, sd] and lognormal: [median, log sd]")
        centre, sd = self.normal or self.lognormal or (0.0, 0.0)
        if sd <= 0:
            raise ValueError(f"the prior's standard deviation {sd} must be above 0")
        if self.lognormal and centre <= 0:
            raise ValueError(f"the median {centre} of a lognormal prior must be above 0")
        return self

    @property
    def is_log(self) -> bool:
        """Whether the unknown is positive and worked with by its logarithm."""
        return self.lognormal is not None
