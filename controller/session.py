"""The same mind with somebody else's hands: suggest and ingest, on the same ledger.

Laws:
    * What the policy says a person must approve is written down and waits; it is not handed out before.
    * What is suggested keeps the limits and forbidden regions of its source.
    * A session may be used by several threads; each call is whole, and they come one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from .asking import question_of
from .campaign import Campaign
from .campaign_run import Best, best_of, read_state, start
from .costing import cheapest_cost
from .decide import assimilate, propose
from .entry import enter
from .errors import ApprovalNeeded, CampaignError, ClosedLoopError
from .evolve import why_not
from .experiments import Experiment, planned
from .ledger.writer import Ledger
from .reading import reading_of, sentence, short, whole
from .recalling import check_recallable
from .recommending import recommended_of
from .records import AnyEvent, Approved, Failed, Noted, Observed, Preferred, Proposed, Reading, Refused, Setting, Trial
from .report.lookup import KEEPING
from .state import State, replaced
from .stopping import declared_rule
from .supervise import quarantine
from .switching import in_order

if TYPE_CHECKING:
    from .design.recommend import Recommended

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Waiting:
    """A trial that a person must approve before it is handed out, and why."""

    trial: Trial
    why: str


def _alone(method: Callable[Concatenate[Session, P], T]) -> Callable[Concatenate[Session, P], T]:
    """One thread at a time."""

    @wraps(method)
    def called(self: Session, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock:
            return method(self, *args, **kwargs)

    return called


class Session:
    """A campaign that is carried out by hand or by another program.

    Example:
        >>> with Session(campaign, ledger="lab.db") as session:
        ...     trial, = session.suggest(1)
        ...     session.ingest(trial.number, {"hardness": 61.2})
    """

    def __init__(self, campaign: Campaign, *, ledger: str | Path = "closedloop.db") -> None:
        campaign = campaign.resolve()
        check_recallable(campaign, Path(ledger))
        self._lock = RLock()
        self._book = Ledger.open(ledger, campaign.name, keeping=KEEPING)
        try:
            self.state: State = read_state(campaign, self._book)
            self.state = start(self.state, self._book)
            self._take_mail()
        except BaseException:
            self._book.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @_alone
    def close(self) -> None:
        """Give the campaign back, so that another controller may write it."""
        self._book.close()

    @property
    def pending(self) -> tuple[Trial, ...]:
        """The trials that were suggested, may be carried out and are not answered, oldest first."""
        return self._pending()

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """The trials that wait for a person's approval, and why, oldest first."""
        return self._waiting()

    @property
    def best(self) -> Best | None:
        """The best reading of the target source so far."""
        state = self.state
        return best_of(state.campaign, state.best)

    @property
    def front(self) -> tuple[Best, ...]:
        """The Pareto front of the target's feasible readings; of one objective the best alone."""
        state = self.state
        return tuple(b for t in state.front if (b := best_of(state.campaign, t)) is not None)

    @property
    def recommended(self) -> Recommended | None:
        """The setting that is believed best at the target source, whatever single readings said."""
        return recommended_of(self.state)

    @_alone
    def suggest(
        self, n: int = 1, *, source: str | None = None, context: Mapping[str, Any] | None = None
    ) -> tuple[Trial, ...]:
        """The next ``n`` trials, written down as proposed, without those that a person must approve: see ``waiting``.

        Where a change of setting costs, they stand in the order of the cheapest way through them.

        Args:
            n: how many.
            source: who will answer; the target source if absent.
            context: what is measured and not set, as it is now; as it was read last where it is not given.

        Raises:
            CampaignError: if there is no such source, if n is below one, or if the context is none of the campaign.
            ApprovalNeeded: if every one of them waits for approval, or if as many wait already: then nothing more is
                proposed; where fewer wait, only what is missing.
            ClosedLoopError: if the campaign is over, or if the budget does not hold n trials more.
        """
        self._take_mail()
        source, n = self._known(source), whole(n, what="n", remedy="ask for at least one suggestion")
        if n < 1:
            raise CampaignError(f"n = {n}: ask for at least one suggestion")
        self._check_open_to_suggestions(source)
        n_missing = max(n - self.state.n_waiting(source), 0)
        self._check_affordable(source, n_missing)
        given = self._context(context)
        proposed = [self._suggest_one(source, given) for _ in range(n_missing)]
        ready = in_order(self.state, source, [event.trial for event in proposed if not event.asks])
        if not ready:
            raise self._approval_needed(source)
        return ready

    @_alone
    def approve(self, trial: int, *, by: str, setting: Setting | None = None) -> Trial:
        """Let a trial go ahead that waits for approval, perhaps at another setting; from then on it is ``pending``.

        Args:
            trial: its number.
            by: who approves; ``approval.people`` may.
            setting: what is changed of it.

        Raises:
            CampaignError: if it does not wait, if ``by`` may not approve it, or if the changed setting is outside the
                space or beyond what the guard of its source allows.
        """
        self._take_mail()
        self._check_waits(trial, "approved")
        self._say(Approved(trial=trial, by=sentence(by, what="by"), setting=setting or {}))
        return self.state.trials[trial].trial

    @_alone
    def refuse(self, trial: int, *, by: str, reason: str) -> None:
        """Take back a trial that waits for approval, or one that was suggested and is not carried out.

        Raises:
            CampaignError: if it is neither.
        """
        self._take_mail()
        known = self.state.trials.get(trial)
        if known is None or known.status != "approved":
            self._check_waits(trial, "refused")
        self._say(Refused(trial=trial, by=sentence(by, what="by"), reason=sentence(reason, what="reason")))

    @property
    def question(self) -> tuple[int, int] | None:
        """Where the goal is to please: the two trials whose comparison helps most; None if there are none."""
        return question_of(self.state)

    @_alone
    def prefer(self, better: int, worse: int, *, by: str = "person") -> None:
        """Record that what trial ``better`` gave is liked better than what ``worse`` gave; the next decision knows.

        Raises:
            CampaignError: if the goal is another one, or if one of the two is no reading of the target.
        """
        self._take_mail()
        self._say(Preferred(better=better, worse=worse, by=sentence(by, what="by")))

    @_alone
    def ingest(self, trial: int, answer: Mapping[str, Any] | Reading) -> None:
        """Record what a trial gave, and correct the belief.

        Args:
            trial: its number.
            answer: the responses by name, or a ``Reading`` with standard deviations and the achieved setting.

        Raises:
            CampaignError: if the trial is not pending, or if a response is missing or not a finite number. Keys
                that are no responses are kept as ``info``.
        """
        self._take_mail()
        trial = whole(trial, what="trial", remedy="give the number of a pending trial")
        reading = self._reading(answer, what=f"trial {trial}")
        self._check_open(Observed(trial=trial, reading=reading))
        self._append(Observed(trial=trial, reading=reading))
        self._learn()

    @_alone
    def fail(self, trial: int, reason: str) -> None:
        """Record that a trial gave nothing."""
        self._take_mail()
        trial = whole(trial, what="trial", remedy="give the number of a pending trial")
        failure = Failed(trial=trial, cause="error", message=sentence(reason, what="reason"))
        self._check_open(failure)
        self._append(failure)

    @_alone
    def add(self, setting: Setting, answer: Mapping[str, Any] | Reading, *, source: str | None = None) -> Trial:
        """Record an experiment that the agent did not suggest; it is forecast before it is assimilated.

        It was done, so it is charged even where the budget does not hold it.

        Raises:
            CampaignError: if the setting is not in the space, or the answer or the source does not fit.
            ClosedLoopError: if the campaign is over.
        """
        answer = self._reading(answer, what="the added experiment")
        return self.record([Experiment(setting=setting, answer=answer)], source=source)[0]

    @_alone
    def record(self, experiments: Iterable[Experiment], *, source: str | None = None) -> tuple[Trial, ...]:
        """Record many experiments, done or under way, suggested or not; the belief learns from all of them together.

        Raises:
            CampaignError: before any is written, if one does not fit.
            ClosedLoopError: if the campaign is over.
        """
        self._take_mail()
        plans = planned(self.state, experiments, self._known(source))
        for _, events in plans:
            for event in events:
                self._append(event)
        self._learn()
        return tuple(trial for trial, _ in plans)

    @_alone
    def _pending(self) -> tuple[Trial, ...]:
        self._take_mail()
        return tuple(self.state.trials[n].trial for n in self.state.running)

    @_alone
    def _waiting(self) -> tuple[Waiting, ...]:
        self._take_mail()
        waiting = (self.state.trials[n] for n in self.state.waiting)
        return tuple(Waiting(known.trial, known.asks) for known in waiting)

    def _context(self, given: Mapping[str, Any] | None) -> Setting:
        """What was measured, if it is of the campaign's context."""
        if given is not None and not isinstance(given, Mapping):
            raise CampaignError(f"context = {short(given)} is no context; give a dict of {self.state.context_names}")
        known = self.state.context_names
        if strange := [name for name in given or {} if name not in known]:
            rule = f"the context is {', '.join(known)}" if known else "no parameter of this campaign is a context"
            raise CampaignError(f"context {strange[0]!r}: {rule}; correct the name, or leave it out")
        return self.state.campaign.space.check_achieved(given or {})

    def _suggest_one(self, source: str, context: Setting) -> Proposed:
        self._check_rules()
        event = propose(replaced(self.state, given=context), [source], by="session")
        self._check_rules(event)
        if event is None:
            n_failed = self.state.failures_in_a_row.get(source, 0)
            raise ClosedLoopError(f"no suggestion: {source!r} failed {n_failed} times in a row; repair it first")
        self._append(event)
        return event

    def _check_rules(self, proposed: Proposed | None = None) -> None:
        """Refuse to go on where what the campaign declares says to stop."""
        verdict = declared_rule(self.state.campaign.stop).verdict(self.state, proposed)
        if verdict is not None:
            raise ClosedLoopError(f"no suggestion: the campaign's rule to stop holds: {verdict.reason}")

    def _approval_needed(self, source: str) -> ApprovalNeeded:
        waiting = [w for w in self._waiting() if w.trial.source == source]
        numbers = [w.trial.number for w in waiting]
        why = "; ".join(f"trial {w.trial.number}: {w.why}" for w in waiting)
        people = self.state.campaign.sources[source].approval.people
        who = f" by {' or '.join(people)}" if people else ""
        first = numbers[0]
        return ApprovalNeeded(
            f"no suggestion yet: all that was proposed waits for approval{who} ({why}); approve each, with "
            f"session.approve({first}, by=...) or 'closedloop approve {first}', or refuse it; then it is in "
            "session.pending",
            numbers,
        )

    def _check_waits(self, trial: int, word: str) -> None:
        known = self.state.trials.get(trial)
        if known is not None and known.status == "proposed":
            return
        waiting = ", ".join(map(str, self.state.waiting)) or "none"
        is_what = "was never proposed" if known is None else f"is {known.status}"
        raise CampaignError(
            f"trial {trial} {is_what}; only one that waits for approval can be {word} (waiting: {waiting})"
        )

    def _say(self, event: Approved | Refused | Preferred) -> None:
        """Enter a person's word; raise why it was not taken."""
        self.state, written = enter(self.state, self._book, event)
        if isinstance(written, Noted):
            raise CampaignError(written.text)

    def _check_open_to_suggestions(self, source: str) -> None:
        state = self.state
        if state.paused:
            raise ClosedLoopError(
                f"no suggestion: paused by {state.paused.by} ({state.paused.reason}); resume it first"
            )
        if state.ending:
            raise ClosedLoopError(f"no suggestion: {state.ending.by} asked for the end; begin another campaign")
        doubts = [n for n in state.doubts if state.trials[n].trial.source == source]
        if doubts:
            raise ClosedLoopError(
                f"no suggestion: whether trial {doubts[0]} was carried out on {source!r} is unknown; ingest it, "
                "or approve or refuse it first"
            )

    def _check_affordable(self, source: str, n: int) -> None:
        """All n or none, so that no suggestion is written that nobody is told of."""
        cost = {r: n * amount for r, amount in cheapest_cost(self.state, source).items()}
        if self.state.can_afford(cost):
            return
        budget, spent, reserved = self.state.campaign.budget_amounts, self.state.spent, self.state.reserved
        left = {r: limit - spent.get(r, 0.0) - reserved.get(r, 0.0) for r, limit in budget.items()}
        words = ", ".join(f"{amount:g} {r} left and {cost.get(r, 0.0):g} needed" for r, amount in left.items())
        raise ClosedLoopError(f"no suggestion: the budget does not hold {n} more of {source!r} ({words})")

    def _known(self, source: str | None) -> str:
        """The source, or the target where none is named; refused where the campaign is over."""
        source = source if source is not None else self.state.campaign.target
        if source not in self.state.campaign.sources:
            raise CampaignError(f"source {source!r} is unknown; known: {', '.join(self.state.campaign.sources)}")
        if self.state.stopped:
            raise ClosedLoopError(f"the campaign is over: {self.state.stopped.reason}; begin another one")
        return source

    def _take_mail(self) -> None:
        """Enter what other processes posted while this session holds the lease."""
        for event in self._book.inbox():
            self._append(event)
        self._learn()

    def _learn(self) -> None:
        """Correct the belief by what is fresh, outliers set aside."""
        while self.state.fresh:
            self._append(quarantine(self.state) or assimilate(self.state))

    def _reading(self, answer: Mapping[str, Any] | Reading, *, what: str) -> Reading:
        try:
            return reading_of(answer, tuple(self.state.campaign.responses), what=what, space=self.state.campaign.space)
        except ValueError as error:
            raise CampaignError(str(error)) from error

    def _check_open(self, answer: Observed | Failed) -> None:
        """Refuse a second answer; a late one, to a trial that was given up, is taken."""
        if fault := why_not(self.state, answer):
            pending = ", ".join(map(str, self.state.running)) or "none"
            raise CampaignError(f"{fault}; pending: {pending}")

    def _append(self, event: AnyEvent) -> None:
        self.state, _ = enter(self.state, self._book, event)
