"""Reading a campaign file: YAML 1.2 (or JSON, which is YAML), with the line of each mistake.

Bytes, nesting and aliases are capped before anything is built, and no tag can name a Python object.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from .campaign import Campaign
from .errors import CampaignError, Problem

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_ALIASES = 100


def find_campaign(name_or_file: str) -> Path:
    """The file of a campaign: a path, or the name of one that ships with closedloop.

    Raises:
        CampaignError: if there is neither.
    """
    path = Path(name_or_file)
    if path.is_file():
        return path
    shipped = Path(str(resources.files("closedloop.campaigns")))
    for candidate in (shipped / name_or_file, shipped / f"{name_or_file}.yaml"):
        if candidate.is_file() and candidate.parent == shipped:
            return candidate
    known = ", ".join(sorted(p.stem for p in shipped.glob("*.yaml")))
    raise CampaignError(
        f"campaign {name_or_file!r} is neither a file here nor one that ships with closedloop ({known}); "
        "correct the path, or write a new one with 'closedloop init'"
    )


def read_campaign(path: Path) -> Campaign:
    """The campaign of a file; relative paths of sources start at its folder.

    Raises:
        CampaignError: with the file and the line of each mistake.
    """
    declared, lines = parse(_text_of(path), name=path.name)
    try:
        campaign = Campaign(**declared)
    except CampaignError as error:
        raise _located(error, path.name, lines) from None
    return campaign.with_sources({}, folder=path.resolve().parent)


def _text_of(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CampaignError(f"{path}: has {size} bytes, more than {MAX_BYTES}; a campaign is a short text")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CampaignError(f"{path}: cannot be read ({error.strerror}); correct the path") from error
    except UnicodeDecodeError as error:
        raise CampaignError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def parse(text: str, *, name: str = "campaign") -> tuple[dict[str, Any], dict[tuple[str | int, ...], int]]:
    """The data of a YAML text, and the line of each key.

    Raises:
        CampaignError: with the line, if it is no YAML, not a mapping, too deep or too full of aliases.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="safe", pure=True)
    try:
        _check_events(text, name)
        node = YAML(typ="safe", pure=True).compose(text)
        data = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        # A duplicate key's message goes on with advice to programmers; the first line says it.
        rule = str(error.problem or error.context or error).strip().splitlines()[0]
        raise CampaignError(f"{name}{line}: not valid YAML: {rule}") from None
    except (YAMLError, ValueError) as error:
        raise CampaignError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        raise CampaignError(f"{name}:1: a campaign is a mapping of keys to values, not {type(data).__name__}")
    if strange := [k for k in data if not isinstance(k, str)]:
        raise CampaignError(f"{name}: the key {strange[0]!r} must be text; quote it")
    lines: dict[tuple[str | int, ...], int] = {}
    _collect_lines(node, (), lines)
    return data, lines


def _check_events(text: str, name: str) -> None:
    """Refuse depth and alias bombs while they are still a stream of events."""
    from ruamel.yaml import YAML
    from ruamel.yaml.events import (
        AliasEvent,
        MappingEndEvent,
        MappingStartEvent,
        SequenceEndEvent,
        SequenceStartEvent,
    )

    depth = n_aliases = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            depth += 1
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            depth -= 1
        elif isinstance(event, AliasEvent):
            n_aliases += 1
        if depth > MAX_DEPTH or n_aliases > MAX_ALIASES:
            what = f"nested deeper than {MAX_DEPTH}" if depth > MAX_DEPTH else f"more than {MAX_ALIASES} aliases"
            raise CampaignError(f"{name}:{event.start_mark.line + 1}: {what}; write it flat")


def _collect_lines(node: Any, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if node.id == "mapping":
        for key, value in node.value:
            lines[(*path, str(key.value))] = key.start_mark.line + 1
            _collect_lines(value, (*path, str(key.value)), lines)
    elif node.id == "sequence":
        for k, value in enumerate(node.value):
            _collect_lines(value, (*path, k), lines)


def _located(error: CampaignError, name: str, lines: dict[tuple[str | int, ...], int]) -> CampaignError:
    problems = [Problem(p.path, p.text, _line_of(p, lines)) for p in error.problems or [Problem((), str(error))]]
    text = "\n".join(f"{name}:{p.line}: {p.text}" for p in problems)
    return CampaignError(text, problems)


def _line_of(problem: Problem, lines: dict[tuple[str | int, ...], int]) -> int:
    """The line of the nearest key that the file has; a rule over several keys begins with the first's name."""
    path: Sequence[str | int] = problem.path or problem.text.split(":")[0].split(" ")[0].split(".")
    for n in range(len(path), -1, -1):
        if tuple(path[:n]) in lines:
            return lines[tuple(path[:n])]
    return 1
