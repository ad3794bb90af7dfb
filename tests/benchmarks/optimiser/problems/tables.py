"""Measured lab tables as candidate lists: only rows may be asked for, and nothing is interpolated.

The tables are Olympus's (Häse et al. 2021) and, for the covalent organic frameworks, chem-MFBO's (Sabanza-Gil et al.
2025). They are no part of the project: ``--data`` names the folder. Rows that repeat a setting are averaged.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from problem import Aim, Choice, Parameter, Problem, Real, Setting, Source, Whole


@dataclass(frozen=True)
class Table:
    """How a file is read: its columns, the last the response, and how many rows a campaign may measure."""

    file: str
    title: str
    columns: tuple[str, ...]
    response: str
    is_maximised: bool
    budget: int


TABLES = (
    Table("snar", "SNAr, measured", ("residence_time", "ratio", "concentration", "temperature"), "impurity", False, 20),
    Table("photo_pce10", "Photobleaching of a blend", ("mat_1", "mat_2", "mat_3", "mat_4"), "degradation", False, 50),
    Table("p3ht", "P3HT and nanotubes", ("p3ht", "d1", "d2", "d6", "d8"), "conductivity", True, 40),
    Table("crossed_barrel", "Crossed barrel", ("n", "theta", "r", "t"), "toughness", True, 50),
    Table("fullerenes", "Fullerenes", ("reaction_time", "sultine", "temperature"), "product", True, 40),
    Table("perovskites", "Perovskites, categorical", ("organic", "cation", "anion"), "bandgap", False, 40),
    Table(
        "autoam", "Additive manufacturing", ("prime_delay", "print_speed", "x_offset", "y_offset"), "score", True, 25
    ),
)
COFS = ("cofs", "cofs_truth", "cofs_shuffled")
NAMES = (*(f"table_{t.file}" for t in TABLES), *COFS)


def problems(folder: Path) -> list[Problem]:
    """Those whose file is in the folder."""
    found = [_of(t, folder) for t in TABLES if (folder / f"{t.file}.csv").exists()]
    return found + (_cofs(folder / "cofs.csv") if (folder / "cofs.csv").exists() else [])


def _of(table: Table, folder: Path) -> Problem:
    with (folder / f"{table.file}.csv").open(newline="") as file:
        lines = [line for line in csv.reader(file) if line]
    parameters = tuple(_parameter(n, [line[i] for line in lines]) for i, n in enumerate(table.columns))
    values: dict[tuple[float | int | str, ...], list[float]] = {}
    for line in lines:
        values.setdefault(tuple(_value(p, x) for p, x in zip(parameters, line, strict=False)), []).append(
            float(line[len(table.columns)])
        )
    means = {setting: float(np.mean(found)) for setting, found in values.items()}
    name = table.response
    return Problem(
        name=f"table_{table.file}",
        title=f"{table.title} ({len(means)} rows)",
        parameters=parameters,
        aims=(Aim(name, is_maximised=table.is_maximised),),
        evaluate=lambda s, source: {name: means[tuple(s[p.name] for p in parameters)]},
        optimum=max(means.values()) if table.is_maximised else min(means.values()),
        budget=table.budget,
        rows=tuple(dict(zip(table.columns, setting, strict=True)) for setting in means),
    )


def _parameter(name: str, texts: list[str]) -> Parameter:
    try:
        numbers = [float(t) for t in texts]
    except ValueError:
        return Choice(name, tuple(sorted(set(texts))))
    if all(x.is_integer() for x in numbers) and max(numbers) - min(numbers) < 50:
        return Whole(name, int(min(numbers)), int(max(numbers)))
    return Real(name, min(numbers), max(numbers))


def _value(p: Parameter, text: str) -> float | int | str:
    if isinstance(p, Choice):
        return text
    return int(float(text)) if isinstance(p, Whole) else float(text)


def _cofs(path: Path) -> list[Problem]:
    """Selectivity of 608 covalent organic frameworks: 14 descriptors, a dear and a cheap simulation.

    ``cofs``: both; ``cofs_truth``: the dear one alone; ``cofs_shuffled``: the cheap one's values in a random order, so
    that it tells nothing, and should cost nothing but a little.
    """
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    table = np.array(rows, dtype=float)
    varied = [i for i in range(14) if len(set(table[:, i])) > 1]
    parameters = tuple(Real(f"d{i + 1}", table[:, i].min(), table[:, i].max()) for i in varied)
    settings = [{p.name: float(row[i]) for p, i in zip(parameters, varied, strict=True)} for row in table]
    order = np.random.default_rng(0).permutation(len(table))
    columns = {
        "cofs": {"truth": table[:, 14], "cheap": table[:, 15]},
        "cofs_truth": {"truth": table[:, 14]},
        "cofs_shuffled": {"truth": table[:, 14], "cheap": table[order, 15]},
    }
    titles = (
        "Organic frameworks, cheap source",
        "Organic frameworks, truth only",
        "Organic frameworks, cheap shuffled",
    )
    return [
        _cof(name, f"{title} (608 rows)", parameters, settings, columns[name])
        for name, title in zip(COFS, titles, strict=True)
    ]


def _cof(
    name: str,
    title: str,
    parameters: tuple[Parameter, ...],
    settings: list[Setting],
    columns: Mapping[str, np.ndarray],
) -> Problem:
    at: dict[tuple[float | int | str, ...], list[int]] = {}
    for i, s in enumerate(settings):
        at.setdefault(tuple(s.values()), []).append(i)
    costs = {"truth": 1.0, "cheap": 0.065}
    means = {source: {k: float(column[i].mean()) for k, i in at.items()} for source, column in columns.items()}
    return Problem(
        name=name,
        title=title,
        parameters=parameters,
        aims=(Aim("selectivity", is_maximised=True),),
        evaluate=lambda s, source: {"selectivity": means[source][tuple(s[p.name] for p in parameters)]},
        optimum=max(means["truth"].values()),
        budget=30,
        sources=tuple(Source(n, costs[n], fidelity=float(n == "truth")) for n in columns),
        rows=tuple(dict(zip([p.name for p in parameters], k, strict=True)) for k in at),
        levels=(5, 10, 20, 30),
    )
