"""What a campaign declares of an earlier campaign from whose readings it is to learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from .errors import CampaignError
from .records import Value
from .source_spec import Declared
from .units import is_trusted

if TYPE_CHECKING:
    from .campaign import Campaign


class WarmStart(Declared):
    """Where the readings of an earlier campaign stand; those of its target are recalled at the start."""

    campaign: str = Field(min_length=1)  # its name there
    ledger: str | None = None  # beside the campaign file; None: the ledger that this campaign is written to
    given: dict[str, Value] = Field(default={})  # what parameters were there that it did not have


def check_warm_start(c: Campaign) -> None:
    """The rules between a campaign and the names that it gives to earlier ones.

    Raises:
        CampaignError: naming the key, the value, the rule and the remedy.
    """
    if not c.warm_start or is_trusted():
        return
    if c.belief_kind != "surrogate":
        raise CampaignError(
            f"warm_start: belief {c.belief_kind!r} learns nothing from an earlier campaign; write belief: surrogate, "
            "or leave warm_start out"
        )
    if c.goal.prefer:
        raise CampaignError(
            "warm_start: a goal that people's preferences make cannot be learned from another campaign; leave it out"
        )
    for name, spec in c.warm_start.items():
        if not name.isidentifier() or name in {*c.sources, *c.parameters, *c.responses}:
            raise CampaignError(
                f"warm_start.{name}: the name must be letters, digits and _, and no source's, parameter's or "
                "response's; give it another one"
            )
        _check_given(c, name, spec)


def _check_given(c: Campaign, name: str, spec: WarmStart) -> None:
    for parameter, value in spec.given.items():
        where = f"warm_start.{name}.given.{parameter}"
        if parameter not in c.space.varied:
            known = ", ".join(c.space.varied)
            raise CampaignError(f"{where}: is no parameter that is set or measured here; known: {known}")
        try:
            c.space.varied[parameter].check_achieved(value)
        except ValueError as error:
            raise CampaignError(f"{where} = {value!r}: {error}") from None
