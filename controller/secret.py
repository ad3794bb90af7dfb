"""Secrets: a value of a source's settings that is taken from the environment, written ``{env: LAB_TOKEN}``.

Laws:
    * A declaration, and with it a ledger, holds the name of the variable only.
    * The value is looked up in the process that makes the source, when it makes it.
    * A text that leaves that process says ``<LAB_TOKEN>`` where the value would stand.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from .errors import CampaignError

KEY = "env"
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MIN_LENGTH = 4  # characters; a shorter value hides nothing, and masking it would spoil every message
MIN_LINE = 16  # of one line of a value that has several

_revealed: dict[str, str] = {}  # each form of a value that this process has looked up -> how it is shown


def variables(settings: Mapping[str, Any]) -> dict[str, str]:
    """The variables that settings ask for, by the dotted key of the value.

    Raises:
        CampaignError: if ``env`` names none.
    """
    return {key: variable for name, value in settings.items() for key, variable in _variables(name, value)}


def check_secrets(settings: Mapping[str, Any], *, source: str) -> None:
    """Refuse settings whose variables are not set in this process.

    Raises:
        CampaignError: naming the source, the key and the variable; never a value.
    """
    for key, variable in variables(settings).items():
        _value_of(variable, key, source)


def reveal(settings: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """The settings with the values of their variables; from now on ``mask`` hides them in this process.

    Raises:
        CampaignError: if a variable is not set.
    """
    return {name: _revealed_in(value, name, source) for name, value in settings.items()}


def mask(text: str) -> str:
    """The text without the values that this process has revealed; to be called before it is cut."""
    for form in sorted(_revealed, key=len, reverse=True):
        text = text.replace(form, _revealed[form])
    return text


def masked(value: Any) -> Any:
    """The same for plain data, keys too."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {mask(str(k)): masked(v) for k, v in value.items()}
    return [masked(v) for v in value] if isinstance(value, list | tuple) else value


def _variables(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if set(value) == {KEY}:
            yield key, _name_in(value, key)
        else:
            for name, inner in value.items():
                yield from _variables(f"{key}.{name}", inner)
    elif isinstance(value, list | tuple):
        for k, inner in enumerate(value):
            yield from _variables(f"{key}.{k}", inner)


def _revealed_in(value: Any, key: str, source: str) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {KEY}:
            return _remembered(_name_in(value, key), key, source)
        return {name: _revealed_in(inner, f"{key}.{name}", source) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_revealed_in(inner, f"{key}.{k}", source) for k, inner in enumerate(value)]
    return value


def _name_in(value: Mapping[str, Any], key: str) -> str:
    variable = value[KEY]
    if not isinstance(variable, str) or not VARIABLE.fullmatch(variable):
        raise CampaignError(f"settings.{key}.env = {variable!r}: is no name of a variable; write {{env: LAB_TOKEN}}")
    return variable


def _value_of(variable: str, key: str, source: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise CampaignError(
            f"source {source!r}: settings.{key} is taken from the environment variable {variable!r}, which is not set "
            f"here; set it first (export {variable}=...)"
        )
    return value


def _remembered(variable: str, key: str, source: str) -> str:
    value = _value_of(variable, key, source)
    if len(value) >= MIN_LENGTH:
        _revealed.update((form, f"<{variable}>") for form in _forms(value) if len(form) >= MIN_LENGTH)
    return value


def _forms(value: str) -> Iterator[str]:
    """As it stands in a message, in a repr, in JSON and in a URL; a key of several lines also line by line."""
    lines = {line.strip() for line in value.splitlines() if len(line.strip()) >= MIN_LINE}
    for part in {value, value.strip()} | lines:
        yield from (part, repr(part)[1:-1], json.dumps(part)[1:-1], quote(part, safe=""), quote_plus(part))
