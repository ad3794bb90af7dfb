"""Every error that closedloop raises on purpose: one base, few children, split by who can act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


class ClosedLoopError(Exception):
    """The base. Its text is one message for a person: name, value, rule, remedy."""

    exit_code = 1
    unsafe: Mapping[str, str] = MappingProxyType({})  # instruments that may not be safe after it, and why


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a declaration: where, and what with its rule and remedy."""

    path: tuple[str | int, ...]
    text: str
    line: int | None = None


class CampaignError(ClosedLoopError, ValueError):
    """The author of the campaign can mend it; nothing has run.

    ``problems`` holds each problem apart where there are several.
    """

    exit_code = 2

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class ApprovalNeeded(ClosedLoopError):
    """A person can mend it: every trial that was suggested waits for approval. ``trials`` holds their numbers."""

    exit_code = 7

    def __init__(self, message: str, trials: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.trials = tuple(trials)


class SourceError(ClosedLoopError):
    """Whoever keeps the instrument or wrote the simulator can mend it."""

    exit_code = 3


class OutcomeUnknown(SourceError):
    """A driver raises this when a command may have been carried out but no answer came."""


class InvalidReading(SourceError):
    """A driver raises this when the device answered and its answer must not be believed: overload, bad quality.

    ``info`` is kept beside the trial: the raw reply, the quality.
    """

    def __init__(self, message: str, **info: object) -> None:
        super().__init__(message)
        self.info = info


class LedgerError(ClosedLoopError):
    """Whoever keeps the ledger's file can mend it."""

    exit_code = 4


class LeaseHeld(LedgerError):
    """Another controller writes this campaign; the message names it."""

    exit_code = 5


class BeliefError(ClosedLoopError):
    """The data cannot carry the model that was asked for."""

    exit_code = 6
