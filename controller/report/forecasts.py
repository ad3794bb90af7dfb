"""The sections on forecasts: each reading against what was written before it, and how far they can be trusted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..calibration import LEVELS, Calibration, Scored, calibration, coverage, running, second_half
from .figure import EXPERIMENT, FAINT, GOOD, INK, MANY, SIMULATION, WIDTH, drawing, labelled, quiet, svg
from .markup import Html, join, note, table
from .story import Story, TrialStory
from .study import Study
from .words import number, unit_sign

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PER_ROW = 3
Z_80 = 1.2816


def forecasts(study: Study) -> Html:
    """Forecast against reading, one panel a response, of the target source."""
    story = study.story
    if not story.scored():
        return note(f"No reading of {story.declared.target} was forecast yet.")
    names = list(story.declared.responses)
    n_rows = math.ceil(len(names) / PER_ROW)
    width = WIDTH * min(len(names), PER_ROW) / PER_ROW
    with drawing(width, 3.3 * n_rows, nrows=n_rows, ncols=min(len(names), PER_ROW), squeeze=False) as (figure, grid):
        for axes, name in zip(grid.flat, names, strict=False):
            _against(axes, story, name)
        for axes in list(grid.flat)[len(names) :]:
            axes.set_axis_off()
        caption = (
            f"Readings of {story.declared.target} against the forecasts that were written before them, with 80 % "
            "intervals; on the line the two agree. Filled: the later half."
        )
        return svg(figure, "forecasts", caption)


def _against(axes: Axes, story: Story, response: str) -> None:
    answered = [story.trials[n] for n in story.answered if story.trials[n].is_read]
    kept = [t for t in answered if t.trial.source == story.declared.target and t.scored(response)]
    half = len(kept) // 2
    for part, is_late in ((kept[:half], False), (kept[half:], True)):
        if part:
            _points(axes, part, response, is_late=is_late, is_image=len(kept) > MANY)
    low, high = axes.get_xlim()[0], axes.get_xlim()[1]
    low, high = min(low, axes.get_ylim()[0]), max(high, axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color=FAINT, lw=1, zorder=0)
    unit = story.declared.responses[response]
    axes.set_title(response)
    axes.set_xlabel(labelled("forecast", unit))
    axes.set_ylabel(labelled("reading", unit))


def _points(axes: Axes, trials: list[TrialStory], response: str, *, is_late: bool, is_image: bool) -> None:
    mean = [t.trial.forecast.mean[response] for t in trials]
    width = [Z_80 * t.trial.forecast.sd[response] for t in trials]
    read = [t.reading.values[response] for t in trials if t.reading]
    fill = EXPERIMENT if is_late else "none"
    bars = axes.errorbar(mean, read, xerr=width, fmt="none", ecolor=EXPERIMENT, elinewidth=1, alpha=0.35)
    dots = axes.scatter(mean, read, s=22, facecolors=fill, edgecolors=EXPERIMENT, linewidths=1.1, zorder=3)
    dots.set_rasterized(is_image)
    for line in bars[2]:
        line.set_rasterized(is_image)


def trust(study: Study) -> Html:
    """Calibration: the table, the histogram of z, the reliability and its course."""
    story = study.story
    scored = story.scored()
    if not scored:
        return note("There is nothing to judge the forecasts by yet.")
    with drawing(height=3.2, ncols=3) as (figure, grid):
        _histogram(grid[0], scored)
        _reliability(grid[1], scored)
        _course(grid[2], scored)
        caption = (
            "Left: readings minus forecasts in standard deviations, with the normal curve they should follow. "
            "Middle: the share of readings within central intervals; the band is where chance alone puts 90 % of "
            "such shares. Right: the share within 80 % intervals as readings came in."
        )
        return join([_table(story), svg(figure, "trust", caption)])


def _table(story: Story) -> Html:
    rows: list[list[str]] = []
    for name, unit in story.declared.responses.items():
        rows += _rows(name, unit, story.scored(name))
    rows += _rows("all together", None, story.scored()) if len(story.declared.responses) > 1 else []
    head = ["response", "readings", "n", "mean z", "sd of z", *(f"{100 * v:.0f} %" for v in LEVELS), "CRPS"]
    words = f"Of {story.declared.target}. Well calibrated: mean z 0, sd of z 1, and each interval holds its share."
    return join([note(words), table(head, rows, numeric=range(2, 9))])


def _rows(name: str, unit: str | None, scored: list[Scored]) -> list[list[str]]:
    both = [("all", calibration(scored)), ("later half", calibration(second_half(scored)))]
    return [_row(name if k == 0 else "", part, unit, c) for k, (part, c) in enumerate(both) if c is not None]


def _row(name: str, part: str, unit: str | None, c: Calibration) -> list[str]:
    shares = [f"{100 * x:.0f} %" for x in c.coverage]
    crps = "" if unit is None else f"{number(c.crps, 3)} {unit_sign(unit)}".rstrip()
    return [name, part, str(c.n), f"{c.mean_z:+.2f}", f"{c.sd_z:.2f}", *shares, crps]


def _histogram(axes: Axes, scored: list[Scored]) -> None:
    z = np.clip([s.z for s in scored], -4.25, 4.25)
    axes.hist(z, bins=np.arange(-4.25, 4.5, 0.5).tolist(), density=True, color=EXPERIMENT, alpha=0.45, rwidth=0.92)
    x = np.linspace(-4.2, 4.2, 121)
    axes.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=INK, lw=1.2)
    axes.set_title("innovations")
    axes.set_xlabel("z")
    axes.set_ylabel("density")


def _reliability(axes: Axes, scored: list[Scored]) -> None:
    from scipy.stats import binom

    levels = np.linspace(0.05, 0.95, 19)
    n = len(scored)
    axes.fill_between(
        100 * levels,
        100 * binom.ppf(0.05, n, levels) / n,
        100 * binom.ppf(0.95, n, levels) / n,
        color=FAINT,
        alpha=0.25,
        lw=0,
    )
    axes.plot([0, 100], [0, 100], color=FAINT, lw=1)
    for part, colour, label in ((scored, EXPERIMENT, "all"), (second_half(scored), GOOD, "later half")):
        z = [s.z for s in part]
        axes.plot(
            100 * levels, [100 * coverage(z, float(v)) for v in levels], ".-", color=colour, lw=1.2, ms=5, label=label
        )
    axes.set_title("reliability")
    axes.set_xlabel("interval (%)")
    axes.set_ylabel("readings within (%)")
    axes.legend(loc="upper left")


def _course(axes: Axes, scored: list[Scored]) -> None:
    shares = [100 * c.covers(0.8) for c in running(scored)]
    axes.axhspan(70, 90, color=GOOD, alpha=0.12, lw=0)
    axes.plot(range(1, len(shares) + 1), shares, color=SIMULATION, lw=1.6)
    axes.axhline(80, color=FAINT, lw=1)
    axes.set_ylim(0, 104)
    axes.set_title("within 80 %, so far")
    axes.set_xlabel("readings")
    axes.set_ylabel("share (%)")
    quiet(axes, is_grid=False)
