"""What a campaign declares of one source and of one response."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .described import Described
from .records import Amount
from .rules import Approval, GuardRules, OnFailure, OnUnknown, Prior
from .source import Source
from .units import to_seconds


class Declared(BaseModel):
    """What a campaign declares: frozen, without keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Response(Described):
    """What is measured."""


class SourceSpec(Declared):
    """One source: where its code is, and what a trial of it costs and takes."""

    instrument: str | None = None
    simulator: str | None = None
    settings: dict[str, Any] = {}
    cost: dict[str, float | str] | None = None  # None: what the class says
    switching: dict[str, Amount | dict[str, Amount]] = {}  # of one unit of change of a parameter
    replicas: int = Field(default=1, ge=1, le=1000)
    timeout: float | str | None = None
    resources: dict[str, Amount] = {}
    start: str | None = None  # a bench that belongs to the driver, e.g. "bench"
    unknowns: dict[str, Prior] = {}
    repeatable: bool | None = None  # whether a trial may be carried out twice; None: what the class says
    on_unknown: OnUnknown | None = None  # a trial in doubt; None: ask for an instrument, rerun what is repeatable
    on_failure: OnFailure = OnFailure()
    approval: Approval = Approval()
    guard: GuardRules | None = None  # None: the campaign's
    needs_make_safe: bool = True  # false: the device is safe whatever happens, and needs no guard process
    device: str = Field(default="", max_length=200)  # its name, where several drivers or settings mean the same one

    @model_validator(mode="before")
    @classmethod
    def _from_class(cls, declared: Any) -> Any:
        """``furnace`` the class stands for ``{instrument: its target}``."""
        if isinstance(declared, type) and issubclass(declared, Source):
            return {declared.kind: target_of(declared), "cost": declared.cost}
        if isinstance(declared, dict):
            return {k: target_of(v) if isinstance(v, type) else v for k, v in declared.items()}
        return declared

    @field_validator("cost", "timeout", mode="before")
    @classmethod
    def _no_truth_values(cls, declared: Any) -> Any:
        return without_truth_values(declared)

    @model_validator(mode="after")
    def _whole(self) -> SourceSpec:
        if (self.instrument is None) == (self.simulator is None):
            raise ValueError("a source has exactly one of instrument: and simulator:")
        if self.instrument and self.replicas != 1:
            raise ValueError(f"replicas {self.replicas}: an instrument is one thing; leave replicas out")
        if self.instrument and self.unknowns:
            raise ValueError("unknowns belong to a simulator; the instrument is the world itself")
        if self.timeout is not None and to_seconds(self.timeout) <= 0:
            raise ValueError(f"timeout {self.timeout} must be above 0")
        for name, amount in (self.cost or {}).items():
            if amount_of(name, amount) < 0:
                raise ValueError(f"cost {name} {amount} must not be negative")
        return self

    @property
    def target(self) -> str:
        """Where the code is."""
        return self.instrument or self.simulator or ""

    @property
    def is_manual(self) -> bool:
        """Whether a person answers for it, as far as the declaration tells."""
        return self.target.lower().rpartition(":")[2] == "manual"

    @property
    def kind(self) -> Literal["instrument", "simulator"]:
        """Which of the two it is."""
        return "instrument" if self.instrument else "simulator"


def without_truth_values(declared: Any) -> Any:
    """Refuse true and false where an amount is wanted; pydantic would take them as 1 and 0."""
    amounts = declared if isinstance(declared, dict) else {"": declared}
    for name, amount in amounts.items():
        if isinstance(amount, bool):
            raise ValueError(f"{name} {str(amount).lower()} is not an amount; write a number".strip())
    return declared


def amount_of(name: str, amount: float | str) -> float:
    """One resource's amount; time may be written '2 hours'."""
    if name == "time":
        return to_seconds(amount)
    if isinstance(amount, str) or isinstance(amount, bool):
        raise ValueError(f"{name} {amount!r} is not a number; only time may be written with a unit")
    return float(amount)


def target_of(cls: type[Source]) -> str:
    """Where a class can be found: ``module:Name``."""
    return f"{cls.__module__}:{cls.__qualname__}"
