"""What every parameter and response declares of itself, and what every parameter that is varied may add."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from .conditions import Condition, text_of
from .units import check_unit, to_seconds


class Described(BaseModel):
    """A thing with a unit: a parameter or a response."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    unit: str = ""
    description: str = ""

    @field_validator("unit")
    @classmethod
    def _unit(cls, unit: str) -> str:
        return check_unit(unit)


class Varied(Described):
    """A parameter with columns of its own in the unit cube."""

    when: str | None = None  # the condition under which it is active; None: always
    context: bool = False  # measured, not set: it is given with a suggestion, or read back
    clock: bool = False  # a context that the ledger's clock tells: the time since the campaign began, in the unit

    @field_validator("when", mode="before")
    @classmethod
    def _condition(cls, declared: Any) -> Any:
        """``{catalyst: [A, B]}`` stands for ``"catalyst in ['A', 'B']"``."""
        if declared is None:
            return None
        text = text_of(declared)
        return Condition(text).text

    @model_validator(mode="after")
    def _context_is_read(self) -> Varied:
        kind = getattr(self, "kind", "")
        if self.context and kind in ("stepped", "integer"):
            raise ValueError(
                f"context: what is measured keeps to no steps; leave out {'step' if kind == 'stepped' else 'kind'}"
            )
        if self.context and self.when is not None:
            raise ValueError("context: what is measured is always there; leave out when")
        if self.clock and (kind != "continuous" or not self.context):
            raise ValueError("clock: true is a number that nobody sets; write {kind: clock, low: 0, high: 8, unit: h}")
        if self.clock:
            try:
                to_seconds(f"1 {self.unit or 's'}")
            except ValueError:
                raise ValueError(f"unit {self.unit!r} is no unit of time; a clock is read in s, min, h or d") from None
        return self
