"""``check``: a campaign validated, its classes found, and its simulators tried; no instrument is even made."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import SourceError
from . import options
from .application import BEGIN, app
from .terminal import pairs, say, show, show_json, table

if TYPE_CHECKING:
    from rich.table import Table

    from ..campaign import Campaign
    from ..records import Recalled, Setting

N_TRIED = 2  # trials of each simulator


@dataclass(frozen=True)
class Tried:
    """One trial of a simulator that entered no ledger."""

    source: str
    setting: Setting
    values: dict[str, float]
    seconds: float
    message: str = ""  # why it failed


@app.command(rich_help_panel=BEGIN, epilog="Example: closedloop check campaign.yaml")
def check(
    file: Annotated[str, typer.Argument(help="A campaign file, or the name of one that ships.")],
    *,
    allow_code: options.AllowCode = False,
    ledger: options.Ledger = options.LEDGER,
    as_json: options.AsJson = False,
) -> None:
    """Check all that 'run' checks before it starts anything, and try the simulators; touches no instrument."""
    from ..advice import cautions
    from ..campaign_file import find_campaign, read_campaign
    from ..ready import check_ready
    from ..recalling import recalled
    from ..state import State

    warnings.simplefilter("ignore")
    campaign = read_campaign(find_campaign(file), allow_code=allow_code).resolve()
    check_ready(campaign)
    earlier = [recalled(campaign, name, spec, ledger=ledger) for name, spec in campaign.warm_start.items()]
    tried = [t for name in campaign.simulators for t in try_simulator(campaign, name)]
    if as_json:
        warm = {"warm_start": {e.name: len(e.readings) for e in earlier}} if earlier else {}
        show_json({**_summary(campaign), **warm, "tried": [vars(t) for t in tried]})
    else:
        _show(campaign, tried, earlier)
    failed = [t for t in tried if t.message]
    if failed:
        raise SourceError(f"simulator {failed[0].source!r} failed at {failed[0].setting}: {failed[0].message}")
    if not as_json:
        for note in cautions(State(campaign)):
            say(f"note: {note.choice}; {note.why}")
        say(f"{campaign.name}: good; start it with: closedloop run {file}")


def try_simulator(campaign: Campaign, name: str) -> list[Tried]:
    """A simulator's first trials, as a run would begin them.

    Raises:
        SourceError: if it cannot be connected.
    """
    from ..perform import connected

    simulator = connected(campaign.bind()[name])
    try:
        return [_try_one(campaign, name, simulator, k) for k in range(N_TRIED)]
    finally:
        simulator.close()


def _try_one(campaign: Campaign, name: str, simulator: Any, k: int) -> Tried:
    from ..belief import prior_belief
    from ..design.initial import initial_setting
    from ..perform import perform
    from ..records import Failed, Observed, Trial

    place = list(campaign.sources).index(name)
    space = campaign.spaces[name]
    setting = space.decode(initial_setting(space, k, campaign.seed + place))
    unknowns = prior_belief(campaign).unknowns(name) if campaign.sources[name].unknowns else {}
    trial = Trial(number=k + 1, source=name, setting=setting, unknowns=unknowns)
    began = time.perf_counter()
    answer = perform(simulator, trial, campaign.bind()[name])
    took = time.perf_counter() - began
    if isinstance(answer, Observed):
        return Tried(name, setting, answer.reading.values, took)
    return Tried(name, setting, {}, took, answer.message if isinstance(answer, Failed) else str(answer))


def _summary(campaign: Campaign) -> dict[str, Any]:
    return {
        "campaign": campaign.name,
        "belief": campaign.belief_kind,
        "parameters": {n: p.model_dump(mode="json") for n, p in campaign.parameters.items()},
        "sources": {n: {"kind": s.kind, "cost": campaign.cost_of(n)} for n, s in campaign.sources.items()},
        "initial_design": _initial_design(campaign),
        "holds": {name: holds(campaign, name) for name in campaign.sources},
    }


def holds(campaign: Campaign, source: str) -> int | None:
    """How many trials of one source alone the budget holds; None: no end."""
    cost = campaign.cost_of(source)
    shares = [b / cost[r] for r, b in campaign.budget_amounts.items() if cost.get(r, 0.0) > 0]
    return math.floor(min(shares) * (1 + 1e-9)) if shares else None


def _initial_design(campaign: Campaign) -> dict[str, int]:
    from ..decide import n_initial
    from ..state import State

    return {name: n_initial(State(campaign), name) for name in campaign.sources}


def _show(campaign: Campaign, tried: list[Tried], earlier: list[Recalled]) -> None:
    from ..report.sayings import saying
    from ..report.words import amount, goal_words, mixture_words
    from ..stop import Stop

    initial = _initial_design(campaign)
    design = ", ".join(f"{n} of {name}" for name, n in initial.items() if n) or "none"
    show(
        pairs(
            [
                ("campaign", campaign.name),
                ("goal", goal_words(campaign.goal)),
                ("budget", ", ".join(amount(r, b) for r, b in campaign.budget_amounts.items())),
                *([("stops", f"when {Stop(campaign.stop).words()}")] if campaign.stop else []),
                ("belief", campaign.belief_kind),
                ("initial design", design),
                *(("warm start", saying(event, units={})) for event in earlier),
                ("constraints", "; ".join([*campaign.constraints, *campaign.predicates]) or "none"),
                *((f"mixture {name}", mixture_words(m)) for name, m in campaign.mixtures.items()),
                *([("candidates", f"{campaign.candidates.n} rows")] if campaign.candidates else []),
            ]
        )
    )
    show(_parameters(campaign), _sources(campaign, tried))


def _parameters(campaign: Campaign) -> Table:
    from ..report.words import kind_words, number, unit_sign, value_words

    made = table("parameter", "kind", "from", "to", "unit", right=(2, 3))
    for name, p in campaign.parameters.items():
        values: Any = getattr(p, "choices", None) or getattr(p, "levels", None)
        if values:
            made.add_row(name, kind_words(p), value_words(values[0]), value_words(values[-1]), unit_sign(p.unit))
        elif p.kind in ("fixed", "derived"):
            made.add_row(name, p.kind, value_words(getattr(p, p.kind.replace("fixed", "value"))), "", unit_sign(p.unit))
        else:
            bounds: Any = p
            made.add_row(name, kind_words(p), number(bounds.low), number(bounds.high), unit_sign(p.unit))
    return made


def _sources(campaign: Campaign, tried: list[Tried]) -> Table:
    from ..report.words import amount, duration, number, printable

    made = table("source", "kind", "code", "cost", "budget holds", "tried", right=(4,))
    for name, spec in campaign.sources.items():
        cost = ", ".join(amount(r, x) for r, x in campaign.cost_of(name).items() if r != "trials") or "nothing"
        n = holds(campaign, name)
        own = [t for t in tried if t.source == name]
        last = own[-1] if own else None
        words = "not touched"
        if last is not None:
            values = ", ".join(f"{r} {number(x, 3)}" for r, x in last.values.items())
            words = f"FAILED: {last.message}" if last.message else f"{values} in {duration(last.seconds)}"
        made.add_row(name, spec.kind, spec.target, cost, "no end" if n is None else str(n), printable(words))
    return made
