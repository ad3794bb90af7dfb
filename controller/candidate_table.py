"""A table of candidates: the only settings that may be proposed, such as the compounds of a library.

The table stands in the declaration, packed, so that a ledger can be replayed without the file. A row is looked up by
its place in the cube; nothing is ever multiplied out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from .choices import Categorical, Ordinal
from .parameters import Continuous

if TYPE_CHECKING:
    from .space import Array, Space

MAX_ROWS = 1_000_000
MAX_NUMBERS = 30_000_000  # rows times columns of the cube: 240 MB
SAME = 1e-9  # of the cube
WIDE = 16  # columns from which a tree looks at every row anyway
BLOCK = 2_000_000  # distances that are held at a time


class Candidates(BaseModel):
    """The table as it is declared and written down: columns of cells, packed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = Field(min_length=1)
    n: int = Field(ge=1, le=MAX_ROWS)
    digest: str  # SHA-256 of what is packed
    packed: str = Field(repr=False)  # JSON by column, zlib, base64
    source: str = ""  # the file's name, for messages

    @classmethod
    def of(cls, columns: Mapping[str, Sequence[Any]], *, source: str = "") -> Candidates:
        """From cells by column, all of one length."""
        plain = {str(k): list(v) for k, v in columns.items()}
        text = json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()
        return cls(
            names=tuple(map(str, columns)),
            n=len(next(iter(columns.values()), ())),
            digest=hashlib.sha256(text).hexdigest(),
            packed=base64.b64encode(zlib.compress(text, 6)).decode(),
            source=source,
        )

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The cells by column, as they were read.

        Raises:
            ValueError: if what is packed is not what was declared.
        """
        return _unpacked(self.packed, self.digest)

    def __hash__(self) -> int:
        return hash(self.digest)


def shortened(data: Any) -> Any:
    """Plain data as it is shown to people: of a packed table only how many rows it has, and its digest."""
    if isinstance(data, Mapping):
        if "packed" in data and "digest" in data:
            return {k: v for k, v in data.items() if k != "packed"} | {"packed": "in the ledger"}
        return {k: shortened(v) for k, v in data.items()}
    return data


@lru_cache(maxsize=2)
def _unpacked(packed: str, digest: str) -> dict[str, list[Any]]:
    try:
        text = zlib.decompress(base64.b64decode(packed))
    except (ValueError, zlib.error) as error:
        raise ValueError("candidates: what is packed cannot be read; take the declaration from a backup") from error
    if hashlib.sha256(text).hexdigest() != digest:
        raise ValueError("candidates: the packed table is not the one of its digest; take it from a backup")
    found: dict[str, list[Any]] = json.loads(text)
    return found


class Table:
    """The candidates as rows of the cube.

    Args:
        digest: of the declared table.
        columns: of the cube that it fills.
        rows: (n, len(columns))
        numbers: (n,) of each numeric parameter as the table has them, NaN where it is not active.
    """

    def __init__(self, digest: str, columns: tuple[int, ...], rows: Array, numbers: Mapping[str, Array]) -> None:
        self.digest, self.columns, self.rows, self.numbers = digest, columns, rows, numbers
        self.rows.flags.writeable = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and (self.digest, self.columns) == (other.digest, other.columns)

    def __hash__(self) -> int:
        return hash((self.digest, self.columns))

    @property
    def n(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def allowed(self, space: Space) -> Index:
        """The rows that the space's constraints, limits and predicates leave."""
        cuts = (space.constraints, space.equalities, space.mixtures, space.limits, space.forbidden, space.predicates)
        return _left_of(space.key) if any(cuts) else self._index

    @cached_property
    def _index(self) -> Index:
        return Index(self.rows)

    @cached_property
    def _by_shadow(self) -> tuple[Array, Array, Any]:
        """A direction, the rows' places along it in order, and which row each is: what finds a row of any width."""
        import numpy as np

        direction: Array = np.random.default_rng(0).uniform(0.5, 1.0, len(self.columns))
        shadow = self.rows @ direction
        order = shadow.argsort()
        return direction, shadow[order], order

    def own(self, row: Array) -> dict[str, Any]:
        """The numbers of the candidate at a row of the cube, to the last bit; none where no candidate stands."""
        import numpy as np

        x = np.asarray(row, dtype=float)[list(self.columns)]
        direction, shadow, order = self._by_shadow
        at, slack = float(x @ direction), SAME * float(direction.sum())
        near = order[np.searchsorted(shadow, at - slack) : np.searchsorted(shadow, at + slack, side="right")]
        away = np.abs(self.rows[near] - x).max(axis=1)
        if not len(near) or not away.min() <= SAME:
            return {}
        k = near[away.argmin()]
        return {n: x[k].item() for n, x in self.numbers.items() if np.isfinite(x[k])}

    def at_quantiles(self, space: Space, q: Array) -> Array:
        """Rows by uniform numbers (n,), in an order in which neighbours lie together, so that strata are spread."""
        import numpy as np

        index = self.allowed(space)
        places = np.minimum((q * len(index.rows)).astype(int), len(index.rows) - 1)
        found: Array = index.rows[index.order[places]]
        return found

    def nearest(self, space: Space, X: Array) -> Array:
        """(n, len(columns)): the allowed row nearest to each row of the cube."""
        index = self.allowed(space)
        found: Array = index.rows[index.closest(X[:, list(self.columns)], 1)[:, 0]]
        return found

    def holds(self, space: Space, X: Array) -> Any:
        """(n,) whether each row of the cube is one of the allowed rows."""
        import numpy as np

        if not len(self.allowed(space).rows):
            return np.zeros(len(X), dtype=bool)
        return (np.abs(self.nearest(space, X) - X[:, list(self.columns)]) <= SAME).all(axis=1)

    def neighbours(self, space: Space, row: Array, k: int) -> Array:
        """(<= k, c) allowed rows of the cube nearest to one, itself among them if it is allowed."""
        import numpy as np

        index = self.allowed(space)
        places = index.closest(row[None, list(self.columns)], min(k, len(index.rows)))[0]
        found = np.tile(row, (len(places), 1))
        found[:, list(self.columns)] = index.rows[places]
        return found


class Index:
    """Rows that can be looked up by their place."""

    def __init__(self, rows: Array) -> None:
        from scipy.spatial import cKDTree

        self.rows = rows
        self._tree: Any = cKDTree(rows) if len(rows) else None
        self.order: Any = getattr(self._tree, "indices", ())

    def closest(self, X: Array, k: int) -> Array:
        """(n, k) the places of the nearest rows, the nearest first."""
        import numpy as np

        if self.rows.shape[1] <= WIDE:
            places = np.asarray(self._tree.query(X, k=k)[1])
            return places.reshape(len(X), k)
        size, found = (self.rows**2).sum(axis=1), []
        step = max(1, BLOCK // len(self.rows))
        for start in range(0, len(X), step):  # the square of x itself changes no order
            D = size - 2.0 * X[start : start + step] @ self.rows.T
            some = np.argpartition(D, k - 1, axis=1)[:, :k] if k < D.shape[1] else np.tile(np.arange(k), (len(D), 1))
            found.append(np.take_along_axis(some, np.take_along_axis(D, some, axis=1).argsort(axis=1), axis=1))
        return np.concatenate(found)


@lru_cache(maxsize=8)
def _left_of(key: tuple[Any, ...]) -> Index:
    """The rows of a space's table that it allows."""
    import numpy as np

    from .cube import pinned
    from .margins import feasible
    from .space import Space

    space = Space.of_key(key)
    assert space.table is not None
    X = np.zeros((space.table.n, space.n_columns))
    X[:, list(space.table.columns)] = space.table.rows
    kept = feasible(space, pinned(space, X), is_in_table=True)
    for name, low, high in space.limits:  # the numbers themselves, for these are what is commanded
        x = space.table.numbers.get(name)
        if x is not None:
            kept &= np.isnan(x) | ((x >= low) & (x <= high))
    return Index(space.table.rows[kept])


def table_of(candidates: Candidates, space: Space) -> Table:
    """The rows of the cube that candidates mean in a space.

    Raises:
        ValueError: naming the column, the row and the cell that does not fit.
    """
    return _table(candidates, space.key)


@lru_cache(maxsize=4)
def _table(candidates: Candidates, key: tuple[Any, ...]) -> Table:
    import numpy as np

    from .space import Space

    space = Space.of_key(key)
    where = f"candidates{f' {candidates.source}' if candidates.source else ''}"
    wanted = [n for n, p in space.varied.items() if not p.context]
    _check_names(where, candidates.names, wanted, space)
    width = sum(space.varied[n].n_columns for n in wanted)
    if candidates.n * width > MAX_NUMBERS:
        raise ValueError(
            f"{where}: {candidates.n} rows of {width} columns are more than {MAX_NUMBERS:g} numbers; describe choices "
            "by descriptors, or split the table"
        )
    cells = candidates.columns
    blocks = [_encoded(space, name, cells[name], where) for name in wanted]
    rows = np.concatenate(blocks, axis=1)
    columns = tuple(c for n in wanted for c in range(space.columns[n].start, space.columns[n].stop))
    if space.conditions:
        _settle(space, rows, columns, cells, where)
    _check_repeats(rows, where)
    numeric = {n: p for n in wanted if not isinstance(p := space.varied[n], Categorical | Ordinal)}
    return Table(candidates.digest, columns, rows, {n: _own_numbers(p, cells[n]) for n, p in numeric.items()})


def _check_names(where: str, names: Sequence[str], wanted: Sequence[str], space: Space) -> None:
    if strange := [n for n in names if n not in wanted]:
        p = space.parameters.get(strange[0])
        why = f"no parameter (parameters: {', '.join(wanted)})" if p is None else _what_is(p)
        raise ValueError(f"{where}: column {strange[0]!r} is {why}; remove it from the table")
    if missing := [n for n in wanted if n not in names]:
        raise ValueError(f"{where}: there is no column {missing[0]!r}; the table must hold every parameter that is set")


def _what_is(p: Any) -> str:
    return "measured, not set" if getattr(p, "context", False) else f"a {p.kind} parameter"


def _encoded(space: Space, name: str, cells: Sequence[Any], where: str) -> Array:
    """(n, k): the columns of one parameter."""
    import numpy as np

    p, is_optional = space.varied[name], name in space.conditions
    blank = np.array([_is_blank(c) for c in cells])
    if blank.any() and not is_optional:
        raise ValueError(f"{where}: row {int(blank.argmax()) + 1}, column {name!r}: is empty; give it a value")
    rows = np.tile(np.array(space.neutral(name)), (len(cells), 1))
    kept = np.flatnonzero(~blank).tolist()
    given = [cells[k] for k in kept]
    if isinstance(p, Categorical | Ordinal):
        codes = {str(v): p.encode(v) for v in (p.choices if isinstance(p, Categorical) else p.levels)}
        rows[kept] = [
            _code_of(codes, p, c, f"{where}: row {k + 1}, column {name!r}") for k, c in zip(kept, given, strict=True)
        ]
        return rows
    x = _numbers(given, kept, name, where)
    slack = 1e-9 * (p.high - p.low)
    outside = ~((x >= p.low - slack) & (x <= p.high + slack))
    if outside.any():
        k = int(outside.argmax())
        raise ValueError(
            f"{where}: row {int(kept[k]) + 1}, column {name!r}: {x[k]:g} is outside {p.low:g} to {p.high:g}; widen the "
            "parameter's bounds or remove the row"
        )
    x = np.clip(x, p.low, p.high)
    if isinstance(p, Continuous):
        log = p.scale == "log"
        rows[kept, 0] = np.log(x / p.low) / np.log(p.high / p.low) if log else (x - p.low) / (p.high - p.low)
        return rows
    place = (x - p.low) / (p.high - p.low) * (p.n_values - 1)
    off = np.abs(place - np.round(place)) > 1e-6
    if off.any():
        k = int(off.argmax())
        what = "a whole number" if p.kind == "integer" else "on the steps"
        raise ValueError(f"{where}: row {int(kept[k]) + 1}, column {name!r}: {x[k]:g} is not {what}; correct it")
    rows[kept, 0] = np.round(place) / (p.n_values - 1)
    return rows


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _own_numbers(p: Any, cells: Sequence[Any]) -> Array:
    """(n,): the cells of a numeric parameter as they are, within its bounds; NaN where blank."""
    import numpy as np

    x: Array = np.clip(np.array([np.nan if _is_blank(c) else float(c) for c in cells]), p.low, p.high)
    return np.round(x) if p.kind == "integer" else x


def _code_of(codes: Mapping[str, Any], p: Any, cell: Any, where: str) -> Any:
    text = str(cell).strip()
    if text in codes:
        return codes[text]
    try:  # numeric levels and choices may be written another way: 5 and 5.0
        number = float(text)
        return next(code for v, code in codes.items() if _as_number(v) == number)
    except (ValueError, StopIteration):
        known = ", ".join(list(codes)[:10])
        what = "choices" if p.kind == "categorical" else "levels"
        raise ValueError(f"{where}: {text!r} is none of the {what} {known}; add it there or remove the row") from None


def _numbers(cells: Sequence[Any], places: Sequence[int], name: str, where: str) -> Array:
    import numpy as np

    try:
        x = np.array(cells, dtype=float)
        bad = ~np.isfinite(x)
    except (TypeError, ValueError):
        bad = ~np.isfinite([_as_number(c) for c in cells])
        x = np.zeros(len(cells))
    if bad.any():
        k = int(bad.argmax())
        raise ValueError(
            f"{where}: row {int(places[k]) + 1}, column {name!r}: {str(cells[k])[:60]!r} is not a finite number; "
            "correct it or remove the row"
        )
    return x


def _as_number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def _settle(
    space: Space, rows: Array, columns: tuple[int, ...], cells: Mapping[str, Sequence[Any]], where: str
) -> None:
    """Refuse a cell of a parameter that is not active in its row, and a blank one of a parameter that is."""
    import numpy as np

    from .cube import activity

    X = np.zeros((len(rows), space.n_columns))
    X[:, list(columns)] = rows
    for name, is_active in activity(space, X).items():
        blank = np.array([_is_blank(c) for c in cells[name]])
        if (wrong := np.flatnonzero(blank == is_active)).size:
            k, condition = int(wrong[0]), space.conditions[name].text
            rule = "is empty, and active" if blank[k] else "is given, but active only"
            raise ValueError(f"{where}: row {k + 1}, column {name!r}: {rule} where {condition}; correct it")


def _check_repeats(rows: Array, where: str) -> None:
    import numpy as np

    _, first, place = np.unique(np.round(rows, 9), axis=0, return_index=True, return_inverse=True)
    if len(first) < len(rows):
        owner = first[place.ravel()]
        k = int(np.flatnonzero(owner != np.arange(len(rows)))[0])
        raise ValueError(f"{where}: rows {int(owner[k]) + 1} and {k + 1} are the same setting; keep one of them")
