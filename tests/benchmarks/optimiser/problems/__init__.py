"""The problems by name; those of measured tables only where a folder with the tables is given."""

from __future__ import annotations

from pathlib import Path

from problem import Problem

from problems import constrained, pareto, reaction, smooth, sources, tables


def all_problems(data: Path | None = None) -> dict[str, Problem]:
    """Every problem; in the order of the tables."""
    found = [*smooth.PROBLEMS, *constrained.PROBLEMS, *reaction.PROBLEMS, *pareto.PROBLEMS, *sources.PROBLEMS]
    found += tables.problems(data) if data else []
    return {p.name: p for p in found}


def missing_tables(data: Path | None) -> list[str]:
    """Names of the problems whose table is not there."""
    return [n for n in tables.NAMES if n not in all_problems(data)]
