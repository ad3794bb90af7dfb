"""``verify``: whether a ledger is what was written, row by row.

Laws:
    * A row that was changed, removed, re-ordered or inserted is named, unless the whole chain behind it was made anew
      or cut off: only an anchor that is kept elsewhere finds that.
    * The rows are read once, one at a time, in one snapshot; what is kept of them is bounded.
    * Only ``event`` is chained. ``inbox``, ``lease`` and whatever else stands beside it hold what is not yet, or
      never, an event, and may be changed without a trace.
    * What may be a stranger's file is asked for nothing but rows of the table that a ledger has.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import LedgerError
from .anchor import Anchor, Head
from .history import History, Row, read_row
from .reader import opened
from .schema import GENESIS, MIGRATIONS, row_hash

_MOST = 64  # rows that do not follow, and rows that are otherwise wrong, told one by one
_ROWS = "SELECT seq, time, kind, trial, payload, hash FROM event WHERE campaign = ? ORDER BY seq"
_NAMES = """WITH RECURSIVE name(x) AS (
    SELECT min(campaign) FROM event
    UNION ALL SELECT (SELECT min(campaign) FROM event WHERE campaign > x) FROM name WHERE x IS NOT NULL)
    SELECT x FROM name WHERE x IS NOT NULL"""
_SCHEMA = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite|_%' ESCAPE '|'"


@dataclass(frozen=True)
class Problem:
    """What ``verify`` found; ``seq`` is None where it is not about one event."""

    seq: int | None
    text: str


@dataclass(frozen=True)
class Audit:
    """What was found of one campaign."""

    campaign: str
    n_events: int = 0
    head: Head | None = None  # the last row; None where there is none that could be one
    problems: tuple[Problem, ...] = ()  # an empty one is good news

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(path: str | Path, campaign: str | None = None) -> list[Problem]:
    """All that is wrong with a campaign's rows and with the file; an empty list is good news.

    Rows cut from the very end leave no gap, and a chain that was made anew no break: see ``audit`` and its anchors.
    """
    found = audit(path, campaign)
    if campaign is None and len(found) > 1:
        listed = ", ".join(a.campaign for a in found)
        raise LedgerError(f"{path} holds {len(found)} campaigns ({listed}); name one of them")
    return list(found[0].problems) if found else []


def audit(path: str | Path, campaign: str | None = None, *, anchors: Sequence[Anchor] = ()) -> list[Audit]:
    """What is found of one campaign, or of all: those of the ledger, and those that an anchor saw in it.

    Args:
        path: the ledger.
        campaign: its name; None for all.
        anchors: what was kept of the chains' heads; a ledger that has grown since still holds them.

    Raises:
        LedgerError: if the file is no ledger, or the campaign is nowhere.
    """
    with opened(path) as connection:
        # What is no UTF-8 must still be read, to be named.
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        connection.row_factory = None
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("BEGIN")  # one snapshot: a controller may be writing
        of_file = _file_problems(connection, path)
        there = [name for (name,) in connection.execute(_NAMES) if isinstance(name, str)]
        known = list(dict.fromkeys([*there, *(name for a in anchors for name in a.campaigns)]))
        if campaign is not None and campaign not in known:
            listed = ", ".join(known) or "none"
            raise LedgerError(f"campaign {campaign!r} is not in {path} (there: {listed}); correct the name or --ledger")
        found = [_audit_one(connection, name, anchors) for name in known if campaign in (None, name)]
    return [replace(a, problems=(*a.problems, *of_file)) for a in found]


def _audit_one(connection: sqlite3.Connection, name: str, anchors: Sequence[Anchor]) -> Audit:
    chain = _Chain(name, {a.campaigns[name].seq for a in anchors if name in a.campaigns})
    for cells in connection.execute(_ROWS, (name,)):
        chain.follow(Row(*cells))
    anchored = [p for a in anchors if name in a.campaigns for p in _anchor_problems(a, name, chain)]
    return Audit(name, chain.n_rows, chain.head, (*chain.problems(), *anchored))


def _anchor_problems(anchor: Anchor, name: str, chain: _Chain) -> Iterator[Problem]:
    seen, when = anchor.campaigns[name], f"the anchor of {anchor.made:%Y-%m-%d %H:%M}"
    if not chain.n_rows:
        yield Problem(None, f"{when} saw campaign {name!r}, which is not in the ledger: removed, or another ledger's")
    elif seen.seq > chain.last:
        yield Problem(seen.seq, f"{when} saw event {seen.seq}, and the ledger ends with event {chain.last}: cut off")
    elif (now := chain.marked.get(seen.seq)) is not None and now != seen.hash:
        said = f"event {seen.seq} has another hash than {when} saw ({now[:12]} for {seen.hash[:12]})"
        yield Problem(seen.seq, f"{said}: it or an event before it was changed, and the chain made anew")


class _Chain:
    """The rows of one campaign, followed one by one."""

    def __init__(self, campaign: str, marks: set[int]) -> None:
        self.campaign = campaign
        self.n_rows, self.last, self.before = 0, 0, GENESIS
        self.head: Head | None = None
        self.marked: dict[int, str] = {}  # the hashes of the rows that an anchor saw
        self._marks = marks
        self._history: History | None = History()  # None behind a break: what follows would be its consequence
        self._broken: list[tuple[Row, str]] = []  # rows that do not follow, with the hash before them
        self._found: list[Problem] = []
        self._n_more = 0

    def follow(self, row: Row) -> None:
        """One row more."""
        self.n_rows += 1
        if type(row.seq) is not int:
            self._tell(None, f"a row of {self.campaign!r} has no number but {str(row.seq)[:40]!r}: inserted")
            return
        if row.seq > self.last + 1:
            self._tell(self.last + 1, f"{_events(self.last + 1, row.seq - 1)} missing: removed")
            self._history = None
        elif _hash(self.campaign, row, self.before) != row.hash:
            self._break(row)
        else:
            self._look_into(row)
        self.last, self.before = row.seq, row.hash
        if row.seq in self._marks:
            self.marked[row.seq] = str(row.hash)
        self.head = Head.of(row.seq, row.hash, row.time)

    def problems(self) -> list[Problem]:
        """All that was found, in order."""
        befores = [h for row, before in self._broken for h in (before, row.hash)]
        places = [row.seq for row, _ in self._broken[:16]]
        told = [Problem(r.seq, _explain(self.campaign, r, befores, places)) for r, _ in self._broken]
        found = sorted([*self._found, *told], key=lambda p: p.seq or 0)
        more = Problem(None, f"and {self._n_more} rows more are wrong; the first of all tells where it began")
        return [*found, *([more] if self._n_more else [])]

    def _break(self, row: Row) -> None:
        self._history = None
        if len(self._broken) < _MOST:
            self._broken.append((row, self.before))
        else:
            self._n_more += 1

    def _look_into(self, row: Row) -> None:
        event, fault = read_row(row)
        if event is None:
            self._history = None
        elif self._history and (impossible := self._history.tell(event)):
            fault = fault or f"event {row.seq} ({row.kind!s:.40}): {impossible}, so it cannot have happened: forged"
        if fault:
            self._tell(row.seq, fault)

    def _tell(self, seq: int | None, text: str) -> None:
        if len(self._found) < _MOST:
            self._found.append(Problem(seq, text))
        else:
            self._n_more += 1


def _events(first: int, last: int) -> str:
    return f"event {first} is" if first == last else f"events {first} to {last} are"


def _hash(campaign: str, row: Row, before: str, seq: int | None = None) -> str:
    """The hash that the row should have; empty where its cells are no text, as no row that was written."""
    cells = (row.time, row.kind, row.payload, before)
    if not all(isinstance(cell, str) for cell in cells):
        return ""
    number = row.seq if seq is None else seq
    try:
        return row_hash(before, campaign, seq=number, time=row.time, kind=row.kind, payload=row.payload)
    except UnicodeEncodeError:
        return ""


def _explain(campaign: str, row: Row, befores: Sequence[str], places: Iterable[int]) -> str:
    near = {row.seq - 1, row.seq + 1, *places} - {row.seq}
    for place in sorted(near):
        if any(_hash(campaign, row, before, place) == row.hash for before in befores):
            return f"event {row.seq} ({row.kind!s:.40}) was written as event {place}: re-ordered"
    return f"event {row.seq} ({row.kind!s:.40}) does not follow from event {row.seq - 1}: changed or inserted"


def _file_problems(connection: sqlite3.Connection, path: object) -> list[Problem]:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        return [Problem(None, f"schema {version} is newer than this closedloop knows; verify with a newer one")]
    there, ours = _schema(connection), _schema_of(version)
    if there.get(("table", "event")) != ours.get(("table", "event")):
        raise LedgerError(f"{path}: its table 'event' is not a ledger's: changed; take the ledger from a backup")
    changed = [key for key, sql in ours.items() if there.get(key) != sql]
    foreign = [name for kind, name in there.keys() - ours.keys() if kind == "trigger"]
    damaged = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
    return [
        *(Problem(None, f"{kind} {name!r} was removed or changed: {_RISK.get(kind, _LIE)}") for kind, name in changed),
        *(Problem(None, f"trigger {name!r} is none of a ledger's: {_RISK['trigger']}") for name in sorted(foreign)),
        *(Problem(None, f"integrity_check: {text}") for text in damaged),
    ]


_LIE = "what is read may be false"
_RISK = {"trigger": "rows could be altered", "index": "a trial could be answered twice"}


def _schema(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    return {(kind, name): sql for kind, name, sql in connection.execute(_SCHEMA)}


def _schema_of(version: int) -> dict[tuple[str, str], str]:
    """What a ledger of this version holds, by making one."""
    with closing(sqlite3.connect(":memory:")) as made:
        for migration in MIGRATIONS[:version]:
            for statement in migration:
                made.execute(statement)
        return _schema(made)
