"""Running a campaign: the ledger, the hands and the loop put together."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .bench import benches
from .campaign import Campaign
from .errors import CampaignError, ClosedLoopError
from .evolve import evolve, replay
from .guard.fence import device_key, ledger_key
from .guard.gates import Gates, is_fenced
from .leaving import LEFT_BY, Leaving, undisturbed
from .ledger.rows import uncollected
from .ledger.writer import Ledger
from .loop import Hands, Watch, quiet, run_loop
from .perform import unsafe
from .provenance import provenance
from .ready import check_ready
from .recalling import check_recallable, to_recall
from .recommending import recommended_of
from .records import Amended, Failed, Noted, Resumed, Started
from .report.lookup import KEEPING
from .source_spec import SourceSpec
from .state import State, TrialState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .design.recommend import Recommended
    from .executor import Executor
    from .records import AnyEvent
    from .source import Binding

ExecutorName = Literal["ray", "inline"]


@dataclass(frozen=True)
class Best:
    """The best reading of the target source."""

    number: int
    setting: Mapping[str, float | int | str]
    reading: object  # a Reading; its values by response
    objective: float | None  # the goal's expression at the reading, or its distance to the target; None of several
    is_feasible: bool  # whether the reading keeps the goal's constraints
    objectives: Mapping[str, float] = field(default_factory=dict)  # the same of each objective, by its expression


@dataclass(frozen=True)
class Result:
    """What a campaign came to."""

    state: State
    unsafe: Mapping[str, str] = field(default_factory=dict)  # instruments that may not be safe, and why

    @property
    def best(self) -> Best | None:
        """The best reading: feasible ones first; None before the first reading of the target source.

        Of a trade-off the reading on the front that is nearest to the best of each objective.
        """
        return best_of(self.state.campaign, self.state.best)

    @property
    def front(self) -> tuple[Best, ...]:
        """The Pareto front of the feasible readings; of one objective the best alone."""
        found = (best_of(self.state.campaign, t) for t in self.state.front)
        return tuple(b for b in found if b is not None)

    @property
    def recommended(self) -> Recommended | None:
        """The setting that is believed best at the target source, with mean and standard deviation there.

        Where readings are noisy, the best of them flatters itself: go on with this one. None for a trade-off, and where
        no best setting is sought.
        """
        return recommended_of(self.state)

    @property
    def spent(self) -> dict[str, float]:
        """What was spent of each resource; time in seconds."""
        return dict(self.state.spent)

    @property
    def why_stopped(self) -> str:
        """The reason of the stop, or of the pause; empty while the campaign goes on."""
        if self.state.stopped:
            return self.state.stopped.reason
        if self.state.paused:
            return f"paused by {self.state.paused.by}: {self.state.paused.reason}"
        return "; ".join(waits_for(self.state))


def waits_for(state: State) -> list[str]:
    """What people are asked to decide, one line each."""
    lines = [f"trial {n} waits for approval: {state.trials[n].asks}" for n in state.waiting]
    doubts = [n for n in state.doubts if state.trials[n].doubt == "asked"]
    lines += [f"trial {n} is in doubt: whether it was carried out is unknown" for n in doubts]
    sources = state.campaign.sources
    return lines + [f"trial {n} waits for its result" for n in state.running if _is_by_hand(state.trials[n], sources)]


def _is_by_hand(known: TrialState, sources: Mapping[str, SourceSpec]) -> bool:
    return not known.is_ours or sources[known.trial.source].is_manual


def best_of(campaign: Campaign, found: TrialState | None) -> Best | None:
    """A trial as the best of its campaign."""
    if found is None or found.reading is None:
        return None
    values, goal = found.reading.values, campaign.goal
    objectives = {aim.text: aim.in_words(aim.objective(values)) for aim in goal.aims}
    return Best(
        number=found.trial.number,
        setting=found.trial.setting,
        reading=found.reading,
        objective=next(iter(objectives.values())) if len(objectives) == 1 else None,
        is_feasible=goal.is_feasible(values),
        objectives=objectives,
    )


def run(
    campaign: Campaign,
    *,
    ledger: str | Path = "closedloop.db",
    executor: ExecutorName = "ray",
    address: str | None = None,
    watch: Watch = quiet,
    patience_s: float | None = None,
    leaving: Leaving | None = None,
    resumed_by: str | None = None,
) -> Result:
    """Run a campaign to its stop; go on where it stands if the ledger has it already.

    Args:
        campaign: the declaration.
        ledger: the SQLite file; made if absent.
        executor: "ray": each source in a process of its own; "inline": all in this process.
        address: of a Ray cluster to join; a local Ray is started if absent.
        watch: called with the state and the event after each event was written.
        patience_s: how long to wait when only people can go on: a manual trial, an approval, a trial in doubt, a
            pause. Then this returns, and the same call goes on later. 0: not at all; None: for ever where people were
            asked for an answer or a guard resumes by itself, and not at all in another pause; ``math.inf``: for ever.
        leaving: asked to leave, the loop finishes what runs, pauses and returns.
        resumed_by: who resumes the campaign, where it is paused; None: only a pause of leaving ends by itself.

    Raises:
        CampaignError: before anything runs, if the campaign does not fit its sources or the ledger's declaration.
        SourceError: before anything runs, if a source cannot be connected.
        LeaseHeld: if another controller runs this campaign in this ledger.
        KeyboardInterrupt: on Ctrl-C, after the instruments were made safe and the ledger was closed.
    """
    campaign = campaign.resolve()
    leaving = leaving or Leaving()
    check_ready(campaign, is_here=address is None)
    check_recallable(campaign, Path(ledger))
    with Ledger.open(ledger, campaign.name, keeping=KEEPING) as book:
        state = read_state(campaign, book)
        campaign = campaign.standing_for(state.campaign)  # as it was amended
        if state.stopped:
            return Result(state)
        with (
            benches(campaign, beside=book.path) as bindings,
            hands(executor, bindings, book, address=address, leaving=leaving) as workers,
        ):
            ours = Hands(book, workers, watch, leaving)
            state = start(state, book, watch=watch)
            if resumed_by or set(state.pauses) == {LEFT_BY}:  # a pause of people or guards is theirs to end
                by = resumed_by or getpass.getuser()
                state = ours.write(state, Resumed(by=by, reason="started again")) if state.paused else state
            try:
                state = ours.heed(run_loop(state, ours, patience_s=lambda: 0.0 if leaving.is_asked else patience_s))
            except KeyboardInterrupt:
                _end(campaign, ours, is_interrupted=True)
                raise
            except BaseException as error:
                with suppress(ClosedLoopError):  # the first fault is the one to tell
                    _end(campaign, ours, error=error)
                raise
            return Result(state, unsafe=_end(campaign, ours))


def _end(
    campaign: Campaign, ours: Hands, *, is_interrupted: bool = False, error: BaseException | None = None
) -> dict[str, str]:
    """The instruments are made safe; by name and written down, those that may not be."""
    with undisturbed():
        faults = ours.executor.make_safe()
    if isinstance(error, ClosedLoopError):
        error.unsafe = faults  # it may be that nothing can be written any more
    if is_interrupted or faults:
        state = replay(campaign, ours.ledger.stream())  # where it was broken off, nobody knows how far it was
        for name, fault in faults.items():
            state = ours.write(state, unsafe(name, fault))
        if is_interrupted:
            _interrupted(state, ours)
    return faults


def _interrupted(state: State, ours: Hands) -> None:
    """Nothing stays under way in the ledger that is under way no more."""
    for number in state.running:
        if state.trials[number].status == "acting":
            message = "interrupted, and the instrument made safe; whether it was carried out is unknown"
            state = ours.write(state, Failed(trial=number, cause="unknown", message=message, is_in_doubt=True))
    ours.write(state, Noted(text="interrupted; the instruments were told to be safe"))


def start(state: State, book: Ledger, *, watch: Watch = quiet) -> State:
    """The state once ``Started`` is written, and what is recalled; what stands there already is not written again.

    Raises:
        CampaignError: before anything is written, if an earlier campaign cannot be recalled.
    """
    events: list[AnyEvent] = [*to_recall(state, book.path)]
    if not state.key:
        found = provenance(state.campaign)
        begun = Started(campaign=state.campaign.to_dict(), provenance=found, key=uuid.uuid4().hex[:12])
        events.insert(0, begun)
    for event in events:
        written = book.append(event)
        state = evolve(state, written)
        watch(state, written)
    return state


def read_state(campaign: Campaign, book: Ledger) -> State:
    """What a ledger adds up to.

    Raises:
        CampaignError: if the declaration is not the one that it holds.
    """
    told: list[Started | Amended] = []

    def listened() -> Iterator[AnyEvent]:
        for event in book.stream():
            if isinstance(event, Started | Amended):
                told.append(event)
            yield event

    with uncollected():
        state = replay(campaign, listened())
    check_same(campaign, told)
    return state


def check_same(campaign: Campaign, events: Sequence[AnyEvent]) -> None:
    """Refuse a declaration that is neither the one the ledger began with nor what that was amended to.

    Raises:
        CampaignError: naming the first key that differs.
    """
    told = [e.campaign for e in events if isinstance(e, Started | Amended)]
    known = [Campaign.trusted(d).to_dict() for d in (told[:1] + told[-1:])]  # an old ledger lacks newer keys
    new = campaign.to_dict()
    if not known or new in known:
        return
    changed = [k for k in new if new[k] != known[-1].get(k)]
    raise CampaignError(
        f"{changed[0]}: differs from what campaign {campaign.name!r} has in this ledger "
        f"({str(known[-1].get(changed[0]))[:120]}); change it with 'closedloop amend', give the changed campaign "
        "another name, or name another --ledger"
    )


@contextmanager
def hands(
    executor: ExecutorName, bindings: Mapping[str, Binding], book: Ledger, *, address: str | None, leaving: Leaving
) -> Iterator[Executor]:
    """The executor, closed at the end."""
    workers: Executor
    if executor not in ("inline", "ray"):
        raise CampaignError(f"executor {executor!r} is unknown; use 'ray' or 'inline'")

    def hear() -> list[AnyEvent]:
        return [*leaving.words(), *book.inbox()]

    devices = {name: device_key(b) for name, b in bindings.items() if is_fenced(b)}
    taken = book.fence(list(devices.values()))
    gates = Gates(book.campaign, ledger_key(book.path), {name: taken[key] for name, key in devices.items()})
    if executor == "inline":
        from .inline import InlineExecutor

        workers = InlineExecutor(bindings, inbox=hear, gates=gates)
    else:
        from .actors.executor import RayExecutor

        workers = RayExecutor(bindings, inbox=hear, address=address, gates=gates)
    try:
        yield workers
    finally:
        with undisturbed():
            workers.close()
