"""A campaign that stands in a ledger, made whole again so that it can be carried out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CampaignError

if TYPE_CHECKING:
    from ..campaign import Campaign


def campaign_of(ledger: Path, name: str | None) -> Campaign:
    """The campaign by its declaration in the ledger; relative paths start here, or else where it began.

    Raises:
        CampaignError: if one of its sources was given in Python only.
    """
    from ..campaign import Campaign
    from ..ledger_reader import started

    begun = started(ledger, name)
    campaign = Campaign.trusted(begun.campaign)
    for source, spec in campaign.sources.items():
        _refuse_python_only(campaign.name, source, spec.target)
    return campaign.with_sources({}, folder=_folder_of(campaign, begun.provenance.get("folder", ".")))


def campaign_named(ledger: Path, name_or_file: str | None) -> Campaign:
    """A campaign of the ledger by its name, or a new one by its file or the name under which it ships."""
    from ..campaign_file import find_campaign, read_campaign
    from .watching import is_begun

    if name_or_file is None or is_begun(ledger, name_or_file):
        return campaign_of(ledger, name_or_file)
    return read_campaign(find_campaign(name_or_file))


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
    files = [spec.target.partition(":")[0] for spec in campaign.sources.values()]
    is_here = all(Path(f).is_file() for f in files if f.endswith(".py"))
    return Path() if is_here else Path(begun_in)
