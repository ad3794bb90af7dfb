"""What pydantic found wrong with a declaration, said for a person: key, value, rule and, where it can be, remedy."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from .errors import CampaignError, Problem
from .parameters import PARAMETER_KINDS

Path = tuple[str | int, ...]  # the keys that lead to a place

SECONDS = "is not a number of seconds; write 300, not '5 min'"

# What pydantic says in words of its own, said in ours.
RULES = {
    "union_tag_not_found": "is no parameter; write {{low: 0, high: 1}}, {{levels: [...]}} or {{choices: [...]}}",
    "union_tag_invalid": "kind {tag} is unknown; use one of {expected_tags}",
    "too_short": "needs at least {min_length} entries, not {actual_length}; add to it",
    "too_long": "holds more than {max_length} entries; use fewer",
    "string_type": "is not text; write words, or quote it",
    "string_pattern_mismatch": "must begin with a letter or digit and hold only letters, digits and _ . - (64 at most)",
    "tuple_type": "is not a list; write [...]",
    "dict_type": "is not a mapping of names to values",
    "model_type": "is not a mapping of keys to values",
    "finite_number": "is not a finite number; write one",
    "int_parsing": "is not a whole number; write one",
    "int_type": "is not a whole number; write one",
    "int_from_float": "is not a whole number; write one",
    "float_parsing": "is not a number; write one",
    "float_type": "is not a number; write one",
    "bool_parsing": "is neither true nor false; write one of the two",
    "bool_type": "is neither true nor false; write one of the two",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "is none of {expected}; write one of them",
}


def explain(error: ValidationError, keys_of: Callable[[Path], Sequence[str]]) -> CampaignError:
    """One error for all that pydantic found: key, value, rule; a guess where a key is unknown.

    Args:
        error: of the whole declaration.
        keys_of: the keys that are allowed at a place of the declaration.
    """
    found = [_explain_one(e, keys_of) for e in error.errors(include_url=False)]
    # Of a union's branches the first that failed says it; the others only repeat the key.
    problems = [p for k, p in enumerate(found) if p.path not in [q.path for q in found[:k]] or not p.path]
    return CampaignError("\n".join(p.text for p in problems), problems)


def _explain_one(e: Any, keys_of: Callable[[Path], Sequence[str]]) -> Problem:
    path = _path_of(e["loc"])
    where = ".".join(map(str, path))
    if e["type"] == "extra_forbidden":
        known = keys_of(path[:-1])
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return Problem(path, f"{where}: unknown key; {hint}")
    if e["type"] == "missing":
        return Problem(path, f"{where}: is missing; add it")
    known_rule = RULES.get(e["type"])
    if path and str(path[-1]).endswith("_s") and e["type"] in ("float_parsing", "float_type"):
        known_rule = SECONDS
    rule = known_rule.format(**e.get("ctx", {})) if known_rule else str(e["msg"]).removeprefix("Value error, ")
    has_value = e["type"] != "value_error" and not isinstance(e["input"], dict | list | tuple)
    value = f" = {str(e['input'])[:80]!r}" if has_value else ""
    return Problem(path, f"{where}{value}: {rule}" if where else rule)


def _path_of(loc: Sequence[str | int]) -> Path:
    """The keys of the file; pydantic puts the branch of a union among them."""
    path = list(loc)
    if path[:1] == ["parameters"] and len(path) > 2 and path[2] in PARAMETER_KINDS:
        del path[2]
    if len(path) > 2 and path[-1] in ("float", "int", "str"):
        del path[-1]
    return tuple(p for p in path if not (isinstance(p, str) and "(" in p))
