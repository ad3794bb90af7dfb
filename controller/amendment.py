"""A declaration changed in mid-campaign: which keys may change, and how."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .campaign import Campaign
from .candidate_table import Candidates
from .declared_space import in_full
from .errors import CampaignError

# What the readings so far stay true for: names, kinds, units, responses and code are not among it.
_ALLOWED = (
    r"budget(\.\w+)?",
    r"constraints",
    r"goal(\.\w+)?",
    r"n_initial",
    r"stop",
    r"description",
    r"parameters\.\w+\.(low|high|choices|levels|descriptors)",
    r"mixtures\.\w+\.(total|min_components|max_components|min_share)",
    r"candidates",
    r"predicates",
    r"sources\.\w+\.(cost|approval|on_unknown|on_failure)(\.\w+)?",
)
_AIMS = ("maximize", "minimize", "target", "learn", "map", "prefer")
_CHANGEABLE = (  # the same in words
    "budget.RESOURCE",
    "constraints",
    "goal",
    "n_initial",
    "stop",
    "description",
    *(f"parameters.NAME.{what}" for what in ("low", "high", "choices", "levels", "descriptors")),
    *(f"mixtures.NAME.{what}" for what in ("total", "min_components", "max_components", "min_share")),
    "candidates",
    "predicates",
    *(f"sources.NAME.{what}" for what in ("cost", "approval", "on_unknown", "on_failure")),
)


def amended(campaign: Campaign, changes: Mapping[str, Any]) -> Campaign:
    """The campaign with these keys changed.

    Args:
        campaign: as it stands.
        changes: by dotted key; None removes an entry of a mapping, such as a resource of the budget.

    Raises:
        CampaignError: if a key may not change, or if the whole does not fit any more.
    """
    if not changes:
        raise CampaignError("nothing to amend; give KEY=VALUE, such as budget.money=400")
    declared = _changed(campaign, changes)
    if file := next((k for k, v in changes.items() if _is_file(k, v)), None):
        raise CampaignError(f"{file} = {changes[file]!r}: give the table itself; a ledger is replayed without the file")
    try:
        changed = Campaign(**declared)
    except CampaignError as error:
        if str(error) != _fault_of(campaign):
            raise
        # no fault of the amendment: the campaign was begun before there was that rule
        return Campaign.trusted(declared)
    if new := sorted(set(changed.predicates) - set(campaign.predicates)):
        raise CampaignError(f"predicates: {new[0]!r} is new, and an amendment brings no code; begin another campaign")
    return changed


def with_files(campaign: Campaign, changes: Mapping[str, Any], *, folder: Path | None = None) -> dict[str, Any]:
    """The changes, what stands in files read: the ledger holds it from then on.

    Raises:
        CampaignError: if a file cannot be read, or holds what it must not.
    """
    files = [key for key, value in changes.items() if _is_file(key, value)]
    if not files:
        return dict(changes)
    full = in_full(_changed(campaign, changes), folder=folder)
    read = dict(changes)
    for key in files:
        value: Any = full
        for name in key.split("."):
            value = value[name]
        read[key] = value.model_dump(mode="json") if isinstance(value, Candidates) else value
    return read


def _is_file(key: str, value: Any) -> bool:
    return isinstance(value, str) and (key == "candidates" or key.endswith(".descriptors"))


def _changed(campaign: Campaign, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The declaration with these keys changed.

    Raises:
        CampaignError: if one of them may not change.
    """
    declared = campaign.to_dict()
    for key, value in changes.items():
        if not any(re.fullmatch(pattern, key) for pattern in _ALLOWED):
            raise CampaignError(
                f"{key} cannot be amended: the readings so far would mean something else; what can be: "
                f"{', '.join(_CHANGEABLE)}. Begin another campaign for the rest"
            )
        _set(declared, key, value)
    return declared


def _fault_of(campaign: Campaign) -> str:
    """What is wrong with a declaration as it stands, for one that would begin now."""
    try:
        Campaign(**campaign.to_dict())
    except CampaignError as error:
        return str(error)
    return ""


def check_budget(campaign: Campaign, spent: Mapping[str, float], reserved: Mapping[str, float]) -> None:
    """Refuse a budget that would end the campaign at once, without a word of it.

    Raises:
        CampaignError: with the figures and what to type instead.
    """
    for name, limit in campaign.budget_amounts.items():
        gone, bound = spent.get(name, 0.0), reserved.get(name, 0.0)
        if gone + bound > limit * (1 + 1e-9):
            taken = f" and {bound:g} taken by trials that run or wait" if bound else ""
            raise CampaignError(
                f"budget.{name} = {limit:g}: {gone:g} is spent{taken}, so the campaign would end at once; give at "
                f"least {gone + bound:g}, or end it with 'closedloop stop'"
            )


def _set(declared: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    place: Any = declared
    for k, name in enumerate(path):
        if not isinstance(place, dict) or name not in place:
            close = difflib.get_close_matches(name, list(place), n=1) if isinstance(place, dict) else []
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise CampaignError(f"{key}: there is no {'.'.join(path[: k + 1])!r}{hint}")
        if place[name] is None:
            place[name] = {}
        place = place[name]
    if path == ["goal"] and last in _AIMS:  # another aim, in place of what there was
        kept = {k: place.get(k) for k in ("value", "range")} if last == "target" else {}
        place.update(dict.fromkeys((*_AIMS, "value", "range")) | {"thresholds": {}} | kept)
    if value is None and last in place and path in (["budget"],):
        del place[last]
    else:
        place[last] = value
    if path[:1] == ["parameters"] and last == "choices" and isinstance(value, dict):
        place["descriptors"] = {}  # they stand with the choices
