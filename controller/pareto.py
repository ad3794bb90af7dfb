"""Pareto fronts in plain numbers: who dominates whom, where the corner lies, how much a front dominates.

All objectives are to be maximised; a front is a handful of points, so plain Python is fast enough everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, ...]
CORNER = 0.1  # of the front's range: how far below its worst values the reference point lies


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether a is nowhere worse than b and somewhere better."""
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def front_of(points: Sequence[Sequence[float]]) -> list[int]:
    """Places of the points that none dominates, in their order; of equal ones the first."""
    kept: list[int] = []
    for k, p in enumerate(points):
        if any(dominates(points[j], p) or tuple(points[j]) == tuple(p) for j in kept):
            continue
        kept = [j for j in kept if not dominates(p, points[j])]
        kept.append(k)
    return kept


def corner(front: Sequence[Sequence[float]], floors: Sequence[float | None] = ()) -> Point:
    """The reference point: the worst value of each objective on the front, less a tenth of its range there.

    Where the range is nothing, a tenth of the value's size counts (Ishibuchi et al. 2011).

    Args:
        front: points that do not dominate each other, at least one.
        floors: thresholds that stand in its place, one an objective; None where there is none.
    """
    found = []
    for k, values in enumerate(zip(*front, strict=True)):
        floor = floors[k] if k < len(floors) else None
        span = (max(values) - min(values)) or abs(max(values)) or 1.0
        found.append(min(values) - CORNER * span if floor is None else floor)
    return tuple(found)


def compromise(front: Sequence[Sequence[float]]) -> int:
    """Place of the point of the front that is nearest to the best of each objective, each counted in its range."""
    best = [max(values) for values in zip(*front, strict=True)]
    span = [(max(values) - min(values)) or 1.0 for values in zip(*front, strict=True)]
    far = [sum(((b - x) / s) ** 2 for x, b, s in zip(p, best, span, strict=True)) for p in front]
    return far.index(min(far))


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """The volume that is dominated by the points and dominates the reference point.

    By slicing along the last objective (While et al. 2006).
    """
    inside = [tuple(p) for p in points if all(x > r for x, r in zip(p, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return max(p[0] for p in inside) - reference[0]
    if len(reference) == 2:
        return _area(inside, reference)
    total, heights = 0.0, sorted({p[-1] for p in inside}, reverse=True)
    for height, below in zip(heights, [*heights[1:], reference[-1]], strict=True):
        slab = [p[:-1] for p in inside if p[-1] >= height]
        total += (height - below) * hypervolume([slab[k] for k in front_of(slab)], reference[:-1])
    return total


def _area(points: Sequence[Point], reference: Sequence[float]) -> float:
    total, height = 0.0, reference[1]
    for x, y in sorted(points, reverse=True):
        if y > height:
            total += (x - reference[0]) * (y - height)
            height = y
    return total
