"""The usable readings as arrays: what every belief is told.

Readings are only ever added, so a longer ``Observations`` shares its arrays with the shorter ones before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from ..space import Array, Space


@dataclass(frozen=True)
class Members:
    """One run of a simulator with many values of its unknowns."""

    unknowns: Array  # (N, p)
    Y: Array  # (N, m)


@dataclass(frozen=True)
class Observations:
    """The readings of one source, oldest first."""

    trials: Sequence[int]
    X_set: Array  # (n, c) requested setting, in the unit cube
    X: Array  # (n, c) achieved setting; may lie a little outside the cube
    Y: Array  # (n, m)
    sd: Array  # (n, m) of the reading; NaN where the source gave none
    members: Sequence[Members | None]  # of an ensemble run, one a reading

    def __len__(self) -> int:
        return len(self.trials)


@dataclass(frozen=True)
class Evidence:
    """All that the sources have answered, and what has been asked of them and not yet answered."""

    space: Space
    responses: tuple[str, ...]
    target: str  # the source at which the goal is to be reached
    observations: Mapping[str, Observations]
    pending: Mapping[str, Array] = field(default_factory=dict)  # (n, c) a source: asked of it and not answered
    infeasible: Mapping[str, Array] = field(default_factory=dict)  # (n, c) a source: it failed or was refused there
    spaces: Mapping[str, Space] = field(default_factory=dict)  # what each source may be asked for, where it is less
    answers: tuple[tuple[int, int], ...] = ()  # of people: trials of the target, the better one and the worse one

    def of(self, source: str) -> Observations:
        """The readings of a source, perhaps none."""
        return self.observations.get(source) or self._none

    def space_of(self, source: str) -> Space:
        """What a source may be asked for: the space, less what its guard forbids; the same cube."""
        return self.spaces.get(source, self.space)

    def asked_now(self, source: str) -> Array:
        """(n, c): what was asked of a source and read, at the context as it is now."""
        return self.space_of(source).at_context(self.of(source).X_set)

    def pending_at(self, source: str) -> Array:
        """(n, c): settings asked of a source and not answered."""
        return self.pending.get(source, np.empty((0, self.space.n_columns)))

    def infeasible_at(self, source: str) -> Array:
        """(n, c): settings at which a source failed, or which its guard refused."""
        return self.infeasible.get(source, np.empty((0, self.space.n_columns)))

    @cached_property
    def _none(self) -> Observations:
        return Readings.none(self.space.n_columns, len(self.responses)).observations


class _Shared:
    """What all the readings of one source share: an array with room to grow, and lists beside it."""

    def __init__(self, width: int) -> None:
        self.rows = np.empty((16, width))
        self.trials: list[int] = []
        self.members: list[Members | None] = []

    def first(self, n: int) -> _Shared:
        """A copy of the first n, to grow another way."""
        other = _Shared(self.rows.shape[1])
        other.rows, other.trials, other.members = self.rows[:n].copy(), self.trials[:n], self.members[:n]
        return other


class _Prefix(Sequence):  # type: ignore[type-arg]
    """The first n of a list that may grow behind it."""

    def __init__(self, items: list, n: int) -> None:  # type: ignore[type-arg]
        self._items, self._n = items, n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
        if isinstance(i, slice):
            return [self._items[k] for k in range(*i.indices(self._n))]
        if not -self._n <= i < self._n:
            raise IndexError(i)
        return self._items[i % self._n]


@dataclass(frozen=True)
class Readings:
    """The growing table behind ``Observations``; ``with_reading`` costs the same however long it is."""

    n_columns: int
    n_responses: int
    shared: _Shared
    n: int = 0

    @classmethod
    def none(cls, n_columns: int, n_responses: int) -> Readings:
        """No reading yet."""
        return cls(n_columns, n_responses, _Shared(2 * n_columns + 2 * n_responses))

    def with_reading(
        self, trial: int, *, x_set: Array, x: Array, y: Array, sd: Array, members: Members | None
    ) -> Readings:
        """One reading more; this value stays as it is."""
        shared = self.shared
        if len(shared.trials) != self.n:  # somebody else grew from here: the histories part
            shared = shared.first(self.n)
        if len(shared.rows) == self.n:
            shared.rows = np.concatenate([shared.rows, np.empty_like(shared.rows), np.empty((1, shared.rows.shape[1]))])
        shared.rows[self.n] = np.concatenate([x_set, x, y, sd])
        shared.trials.append(trial)
        shared.members.append(members)
        return replace(self, shared=shared, n=self.n + 1)

    @cached_property
    def observations(self) -> Observations:
        """As arrays; nothing is copied."""
        c, m = self.n_columns, self.n_responses
        rows = self.shared.rows[: self.n]
        rows.flags.writeable = False
        return Observations(
            trials=_Prefix(self.shared.trials, self.n),
            X_set=rows[:, :c],
            X=rows[:, c : 2 * c],
            Y=rows[:, 2 * c : 2 * c + m],
            sd=rows[:, 2 * c + m :],
            members=_Prefix(self.shared.members, self.n),
        )
