"""The readings of earlier campaigns, read once, at the start: from then on they stand in the new ledger.

Laws:
    * What cannot be used as it is declared is refused before anything is written.
    * An earlier ledger is only read, and is not needed any more once ``Recalled`` is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .campaign import Campaign
from .errors import CampaignError, LedgerError
from .evolve import replay
from .ledger import reader
from .parameters import Fixed
from .records import Recalled, Recollection, Setting
from .state import State, TrialState
from .units import is_same_unit
from .warm_start import WarmStart


def to_recall(state: State, ledger: Path) -> list[Recalled]:
    """What the campaign is to recall and has not yet.

    Args:
        state: of the campaign that begins.
        ledger: that it is written to.

    Raises:
        CampaignError: if an earlier campaign is not there, or does not fit this one.
    """
    missing = {n: w for n, w in state.campaign.warm_start.items() if n not in state.recalled and not state.trials}
    return [recalled(state.campaign, name, spec, ledger=ledger) for name, spec in missing.items()]


def check_recallable(campaign: Campaign, ledger: Path) -> None:
    """Refuse an earlier campaign that cannot be recalled, before the ledger of this one is made.

    Raises:
        CampaignError: as ``recalled``.
    """
    for name, spec in campaign.warm_start.items() if not ledger.exists() else ():
        recalled(campaign, name, spec, ledger=ledger)


def recalled(campaign: Campaign, name: str, spec: WarmStart, *, ledger: Path) -> Recalled:
    """The readings of the target of one earlier campaign, as this campaign takes them.

    Raises:
        CampaignError: naming the key, what does not fit, the rule and the remedy.
    """
    where = f"warm_start.{name}"
    path = ledger if spec.ledger is None else (campaign.folder or Path()) / Path(spec.ledger).expanduser()
    if spec.campaign == campaign.name and path.resolve() == ledger.resolve():
        raise CampaignError(f"{where}.campaign = {spec.campaign!r}: is this campaign itself; name an earlier one")
    old = _earlier(path, spec, where)
    _check_responses(campaign, old.campaign, spec, where)
    _check_parameters(campaign, old.campaign, spec, where)
    known = old.observed(old.campaign.target)
    if not known:
        raise CampaignError(
            f"{where}: campaign {spec.campaign!r} has no reading of {old.campaign.target!r} in {path}; leave it out"
        )
    faults: Counter[str] = Counter()
    readings = tuple(r for t in known if (r := _recollection(campaign, t, spec, faults)) is not None)
    if not readings:
        raise CampaignError(
            f"{where}: no reading of {spec.campaign!r} can be placed here ({next(iter(faults))}); leave it out"
        )
    notes = tuple(_notes(campaign, old.campaign, readings, faults))
    return Recalled(name=name, campaign=spec.campaign, ledger=path.name, readings=readings, notes=notes)


def _earlier(path: Path, spec: WarmStart, where: str) -> State:
    if not path.is_file():
        raise CampaignError(
            f"{where}.ledger: there is no ledger {path}; correct the path (a relative one starts at the campaign file)"
        )
    try:
        known = reader.campaigns(path)
        if spec.campaign not in known:
            raise CampaignError(
                f"{where}.campaign = {spec.campaign!r}: is not in {path} (there: {', '.join(known) or 'none'}); "
                "correct the name or the ledger"
            )
        declared = Campaign.trusted(reader.declaration(path, spec.campaign))
        return replay(declared, reader.stream(path, spec.campaign))
    except LedgerError as error:
        raise CampaignError(f"{where}: {error}") from error


def _check_responses(new: Campaign, old: Campaign, spec: WarmStart, where: str) -> None:
    for name, response in new.responses.items():
        if name not in old.responses:
            raise CampaignError(
                f"{where}: campaign {spec.campaign!r} has no response {name!r} (there: {', '.join(old.responses)}); "
                "leave the warm start out"
            )
        _check_unit(f"response {name}", response.unit, old.responses[name].unit, spec, where)


def _check_parameters(new: Campaign, old: Campaign, spec: WarmStart, where: str) -> None:
    for name, parameter in new.space.varied.items():
        if name in spec.given and name in old.parameters:
            raise CampaignError(
                f"{where}.given.{name}: campaign {spec.campaign!r} has that parameter, with a value a trial; take it "
                "out of given"
            )
        if name not in old.parameters and name not in spec.given and parameter.when is None:
            raise CampaignError(
                f"{where}: campaign {spec.campaign!r} has no parameter {name!r} (there: {', '.join(old.parameters)}); "
                f"say what it was there with given: {{{name}: ...}}, or leave the warm start out"
            )
        if name in old.parameters:
            _check_unit(f"parameter {name}", parameter.unit, old.parameters[name].unit, spec, where)


def _check_unit(what: str, new: str, old: str, spec: WarmStart, where: str) -> None:
    if not is_same_unit(new, old):
        raise CampaignError(
            f"{where}: {what} is in {new or 'no unit'!r} here and in {old or 'no unit'!r} in campaign "
            f"{spec.campaign!r}; the units must agree: declare it here as it is there, or leave the warm start out"
        )


def _recollection(campaign: Campaign, known: TrialState, spec: WarmStart, faults: Counter[str]) -> Recollection | None:
    """The reading at what was achieved; None, and a fault more, where this space has no place for it."""
    assert known.reading is not None
    space, reading = campaign.space, known.reading
    there: dict[str, Any] = {**known.trial.setting, **reading.achieved, **spec.given}
    try:
        setting = space.check_achieved({n: there[n] for n in space.varied if n in there})
        space.encode(setting)
    except (CampaignError, KeyError, ValueError) as error:
        faults[f"{error.args[0]!r} was not told" if isinstance(error, KeyError) else str(error)] += 1
        return None
    responses = campaign.responses
    return Recollection(
        trial=known.trial.number,
        setting=setting,
        values={r: reading.values[r] for r in responses},
        sd={r: reading.sd[r] for r in responses if r in reading.sd},
    )


def _notes(new: Campaign, old: Campaign, readings: Iterable[Recollection], faults: Counter[str]) -> list[str]:
    """What differs, for people: the belief finds out by itself what it is worth."""
    readings = tuple(readings)
    made = [f"{n} left out: {fault}" for fault, n in faults.items()]
    if n_outside := sum(_is_outside(new, r.setting) for r in readings):
        made.append(f"{n_outside} of {len(readings)} are outside of the bounds here, and still teach")
    if unknown := sorted(set(old.space.varied) - set(new.parameters)):
        made.append(f"{', '.join(unknown)} varied there and {'is' if len(unknown) == 1 else 'are'} no parameter here")
    for name, p in new.parameters.items():
        if not isinstance(p, Fixed):
            continue
        if name not in old.parameters:
            made.append(f"{name} is {p.value} here and was not known there")
        elif getattr(old.parameters[name], "value", None) != p.value:
            made.append(f"{name} is {p.value} here and was something else there")
    return made


def _is_outside(campaign: Campaign, setting: Setting) -> bool:
    row = campaign.space.encode(setting)
    return bool((row < -1e-9).any() or (row > 1 + 1e-9).any())
