"""The tables that the suite prints."""

from __future__ import annotations

import numpy as np
from problem import Problem
from rivals import PLACES
from statistics_of import Standing, ranks, spread


def title_of(rival: str) -> str:
    name, _, label = rival.partition("@")
    return PLACES[name].title + (f" @{label}" if label else "")


def problem_table(problem: Problem, budget: float, standings: dict[str, Standing], notes: dict[str, str]) -> str:
    """One problem: regret at half and full budget, seconds for a decision, rank."""
    has_advice = problem.is_noisy or len(problem.sources) > 1
    placed = ranks({n: s.score(problem) for n, s in standings.items()}) if standings else {}
    unit = "in cost" if len(problem.sources) > 1 else "trials"
    lines = ["", f"{problem.title} ({budget:g} {unit}; {problem.name})"]
    head = f"  {'':18s}{'seeds':>5s}  {'regret at half':28s}{'regret at full':28s}"
    if has_advice:
        head += f"{'recommended at half':28s}{'recommended at full':28s}"
    lines.append(head + f"{'CPU s':>7s}  rank")
    for name in sorted(standings, key=lambda n: (placed[n].place, np.median(standings[n].score(problem)))):
        s = standings[name]
        row = f"  {title_of(name):18s}{s.n_seeds:5d}  "
        row += "".join(f"{spread(s.evaluated[w]):28s}" for w in ("half", "full"))
        if has_advice:
            row += "".join(f"{spread(s.recommended[w]):28s}" for w in ("half", "full"))
        tie = " tied for first" if placed[name].is_first and sum(r.is_first for r in placed.values()) > 1 else ""
        lines.append(f"{row}{s.seconds:7.3f}  {placed[name].place:.3g}{tie}")
    if problem.levels:
        lines += _levels(problem, standings)
    lines += [f"  {title_of(name):18s}{note}" for name, note in notes.items()]
    return "\n".join(lines)


def _levels(problem: Problem, standings: dict[str, Standing]) -> list[str]:
    """Several sources: regret at levels of cost, and what went to the cheap ones."""
    names = [f"{level:g}" for level in problem.levels]
    is_noisy = problem.is_noisy
    what = "recommended" if is_noisy else "best measured at the target"
    lines = [f"  regret at cost, median / mean ({what}); optimum found; spent on other sources by half and by the end"]
    lines.append(f"  {'':18s}" + "".join(f"{n:>18s}" for n in names))
    for rival, s in standings.items():
        found = s.recommended if is_noisy else s.evaluated
        cells = "".join(f"{f'{np.median(found[n]):.3g} / {np.mean(found[n]):.3g}':>18s}" for n in names)
        hits = [int((found[n] <= 1e-6 + problem.tolerance).sum()) for n in names]
        shares = f"{100 * s.others[0]:.0f} %, {100 * s.others[1]:.0f} %"
        lines.append(f"  {title_of(rival):18s}{cells}   found {'/'.join(map(str, hits))} of {s.n_seeds}   {shares}")
    return lines


def overall(problems: dict[str, Problem], found: dict[str, dict[str, Standing]]) -> str:
    """Ranks on each problem at full budget, their mean, and how often a rival is first or tied for first."""
    rivals = list(dict.fromkeys(r for standings in found.values() for r in standings))
    width = max([len(n) for n in found] + [12])
    lines = ["", "Ranks at full budget (half budget in brackets); * first or tied for first (Mann–Whitney, p > 0.05)"]
    lines.append(f"  {'':{width}s}" + "".join(f"{title_of(r):>20s}" for r in rivals))
    places: dict[str, list[float]] = {r: [] for r in rivals}
    halves: dict[str, list[float]] = {r: [] for r in rivals}
    firsts = dict.fromkeys(rivals, 0)
    for name, standings in found.items():
        if len(standings) < 2:
            continue
        full = ranks({r: s.score(problems[name]) for r, s in standings.items()})
        half = ranks({r: s.score(problems[name], "half") for r, s in standings.items()})
        row = f"  {name:{width}s}"
        for r in rivals:
            if r not in full:
                row += f"{'–':>20s}"
                continue
            places[r].append(full[r].place)
            halves[r].append(half[r].place)
            firsts[r] += full[r].is_first
            row += f"{f'{full[r].place:.3g}' + ('*' if full[r].is_first else ' ') + f' ({half[r].place:.3g})':>20s}"
        lines.append(row)
    means = [f"{np.mean(places[r]):.2f} ({np.mean(halves[r]):.2f})" if places[r] else "–" for r in rivals]
    lines.append(f"  {'mean rank':{width}s}" + "".join(f"{m:>20s}" for m in means))
    counts = [f"{firsts[r]} of {len(places[r])}" for r in rivals]
    lines.append(f"  {'first or tied':{width}s}" + "".join(f"{c:>20s}" for c in counts))
    if len(set(map(len, places.values()))) > 1:
        lines.append("  Mean ranks are of different problems: not every rival has results on each.")
    return "\n".join(lines)
