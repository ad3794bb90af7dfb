"""What the agent would use for a campaign, and why; and what its author may want to know before it begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .campaign import Campaign
    from .state import State

FEW_PER_PARAMETER = 3  # trials of the target a parameter, below which little is learned of each
MANY_PARAMETERS = 20


@dataclass(frozen=True)
class Advice:
    """One choice: of what, which, and why; ``key`` overrides it in the campaign file."""

    of: str
    choice: str
    why: str
    key: str = ""


def advise(state: State) -> list[Advice]:
    """The choices for a campaign at one place of its ledger; before its start for one that has none."""
    return [*_belief(state), *_start(state), *_design(state), *_sources(state), *cautions(state)]


def _belief(state: State) -> Iterator[Advice]:
    c = state.campaign
    kind = c.belief_kind
    why = {
        "hybrid": f"the simulator {c.mechanistic!r} has unknowns: readings correct them, and a Gaussian process learns "
        "what the simulator cannot say",
        "ensemble": "asked for: the simulator with its unknowns, and no discrepancy",
        "surrogate": "a Gaussian process over settings and sources (Matérn 5/2, a lengthscale a parameter"
        + (", rho and a bias a further source)" if len(c.sources) > 1 else ")"),
        "climatology": "asked for: it chooses nothing, settings fill the space",
    }[kind]
    yield Advice("belief", kind, why if c.belief is None else f"{why} (declared)", "belief")


def _start(state: State) -> Iterator[Advice]:
    from .decide import N_INFORMED, n_initial

    c = state.campaign
    for source in c.sources:
        n, done = n_initial(state, source), state.n_proposed.get(source, 0)
        others = [s for s in c.sources if s != c.target and n_initial(state, s)]
        if source == c.target and others and c.n_initial is None:
            n = min(n, N_INFORMED)
        why = "scrambled Sobol points" if not c.space.is_cut else "scrambled Sobol points that keep the constraints"
        if source == c.target and others:
            why += f"; few, for {' and '.join(others)} go before"
        if source == c.target and c.n_initial is not None:
            why += " (declared)"
        left = f", {min(done, n)} of them done" if done else ""
        yield Advice(f"initial design of {source}", f"{n} trials{left}", why, "n_initial" if source == c.target else "")


def _design(state: State) -> Iterator[Advice]:
    c = state.campaign
    if c.belief_kind == "climatology":
        return
    if c.designer is not None:
        yield Advice("designer", c.designer.generator, "declared: it names the target's settings", "designer")
        return
    yield Advice("acquisition", *_acquisition(c), "method.acquisition" if c.goal.kind == "optimise" else "")
    yield Advice("search", *_search(c), "method.trust_region, method.n_candidates, method.n_starts")


def _acquisition(c: Campaign) -> tuple[str, str]:
    kind = "risk" if c.goal.risk else c.goal.kind
    if kind == "optimise":
        return _improvement(c)
    found = {
        "trade_off": ("log noisy expected hypervolume improvement", "several aims: the front is what is sought"),
        "learn": ("integrated posterior variance", "the response is to be known everywhere"),
        "map": ("expected reduction of what is in doubt", "the border of a region is sought"),
        "risk": ("the gain of the best recommendation under setting noise", "a risk measure is no plain response"),
        "prefer": ("expected utility of the best option", "people's answers tell what is liked"),
    }
    return found[kind]


def _improvement(c: Campaign) -> tuple[str, str]:
    if c.method.acquisition is not None:
        return c.method.acquisition, "declared"
    if c.belief_kind != "surrogate":
        return "log_ei_mc", f"the {c.belief_kind} belief gives joint samples (qLogNEI)"
    if is_linear(c):
        return "log_ei", "the goal is linear in the responses, each of its own: log expected improvement in closed form"
    return "log_ei_mc", "the goal is not linear in the responses, or shares one: qLogNEI by Monte Carlo"


def is_linear(c: Campaign) -> bool:
    """Whether the objective and its constraints are planes in responses of their own."""
    from .design.analytic import planes_of
    from .design.objective import Objective

    names = tuple(r for r in c.responses if r in c.goal.names)
    Y = 1.0 + np.random.default_rng(0).random((8, len(names)))
    return planes_of(Objective.fit(c.goal, names, Y), Y) is not None


def _search(c: Campaign) -> tuple[str, str]:
    space = c.space
    if c.method.trust_region:
        return "a trust region about the best reading, screened and climbed", "declared (TuRBO)"
    if space.table is not None:
        return "screening of the table and its neighbourhoods", "only its rows may be proposed"
    if not space.continuous_columns:
        return "screening and steps to neighbours", "no parameter is continuous"
    if space.has_margins or space.is_tied or space.is_bound:
        return "screening, then SLSQP from the best", "constraints couple the parameters"
    return "screening, then batched L-BFGS-B from the best", "only bounds limit the parameters"


def _sources(state: State) -> Iterator[Advice]:
    c = state.campaign
    if len(c.sources) > 1:
        others = ", ".join(s for s in c.sources if s != c.target)
        yield Advice(
            "choice of source",
            "expected gain at the target per share of the budget",
            f"knowledge gradient; {c.target!r} is the target, {others} may inform it, and between two readings of the "
            "target they spend no more than one of them costs",
        )


def cautions(state: State) -> Iterator[Advice]:
    """What the author of a campaign may want to know before it begins."""
    c = state.campaign
    n, d = c.n_affordable(c.target), c.space.n_set
    if c.goal.kind in ("optimise", "trade_off") and n < FEW_PER_PARAMETER * d:
        yield Advice(
            "warning",
            f"the budget holds {n} trials of {c.target!r}",
            f"{d} parameters want some {FEW_PER_PARAMETER * d} or more: fix some, raise the budget, or add a simulator",
            "budget",
        )
    if d > MANY_PARAMETERS:
        yield Advice("note", f"{d} parameters", "lengthscales are believed to grow with their number, so most may idle")
