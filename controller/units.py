"""Units, checked by pint, which is loaded only when a campaign is first declared."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from .errors import CampaignError

# What scientists write and pint does not know, or reads as something else.
ALIASES = {"%": "percent", "°C": "degC", "": "dimensionless", "M": "mol/l"}

_IS_TRUSTED: ContextVar[bool] = ContextVar("_IS_TRUSTED", default=False)


@contextmanager
def trusted() -> Iterator[None]:
    """Within it units pass unseen: what stands in a ledger was checked when it was written."""
    token = _IS_TRUSTED.set(True)
    try:
        yield
    finally:
        _IS_TRUSTED.reset(token)


def is_trusted() -> bool:
    """Whether we are within ``trusted``."""
    return _IS_TRUSTED.get()


@lru_cache(maxsize=1)
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)


def check_unit(unit: str) -> str:
    """``unit`` itself, if pint knows it.

    Raises:
        CampaignError: if it is unknown.
    """
    return unit if not unit or _IS_TRUSTED.get() else _known_unit(unit)


# Letters, digits and one small exponent at a time: a unit is looked up, never worked out.
PLAIN = re.compile(r"(?!.*(\*\*|\^)[^*/ ]*(\*\*|\^))(?!.*\d{4})[\w%°µ·*/^(). -]{1,60}")


@lru_cache(maxsize=256)
def _known_unit(unit: str) -> str:
    try:
        if not PLAIN.fullmatch(unit):
            raise ValueError("not a plain unit")
        _registry().parse_units(ALIASES.get(unit, unit))
    except Exception as error:
        raise CampaignError(
            f"unit {unit!r} is unknown; use one that pint knows, such as degC, min, mol/l, kg/m^3 or %"
        ) from error
    return unit


def is_same_unit(one: str, other: str) -> bool:
    """Whether two spellings mean the same unit, such as celsius and degC."""
    if one == other or _IS_TRUSTED.get():
        return one == other
    try:
        a, b = (_registry().Unit(ALIASES.get(unit, unit)) for unit in (one, other))
    except Exception:  # what pint does not know is the same only as itself
        return False
    return bool(a == b)


def to_seconds(value: float | str) -> float:
    """A duration in seconds; a plain number is taken as seconds.

    Raises:
        CampaignError: if the text is no duration.
    """
    try:
        if isinstance(value, bool):
            raise TypeError("a truth value")
        is_number = isinstance(value, int | float)
        seconds = float(value) if is_number else float(_registry().Quantity(value).to("second").magnitude)
        if not math.isfinite(seconds):
            raise ValueError("not finite")
    except Exception as error:
        raise CampaignError(f"{value!r} is not a duration; write seconds, '5 min' or '2 hours'") from error
    return seconds
