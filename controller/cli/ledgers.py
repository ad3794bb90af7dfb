"""A campaign that stands in a ledger, made whole again so that it can be carried out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CampaignError

if TYPE_CHECKING:
    from ..campaign import Campaign


def campaign_of(ledger: Path, name: str | None, *, allow_code: bool = False) -> Campaign:
    """The campaign by its declaration in the ledger; relative paths start here, or else where it began.

    A ledger may come from anybody: files outside the current folder are run only where that is allowed.

    Raises:
        CampaignError: if one of its sources was given in Python only.
    """
    from ..campaign import Campaign
    from ..campaign_file import with_code
    from ..ledger.reader import declaration, started

    begun = started(ledger, name)
    campaign = Campaign.trusted(declaration(ledger, begun.campaign["name"]))  # as it was amended
    for source, spec in campaign.sources.items():
        _refuse_python_only(campaign.name, source, spec.target)
    folder = _folder_of(campaign, begun.provenance.get("folder", "."))
    return with_code(campaign, folder=folder, allow_code=allow_code)


def campaign_named(ledger: Path, name_or_file: str | None, *, allow_code: bool = False) -> Campaign:
    """A campaign of the ledger by its name, or a new one by its file or the name under which it ships."""
    from ..campaign_file import find_campaign, read_campaign
    from .watching import is_begun

    if name_or_file is None or is_begun(ledger, name_or_file):
        return campaign_of(ledger, name_or_file, allow_code=allow_code)
    return read_campaign(find_campaign(name_or_file), allow_code=allow_code)


def _refuse_python_only(campaign: str, source: str, target: str) -> None:
    module, _, name = target.partition(":")
    if module == "__main__" or "<" in name:
        raise CampaignError(
            f"source {source!r} of campaign {campaign!r} was given in Python only ({target}), so the command line "
            "cannot find it; go on from that script with closedloop.run(campaign, ledger=...), or put the class "
            "into a file of its own and name that in the campaign"
        )


def _folder_of(campaign: Campaign, begun_in: str) -> Path:
    """Here, if the files of the sources are here; else where the campaign began."""
    from ..source import is_file

    files = [s.target.partition(":")[0] for s in campaign.sources.values() if is_file(s.target)]
    is_here = all(Path(f).is_file() for f in files)
    return Path() if is_here else Path(begun_in)
