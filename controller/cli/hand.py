"""``suggest`` and ``ingest``: the same mind with a person's or another program's hands."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import CampaignError, LeaseHeld
from ..records import Failed, Observed, Reading, Setting, Trial
from . import options
from .application import RUN, app
from .terminal import complain, say, show, show_json, table

if TYPE_CHECKING:
    from ..campaign import Campaign

OfFile = Annotated[
    str | None,
    typer.Option("--campaign", "-c", help="Its name in the ledger; or a file, to begin a new one.", show_default=False),
]
Pairs = Annotated[list[str] | None, typer.Argument(help="NAME=VALUE of each response.", show_default=False)]
Sds = Annotated[
    list[str] | None,
    typer.Option("--sd", help="NAME=VALUE: a response's standard deviation.", show_default=False),
]
Achieved = Annotated[
    list[str] | None,
    typer.Option("--achieved", help="NAME=VALUE: what was set in truth.", show_default=False),
]


@app.command(rich_help_panel=RUN, epilog="Example: closedloop suggest --campaign campaign.yaml -n 2")
def suggest(
    *,
    ledger: options.Ledger = options.LEDGER,
    campaign: OfFile = None,
    n: Annotated[int, typer.Option("-n", "--number", help="How many trials.")] = 1,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Who will answer; the goal's source if left out.", show_default=False),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option("--context", help="NAME=VALUE: what is measured and not set, as it is now.", show_default=False),
    ] = None,
    allow_code: options.AllowCode = False,
    as_json: options.AsJson = False,
) -> None:
    """Ask for the next trials; they are written down as proposed and wait for 'ingest'."""
    from ..session import Session
    from .ledgers import campaign_named

    warnings.simplefilter("ignore")
    with Session(campaign_named(ledger, campaign, allow_code=allow_code), ledger=ledger) as session:
        given = values_of(session.state.campaign, context or [])
        trials = session.suggest(n, source=source, context=given)
        declared, waiting = session.state.campaign, session.waiting
    for one in waiting:
        complain(f"trial {one.trial.number} is to be approved first: {one.why}", word="waits:")
    if as_json:
        show_json([t.model_dump(mode="json", exclude={"unknowns"}) for t in trials])
    else:
        _show_trials(declared, trials)


@app.command(rich_help_panel=RUN, epilog="Example: closedloop ingest 12 y=3.2 --sd y=0.1 --achieved temperature=79")
def ingest(
    trial: Annotated[int, typer.Argument(help="The trial's number.")],
    values: Pairs = None,
    *,
    sd: Sds = None,
    achieved: Achieved = None,
    failed: Annotated[
        str | None,
        typer.Option("--failed", help="It gave nothing, for this reason.", show_default=False, callback=options.short),
    ] = None,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    allow_code: options.AllowCode = False,
) -> None:
    """Hand in what a trial gave, also one that is in doubt or was given up; a controller that runs takes it at once."""
    from ..report.story import read_story
    from .ledgers import campaign_of
    from .steer import tell

    warnings.simplefilter("ignore")
    declared = campaign_of(ledger, campaign, allow_code=allow_code)
    if failed is not None and (values or sd or achieved):
        raise CampaignError("--failed goes without values: a trial gave a reading or it did not")
    reading = (
        None if failed is not None else _reading(declared, trial, values or [], sd=sd or [], achieved=achieved or [])
    )
    done = f"trial {trial}: recorded" + ("" if reading else " as failed")
    try:
        _enter(declared, ledger, trial, reading=reading, failed=failed or "")
    except LeaseHeld:
        story = read_story(ledger, declared.name)
        tell(ledger, story, _answer(trial, reading, failed or ""), done=done)
        return
    say(done)


def _enter(campaign: Campaign, ledger: Path, trial: int, *, reading: Reading | None, failed: str) -> None:
    from ..session import Session

    with Session(campaign, ledger=ledger) as session:
        if reading is not None:
            session.ingest(trial, reading)
        else:
            session.fail(trial, failed)


def _answer(trial: int, reading: Reading | None, failed: str) -> Observed | Failed:
    if reading is not None:
        return Observed(trial=trial, reading=reading)
    return Failed(trial=trial, cause="error", message=failed)


def _reading(
    campaign: Campaign, trial: int, values: Sequence[str], *, sd: Sequence[str], achieved: Sequence[str]
) -> Reading:
    """The reading that the words mean, whole and finite.

    Raises:
        CampaignError: naming the word that cannot be taken.
    """
    from ..reading import reading_of

    numbers = {k: _number(k, v) for k, v in _pairs(values, known=list(campaign.responses), what="response")}
    reading_of(numbers, tuple(campaign.responses), what=f"trial {trial}")
    sds = {k: _number(k, v) for k, v in _pairs(sd, known=list(campaign.responses), what="response")}
    if low := [k for k, s in sds.items() if s < 0]:
        raise CampaignError(f"--sd {low[0]}={sds[low[0]]}: a standard deviation is not negative")
    return reading_of(
        Reading(values=numbers, sd=sds, achieved=values_of(campaign, achieved)),
        tuple(campaign.responses),
        what=f"trial {trial}",
        space=campaign.space,
    )


def values_of(campaign: Campaign, words: Sequence[str]) -> Setting:
    """The values of parameters that NAME=VALUE words mean.

    Raises:
        CampaignError: naming the word that cannot be taken.
    """
    found = dict(_pairs(words, known=list(campaign.parameters), what="parameter"))
    return {k: v if _is_label(campaign, k) else _number(k, v) for k, v in found.items()}


def _pairs(words: Sequence[str], *, known: Sequence[str], what: str) -> list[tuple[str, str]]:
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not value.strip():
            raise CampaignError(f"{word!r} is not NAME=VALUE; write it like {known[0]}=3.2")
        if name.strip() not in known:
            raise CampaignError(f"{name.strip()!r} is no {what}; known: {', '.join(known)}")
        found.append((name.strip(), value.strip()))
    return found


def _number(name: str, text: str) -> float:
    import math

    try:
        x = float(text)
    except ValueError:
        x = math.nan
    if not math.isfinite(x):
        raise CampaignError(f"{name}={text!r} is not a finite number; write it like {name}=3.2")
    return x


def _is_label(campaign: Campaign, parameter: str) -> bool:
    declared: Any = campaign.parameters[parameter]
    levels: Sequence[object] = getattr(declared, "choices", getattr(declared, "levels", ()))
    return any(isinstance(v, str) for v in levels)


def _show_trials(campaign: Campaign, trials: Sequence[Trial]) -> None:
    from ..report.words import plus_minus, unit_sign, value_words

    names = list(campaign.parameters)
    units = [f"{n} [{u}]" if (u := unit_sign(campaign.parameters[n].unit)) else n for n in names]
    made = table("trial", "source", *units, "forecast", right=[0, *range(2, len(names) + 2)])
    for t in trials:
        forecast = ", ".join(f"{r} {plus_minus(m, t.forecast.sd.get(r))}" for r, m in t.forecast.mean.items())
        values = [value_words(t.setting[n]) if n in t.setting else "" for n in names]
        made.add_row(str(t.number), t.source, *values, forecast or "none yet")
    show(made)
