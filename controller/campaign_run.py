"""Running a campaign: the ledger, the hands and the loop put together."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .bench import benches
from .campaign import Campaign
from .errors import CampaignError
from .ledger import Ledger
from .loop import Watch, quiet, run_loop
from .records import Noted, Started
from .state import State, TrialState, evolve, replay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .executor import Executor
    from .source import Binding

ExecutorName = Literal["ray", "inline"]


@dataclass(frozen=True)
class Best:
    """The best reading of the target source."""

    number: int
    setting: Mapping[str, float | int | str]
    reading: object  # a Reading; its values by response
    objective: float  # the goal's expression at the reading, or its distance to the target value
    is_feasible: bool  # whether the reading keeps the goal's constraints


@dataclass(frozen=True)
class Result:
    """What a campaign came to."""

    state: State

    @property
    def best(self) -> Best | None:
        """The best reading: feasible ones first; None before the first reading of the target source."""
        return best_of(self.state.campaign, self.state.best)

    @property
    def spent(self) -> dict[str, float]:
        """What was spent of each resource; time in seconds."""
        return dict(self.state.spent)

    @property
    def why_stopped(self) -> str:
        """The reason of the stop; empty while the campaign is not over."""
        return self.state.stopped.reason if self.state.stopped else ""


def best_of(campaign: Campaign, found: TrialState | None) -> Best | None:
    """A trial as the best of its campaign."""
    if found is None or found.reading is None:
        return None
    values = found.reading.values
    return Best(
        number=found.trial.number,
        setting=found.trial.setting,
        reading=found.reading,
        objective=campaign.goal.in_words(campaign.goal.objective(values)),
        is_feasible=campaign.goal.is_feasible(values),
    )


def run(
    campaign: Campaign,
    *,
    ledger: str | Path = "closedloop.db",
    executor: ExecutorName = "ray",
    address: str | None = None,
    watch: Watch = quiet,
) -> Result:
    """Run a campaign to its stop; go on where it stands if the ledger has it already.

    Args:
        campaign: the declaration.
        ledger: the SQLite file; made if absent.
        executor: "ray": each source in a process of its own; "inline": all in this process.
        address: of a Ray cluster to join; a local Ray is started if absent.
        watch: called with the state and the event after each event was written.

    Raises:
        CampaignError: before anything runs, if the campaign does not fit its sources or the ledger's declaration.
        SourceError: before anything runs, if a source cannot be connected.
        LeaseHeld: if another controller runs this campaign in this ledger.
        KeyboardInterrupt: on Ctrl-C, after the instruments were made safe and the ledger was closed.
    """
    campaign = campaign.resolve()
    with Ledger.open(ledger, campaign.name) as book:
        state = replay(campaign, book.events())
        check_same(campaign, book)
        if state.stopped:
            return Result(state)
        with benches(campaign) as bindings, hands(executor, bindings, book, address=address) as workers:
            if not state.is_started:
                state = start(state, book, watch=watch)
            try:
                return Result(run_loop(state, book, workers, watch=watch))
            except KeyboardInterrupt:
                workers.make_safe()
                book.append(Noted(text="interrupted; the instruments were told to be safe"))
                raise


def start(state: State, book: Ledger, *, watch: Watch = quiet) -> State:
    """The state after ``Started`` was written."""
    found = {**provenance(), "folder": str(state.campaign.folder or Path.cwd())}  # where relative sources start
    event = book.append(Started(campaign=state.campaign.to_dict(), provenance=found))
    state = evolve(state, event)
    watch(state, event)
    return state


def check_same(campaign: Campaign, book: Ledger) -> None:
    """Refuse a declaration that is not the one the ledger began with.

    Raises:
        CampaignError: naming the first key that differs.
    """
    begun = next((e for e in book.events() if isinstance(e, Started)), None)
    if begun is None:
        return
    old, new = begun.campaign, campaign.to_dict()
    changed = [k for k in new if new[k] != old.get(k)]
    if changed:
        raise CampaignError(
            f"{changed[0]}: differs from what campaign {campaign.name!r} began with in this ledger "
            f"(then {str(old.get(changed[0]))[:120]}); give the changed campaign another name, or another --ledger"
        )


@contextmanager
def hands(
    executor: ExecutorName, bindings: Mapping[str, Binding], book: Ledger, *, address: str | None
) -> Iterator[Executor]:
    """The executor, closed at the end with its instruments made safe."""
    workers: Executor
    if executor not in ("inline", "ray"):
        raise CampaignError(f"executor {executor!r} is unknown; use 'ray' or 'inline'")
    if executor == "inline":
        from .executor import InlineExecutor

        workers = InlineExecutor(bindings, inbox=book.inbox)
    else:
        from .actors import RayExecutor

        workers = RayExecutor(bindings, inbox=book.inbox, address=address)
    try:
        yield workers
    finally:
        workers.make_safe()
        workers.close()


def provenance() -> dict[str, str]:
    """What made the decisions: versions and the machine."""
    from importlib.metadata import PackageNotFoundError, version

    names = ("closedloop", "torch", "botorch", "gpytorch", "numpy", "scipy", "ray")
    found = {"python": platform.python_version(), "platform": platform.platform(), "host": platform.node()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
