"""Reading a campaign file, with the file and the line of each mistake.

A guard's rules may stand in a file of their own, beside the campaign: ``guard: rules.yaml``. No code runs while a
campaign is read, unless its reader allows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from .campaign import Campaign
from .declared_space import in_full
from .errors import CampaignError, Problem
from .plain_yaml import Keys, parse, text_of
from .source import find_source, is_file

__all__ = ["find_campaign", "parse", "read_campaign", "with_code"]

QUOTED = re.compile(r"'([^']+)'")
Places = dict[Keys, tuple[str, int]]  # the file and the line of each key


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


def read_campaign(path: Path, *, allow_code: bool = False) -> Campaign:
    """The campaign of a file; relative paths of sources start at its folder.

    Args:
        path: the file.
        allow_code: run the files of its sources now, even those that are not under the current folder; without it
            such a source is refused when the campaign is resolved.

    Raises:
        CampaignError: with the file and the line of each mistake.
    """
    folder = path.resolve().parent
    declared, lines = parse(text_of(path), name=path.name)
    places: Places = {keys: (path.name, line) for keys, line in lines.items()}
    _fill_in_rules(declared, places, folder)
    try:
        campaign = Campaign(**in_full(declared, folder=folder))
    except CampaignError as error:
        raise _located(error, places, declared) from None
    return with_code(campaign, folder=folder, allow_code=allow_code)


def with_code(campaign: Campaign, *, folder: Path, allow_code: bool) -> Campaign:
    """The campaign, told where relative paths of sources start and, where that is allowed, what is in these files."""
    campaign = campaign.with_sources({}, folder=folder)
    if allow_code:
        campaign.with_functions({p.target: p.load(allow_code=True) for p in campaign.space.predicates})
    files = {n: s.target for n, s in campaign.sources.items() if is_file(s.target)} if allow_code else {}
    classes = {name: find_source(target, folder=folder, allow_code=True) for name, target in files.items()}
    return campaign.with_sources(classes, folder=folder)


def _fill_in_rules(declared: dict[str, Any], places: Places, folder: Path) -> None:
    """Put the rules of a file where its name stands: the ledger then holds them."""
    for owner, keys in _guarded(declared):
        file = owner.get("guard")
        if isinstance(file, str):
            campaign_file, line = places[keys]
            try:
                rules, lines = parse(text_of(folder / file), name=file, what="rule file")
            except CampaignError as error:
                raise CampaignError(f"{campaign_file}:{line}: {'.'.join(map(str, keys))}: {error}") from None
            owner["guard"] = rules
            places.update({(*keys, *inner): (file, line) for inner, line in lines.items()})


def _guarded(declared: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Keys]]:
    """What may have a guard, and the keys that lead there."""
    yield declared, ("guard",)
    sources = declared.get("sources")
    for name, source in sources.items() if isinstance(sources, dict) else ():
        if isinstance(source, dict):
            yield source, ("sources", name, "guard")


def _located(error: CampaignError, places: Places, declared: dict[str, Any]) -> CampaignError:
    found = [(p, places[_nearest(p, places, declared)]) for p in error.problems or [Problem((), str(error))]]
    text = "\n".join(f"{file}:{line}: {p.text}" for p, (file, line) in found)
    return CampaignError(text, [Problem(p.path, p.text, line) for p, (_, line) in found])


def _nearest(problem: Problem, places: Places, declared: dict[str, Any]) -> Keys:
    """The nearest key that a file has; a rule over several keys begins with the first's name and quotes the value."""
    path: Sequence[str | int] = problem.path or problem.text.split(":")[0].split(" ")[0].split(".")
    nearest = next(tuple(path[:n]) for n in range(len(path), -1, -1) if tuple(path[:n]) in places)
    for quoted in QUOTED.findall(problem.text):
        holders = [k for k, value in _leaves(declared, ()) if value == quoted and k[: len(nearest)] == nearest]
        if len(holders) == 1 and holders[0] in places:
            return holders[0]
    return nearest


def _leaves(data: Any, keys: Keys) -> Iterator[tuple[Keys, Any]]:
    """All values, with the keys that lead to them."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    if items is None:
        yield keys, data
    else:
        for key, inner in items:
            yield from _leaves(inner, (*keys, key))
