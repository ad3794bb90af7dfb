"""What a driver or a person answered, made a reading: finite, complete, and such that it can be written as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from pydantic import ValidationError

from .errors import CampaignError
from .records import Reading
from .secret import mask, masked
from .space import Space

MAX_TEXT = 2000  # characters of a driver's message that are kept


def reading_of(answer: object, responses: tuple[str, ...], *, what: str, space: Space | None = None) -> Reading:
    """The reading that a driver or a person means; keys that are no responses are kept as ``info``.

    Args:
        answer: a dict of responses, or a ``Reading``.
        responses: what the reading must hold; empty: all that it holds.
        what: who answered, for the message.
        space: what may be said to have been achieved; anything if absent.

    Raises:
        CampaignError: if it is neither, if a response is missing, or if a number is not a finite number; if the
            achieved setting is none of the space.
    """
    if isinstance(answer, Reading):
        values, info = dict(answer.values), dict(answer.info)
    elif isinstance(answer, Mapping):
        values, info = dict(answer), {}
    else:
        raise CampaignError(f"{what} returned {short(answer)}; return a dict of responses or a Reading")
    wanted = responses or tuple(values)
    missing = [r for r in wanted if r not in values]
    if missing:
        raise CampaignError(f"{what} returned {sorted(map(str, values))} without {missing}; return each response")
    numbers = {str(r): _number(values.pop(r), what, f"{r}") for r in wanted}
    info = {clean(str(k)): plain(v) for k, v in {**values, **info}.items()}
    if not isinstance(answer, Reading):
        return Reading(values=numbers, info=info)
    for part, amounts in (("sd", answer.sd), ("achieved", answer.achieved), ("cost", answer.cost)):
        for key, x in amounts.items():
            if isinstance(x, float):
                _number(x, what, f"{part} of {key}")
    try:
        achieved = dict(answer.achieved) if space is None else space.check_achieved(answer.achieved)
    except CampaignError as error:
        raise CampaignError(f"{what}: {error}") from error
    return answer.model_copy(update={"values": numbers, "info": info, "achieved": achieved})


def whole(value: object, *, what: str, remedy: str) -> int:
    """A whole number that a person or a program gave.

    Raises:
        CampaignError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise CampaignError(f"{what} = {short(value)} is not a whole number; {remedy}")
    return int(value)


def sentence(value: object, *, what: str) -> str:
    """A text that a person or a program gave, as long as it is kept.

    Raises:
        CampaignError: if it is none.
    """
    if not isinstance(value, str):
        raise CampaignError(f"{what} = {short(value)} is not a text; say it in words")
    return clean(value)


def problems_of(error: ValidationError) -> str:
    """What kept a driver's reading from being made."""
    found = error.errors(include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, e['loc']))}={short(e['input'])}: {e['msg']}" for e in found[:5])


def _number(value: Any, what: str, name: str) -> float:
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # NumPy and torch
    if isinstance(value, bool) or not isinstance(value, Real):
        raise CampaignError(f"{what} returned {name}={short(value)}; a response is one number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CampaignError(f"{what} returned {name}={short(value)}, which is not finite; raise an error instead")
    return number


def plain(value: Any) -> Any:
    """The value as JSON keeps it, or its text: what is not modelled must not spoil the ledger."""
    try:
        flat = masked(value.tolist() if hasattr(value, "tolist") else value)
        return json.loads(sound(json.dumps(flat, allow_nan=False, ensure_ascii=False)))
    except (TypeError, ValueError, RecursionError):
        return short(value)


def short(value: object) -> str:
    """A value in a few words."""
    try:
        text = mask(repr(value))
    except Exception:
        text = "a value that cannot be printed"
    return clean(f"{text if len(text) <= 200 else f'{text[:199]}…'} ({type(value).__name__})")


def clean(text: str) -> str:
    """Text short enough for the ledger, its secrets masked; … where it was cut."""
    whole = sound(mask(text))
    return whole if len(whole) <= MAX_TEXT else f"{whole[: MAX_TEXT - 1]}…"


def sound(text: str) -> str:
    """Text that can be written down."""
    return text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written down
