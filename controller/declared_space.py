"""What a declaration says of its space in short forms and in files beside it, said in full.

The files, of candidates and of descriptors, go whole into the declaration: a ledger is read without them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .candidate_table import MAX_ROWS, Candidates, table_of
from .errors import CampaignError
from .expressions import Constraint, Equality, constraint_of
from .mixtures import Mixture
from .predicates import Allows, Predicate, target_of
from .space import Space

MAX_CHOICES_SHOWN = 5


def space_of(
    parameters: Mapping[str, Any],
    constraints: Iterable[str] = (),
    *,
    mixtures: Mapping[str, Mixture] | None = None,
    candidates: Candidates | None = None,
    predicates: Sequence[Predicate] = (),
) -> Space:
    """The space of a declaration.

    Raises:
        ValueError: if the candidates do not fit the parameters.
    """
    demands = [constraint_of(text) for text in constraints]
    space = Space(
        parameters,
        tuple(d for d in demands if isinstance(d, Constraint)),
        equalities=tuple(d for d in demands if isinstance(d, Equality)),
        mixtures=tuple((mixtures or {}).values()),
        predicates=tuple(predicates),
    )
    if candidates is None:
        return space
    return Space(
        space.parameters,
        space.constraints,
        equalities=space.equalities,
        mixtures=space.mixtures,
        table=table_of(candidates, Space(parameters)),
        predicates=space.predicates,
    )


def in_full(declared: Mapping[str, Any], *, folder: Path | None = None) -> dict[str, Any]:
    """The declaration with its short forms written out and its tables read.

    Args:
        declared: as written.
        folder: where relative paths start; the current folder if absent.

    Raises:
        CampaignError: if a file cannot be read, or holds what it must not.
    """
    full = dict(declared)
    folder = folder or Path()
    if full.get("candidates") is not None:
        full["candidates"] = _candidates(full["candidates"], full.get("parameters"), folder)
        if full.get("parameters") is None:
            full["parameters"] = _inferred(full["candidates"])
    if isinstance(full.get("parameters"), Mapping):
        full["parameters"] = {n: _parameter(n, p, folder) for n, p in full["parameters"].items()}
        full["parameters"] |= _components(full.get("mixtures"), full["parameters"])
    if "constraints" in full:
        full["constraints"], more = _constraints(full["constraints"])
        if more:
            full["predicates"] = [*full.get("predicates", ()), *more]
    if callable(full.get("predicates")) or isinstance(full.get("predicates"), str):
        full["predicates"] = [full["predicates"]]
    if isinstance(full.get("predicates"), list | tuple):
        targets = [target_of(p) if callable(p) else p for p in full["predicates"]]
        full["predicates"] = list(dict.fromkeys(targets)) if all(isinstance(t, str) for t in targets) else targets
    return full


def functions_in(declared: Mapping[str, Any]) -> dict[str, Allows]:
    """The predicates that a declaration holds as functions, by where they can be found."""
    found = []
    for key in ("constraints", "predicates"):
        value = declared.get(key) or ()
        for item in value if isinstance(value, list | tuple) else (value,):
            found.append(item.get("predicate") if isinstance(item, Mapping) else item)
    return {target_of(f): f for f in found if callable(f)}


def _constraints(declared: Any) -> tuple[Any, list[Any]]:
    """The texts, and the predicates among them."""
    if isinstance(declared, str | Mapping) or callable(declared):
        declared = [declared]
    if not isinstance(declared, list | tuple):
        return declared, []
    texts, predicates = [], []
    for item in declared:
        if callable(item):
            predicates.append(item)
        elif isinstance(item, Mapping):
            if set(item) != {"predicate"}:
                raise CampaignError(
                    f"constraints: {str(dict(item))[:80]} is no constraint; write 'a + b <= 1', 'a + b == 1' or "
                    "{predicate: 'my_lab.rules:is_allowed'}"
                )
            predicates.append(item["predicate"])
        else:
            texts.append(item)
    return texts, predicates


def _parameter(name: str, declared: Any, folder: Path) -> Any:
    if not isinstance(declared, Mapping):
        return declared
    declared = dict(declared)
    if declared.get("kind") == "context":
        declared = {**declared, "context": True}
        del declared["kind"]
    if declared.get("kind") == "clock":
        declared = {**declared, "context": True, "clock": True}
        del declared["kind"]
    if isinstance(declared.get("descriptors"), str | Path):
        declared |= _described(name, declared, folder)
    return declared


def _described(name: str, declared: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Choices and descriptors from a file: the first column names the choices, the others are numbers."""
    where = f"parameters.{name}.descriptors {declared['descriptors']}"
    header, rows = _read(folder / Path(declared["descriptors"]), where)
    if len(header) < 2:
        raise CampaignError(
            f"{where}: holds {len(header)} column; the first names the choices, the others describe them"
        )
    table: dict[str, dict[str, float]] = {}
    for k, row in enumerate(rows, start=1):
        choice = row[0].strip()
        if not choice:
            raise CampaignError(f"{where}: row {k}, column {header[0]!r}: is empty; name the choice")
        if choice in table:
            raise CampaignError(f"{where}: row {k}, column {header[0]!r}: {choice!r} stands there twice; keep one row")
        table[choice] = {
            h: _finite(cell, f"{where}: row {k}, column {h!r}") for h, cell in zip(header[1:], row[1:], strict=True)
        }
    choices = declared.get("choices")
    if choices is None:
        return {"choices": list(table), "descriptors": table}
    if not isinstance(choices, list | tuple):
        raise CampaignError(f"parameters.{name}.choices: hold descriptors already; leave out the file of descriptors")
    if missing := [str(c) for c in choices if str(c) not in table]:
        raise CampaignError(f"{where}: there is no row of the choice {missing[0]!r}; add one")
    return {"descriptors": {str(c): table[str(c)] for c in choices}}


def _finite(cell: str, where: str) -> float:
    try:
        x = float(cell)
    except ValueError:
        x = math.nan
    if not math.isfinite(x):
        what = "is empty" if not cell.strip() else f"{cell.strip()[:60]!r} is not a finite number"
        raise CampaignError(f"{where}: {what}; correct it")
    return x


def _read(path: Path, where: str) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a CSV file.

    Raises:
        CampaignError: if it cannot be read, or if a row has more or fewer cells than the header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CampaignError(f"{where}: there is no file {path}; correct the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CampaignError(f"{where}: {path} cannot be read ({error}); give a CSV file in UTF-8") from None
    try:
        lines = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise CampaignError(f"{where}: is no CSV file ({error}); write a header and rows of cells") from None
    if len(lines) < 2:
        raise CampaignError(f"{where}: holds {'no row below its header' if lines else 'nothing'}; add rows to it")
    header = [cell.strip() for cell in lines[0]]
    if twice := sorted({h for h in header if header.count(h) > 1}):
        raise CampaignError(f"{where}: the column {twice[0]!r} stands there twice; keep one")
    for k, row in enumerate(lines[1:], start=1):
        if len(row) != len(header):
            raise CampaignError(f"{where}: row {k} has {len(row)} cells, and the header {len(header)}; correct it")
    return header, lines[1:]


def _candidates(declared: Any, parameters: Any, folder: Path) -> Any:
    """As a table of cells by column, packed; from a file, a list of settings, columns, or a data frame."""
    if isinstance(declared, Candidates):
        return declared
    if isinstance(declared, str | Path):
        header, rows = _read(folder / Path(declared), f"candidates {declared}")
        _check_n(len(rows), f"candidates {declared}")
        columns = {h: [row[k].strip() for row in rows] for k, h in enumerate(header)}
        return Candidates.of(columns, source=Path(declared).name)
    if isinstance(declared, Mapping) and "packed" in declared:
        return dict(declared)
    if hasattr(declared, "to_dict") and hasattr(declared, "columns"):  # a data frame of pandas or polars
        declared = {str(c): list(declared[c]) for c in declared.columns}
    if isinstance(declared, list | tuple):
        declared = _by_column(declared)
    if not isinstance(declared, Mapping) or not declared:
        raise CampaignError(
            f"candidates: {str(declared)[:60]!r} is no table; give a CSV file, settings, or lists by parameter"
        )
    columns = {str(k): [_cell(c, k, j) for j, c in enumerate(v, start=1)] for k, v in declared.items()}
    lengths = {k: len(v) for k, v in columns.items()}
    if len(set(lengths.values())) > 1:
        raise CampaignError(f"candidates: columns differ in length ({lengths}); give each as many cells")
    if not next(iter(lengths.values())):
        raise CampaignError("candidates: hold no row; add rows to them")
    _check_n(next(iter(lengths.values())), "candidates")
    return Candidates.of(columns)


def _check_n(n: int, where: str) -> None:
    if n > MAX_ROWS:
        raise CampaignError(f"{where}: {n} rows are more than {MAX_ROWS}; leave out what is of no interest")


def _by_column(rows: Sequence[Any]) -> dict[str, list[Any]]:
    if not rows:
        raise CampaignError("candidates: hold no row; add rows to them")
    if odd := [k for k, row in enumerate(rows, start=1) if not isinstance(row, Mapping)]:
        raise CampaignError(f"candidates: row {odd[0]} is no setting; write {{parameter: value}}")
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _cell(cell: Any, column: Any, row: int) -> Any:
    cell = cell.item() if getattr(cell, "shape", None) == () else cell  # NumPy
    if cell is None or (isinstance(cell, str | int | float) and not isinstance(cell, bool)):
        if isinstance(cell, float) and not math.isfinite(cell):
            raise CampaignError(
                f"candidates: row {row}, column {str(column)!r}: {cell} is not a finite number; correct it or remove "
                "the row"
            )
        return cell
    raise CampaignError(f"candidates: row {row}, column {str(column)!r}: {cell!r} is neither a number nor a text")


def _inferred(candidates: Candidates) -> dict[str, Any]:
    """Parameters as the table has them: numbers from the lowest to the highest, labels as choices."""
    found: dict[str, Any] = {}
    for name, cells in candidates.columns.items():
        try:
            numbers = [float(cell) for cell in cells]
        except (TypeError, ValueError):
            found[name] = {"choices": list(dict.fromkeys(str(cell) for cell in cells))}
            continue
        if min(numbers) == max(numbers):
            raise CampaignError(
                f"candidates: column {name!r} is {cells[0]} in every row, so it is no parameter; remove it from the "
                f"table, or declare parameters: with {name}: {{value: {cells[0]}}} among them"
            )
        found[name] = {"low": min(numbers), "high": max(numbers)}
    return found


def _components(mixtures: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The components of mixtures that are not declared: from nothing to the total."""
    found: dict[str, Any] = {}
    for mixture in mixtures.values() if isinstance(mixtures, Mapping) else ():
        if not isinstance(mixture, Mapping) or not isinstance(mixture.get("of"), list | tuple):
            continue
        total = mixture.get("total", 1.0)
        if not isinstance(total, int | float) or isinstance(total, bool) or not total > 0:
            continue  # refused with the mixture
        for name in mixture["of"]:
            if isinstance(name, str) and name not in parameters:
                found[name] = {"low": 0.0, "high": float(total), "unit": mixture.get("unit", "")}
    return found
