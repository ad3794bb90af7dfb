"""YAML 1.2 (or JSON, which is YAML) read as plain data, with the line of each key.

Laws:
    * Bytes, nesting, entries and aliases are capped before anything is built.
    * Only mappings with text as keys, lists, text, finite numbers, true, false and null come out: what is read can be
      written to the ledger and read again exactly. No tag names anything else, and no Python object.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .errors import CampaignError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_ALIASES = 100
MAX_ENTRIES = 20_000  # keys and values, those that aliases repeat counted each time

Keys = tuple[str | int, ...]  # the keys that lead to a place
Lines = dict[Keys, int]

_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")}


def text_of(path: Path) -> str:
    """The text of a file.

    Raises:
        CampaignError: if it cannot be read, is too long or is not UTF-8.
    """
    try:
        if not path.is_file():
            raise CampaignError(f"{path}: is not a file; correct the path")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CampaignError(f"{path}: has {size} bytes, more than {MAX_BYTES}; a campaign is a short text")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CampaignError(f"{path}: cannot be read ({error.strerror}); correct the path") from error
    except UnicodeDecodeError as error:
        raise CampaignError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def parse(text: str, *, name: str = "campaign", what: str = "campaign") -> tuple[dict[str, Any], Lines]:
    """The data of a YAML text, and the line of each key.

    Args:
        text: of the file.
        name: of the file, for messages.
        what: it is, for messages.

    Raises:
        CampaignError: with the line, if it is no YAML, not a mapping, too large or more than plain data.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        _check_events(text, name)
        yaml = YAML(typ="safe", pure=True)
        node = yaml.compose(text)
        if node is None or node.id != "mapping":
            found = "nothing" if node is None else {"sequence": "a list"}.get(node.id, "one value")
            raise CampaignError(f"{name}:1: a {what} is a mapping of keys to values, not {found}")
        lines = _Walk(name).lines_of(node)
        data: dict[str, Any] = yaml.constructor.construct_document(node)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        # A duplicate key's message goes on with advice to programmers; the first line says it.
        rule = str(error.problem or error.context or error).strip().splitlines()[0].partition(" with value ")[0]
        raise CampaignError(f"{name}{line}: not valid YAML: {rule}{_remedy(rule)}") from None
    except (YAMLError, ValueError) as error:
        if isinstance(error, CampaignError):
            raise
        raise CampaignError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    return data, lines


def _remedy(rule: str) -> str:
    if "'\\t'" in rule:
        return "; indent with blanks, not with tabs"
    if "duplicate key" in rule:
        return "; write each key once"
    return "; quote text that holds : # [ ] { } , & * ! | > % or @"


def _check_events(text: str, name: str) -> None:
    """Refuse bombs while they are still a stream of events, and the words of YAML 1.1, where no is false."""
    from ruamel.yaml import YAML
    from ruamel.yaml.events import (
        AliasEvent,
        DocumentStartEvent,
        MappingEndEvent,
        MappingStartEvent,
        SequenceEndEvent,
        SequenceStartEvent,
    )

    depth = n_aliases = 0
    for n_events, event in enumerate(YAML(typ="safe", pure=True).parse(text)):
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            depth += 1
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            depth -= 1
        elif isinstance(event, AliasEvent):
            n_aliases += 1
        fault = ""
        if depth > MAX_DEPTH:
            fault = f"nested deeper than {MAX_DEPTH}; write it flat"
        elif n_aliases > MAX_ALIASES:
            fault = f"more than {MAX_ALIASES} aliases; write it flat"
        elif n_events > MAX_ENTRIES:
            fault = f"more than {MAX_ENTRIES} entries; a campaign is a short text"
        elif isinstance(event, DocumentStartEvent) and (event.version or event.tags):
            fault = "a directive (%YAML or %TAG) is not read; leave it out"
        if fault:
            raise CampaignError(f"{name}:{event.start_mark.line + 1}: {fault}")


class _Walk:
    """Once through all nodes: the line of each key, and a refusal of what is not plain."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: Lines = {}
        self.n_entries = 0
        self.open: list[Any] = []  # the nodes around this one

    def lines_of(self, node: Any) -> Lines:
        self._node(node, ())
        return self.lines

    def _node(self, node: Any, keys: Keys) -> None:
        self.n_entries += 1
        if self.n_entries > MAX_ENTRIES:
            self._refuse(node, (), f"its aliases unfold to more than {MAX_ENTRIES} entries; write it flat")
        if any(node is around for around in self.open):
            self._refuse(node, keys, "holds itself; write it flat")
        self.lines.setdefault(keys, node.start_mark.line + 1)
        self._check_tag(node, keys)
        self.open.append(node)
        if node.id == "mapping":
            for key, value in node.value:
                self._check_key(key, keys)
                self.lines[(*keys, str(key.value))] = key.start_mark.line + 1
                self._node(value, (*keys, str(key.value)))
        elif node.id == "sequence":
            for k, value in enumerate(node.value):
                self._node(value, (*keys, k))
        self.open.pop()

    def _check_tag(self, node: Any, keys: Keys) -> None:
        tag = str(node.tag)
        if tag == _TAG + "timestamp":
            self._refuse(node, keys, f"{node.value} is read as a date; quote it")
        if tag not in _PLAIN:
            self._refuse(node, keys, f"the tag {tag.replace(_TAG, '!!')} is not allowed; write plain values")
        if tag == _TAG + "float" and not math.isfinite(_number(node.value)):
            self._refuse(node, keys, f"{node.value} is not a finite number; write one")

    def _check_key(self, key: Any, keys: Keys) -> None:
        if key.id != "scalar" or str(key.tag) not in (_TAG + "str", _TAG + "merge"):
            said = key.value if key.id == "scalar" else f"a {key.id}"
            self._refuse(key, keys, f"the key {said} must be text; quote it")

    def _refuse(self, node: Any, keys: Keys, rule: str) -> None:
        where = f"{'.'.join(map(str, keys))}: " if keys else ""
        raise CampaignError(f"{self.name}:{node.start_mark.line + 1}: {where}{rule}")


def _number(text: str) -> float:
    try:
        return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan").lower())
    except ValueError:
        return 0.0  # hexadecimal, or left to the constructor
