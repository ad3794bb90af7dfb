"""Where a campaign stands, drawn for a terminal: the live view of ``run`` and the answer of ``status``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Group
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..report.counts import others_words, readings_words
from ..report.outcome import best_words, knowledge_course
from ..report.sayings import recalled_words, saying
from ..report.words import (
    amount,
    duration,
    goal_words,
    plus_minus,
    printable,
    setting_words,
    sparkline,
    with_unit,
)
from .people import asks_of, is_answered_by_people

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..report.story import Story, TrialStory
    from .people import Place

Row = tuple[str, "RenderableType"]
MAX_RUNNING = 8


def picture(
    story: Story, *, now: datetime | None = None, place: Place | None = None, notice: str = "", is_run: bool = True
) -> Panel:
    """Everything about a campaign on one panel.

    Args:
        story: of the campaign.
        now: for how long trials have been running; None: do not say.
        place: for what people may type; None: do not say.
        notice: one line more.
        is_run: whether a controller has it; without one, what ran was cut off.
    """
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for name, thing in rows(story, now, place, is_run=is_run):
        grid.add_row(name, thing)
    if notice:
        grid.add_row("leaving", Text(notice, style="bold yellow"))
    title = Text.assemble((story.declared.name, "bold"), "  ", (goal_words(story.declared.goal), "dim"))
    return Panel(grid, title=title, title_align="left", border_style="dim", padding=(1, 2))


def rows(story: Story, now: datetime | None, place: Place | None = None, *, is_run: bool = True) -> list[Row]:
    """The lines of the panel."""
    makers: tuple[Callable[[], list[Row]], ...] = (
        lambda: _unsafe(story, place),
        lambda: _best(story),
        lambda: _budget(story),
        lambda: _counts(story),
        lambda: [("warm start", Text(recalled_words(story.recalled)))] if story.recalled else [],
        lambda: _running(story, now) if is_run else _left(story),
        lambda: _set_aside(story, is_run=is_run),
        lambda: _waits(story, place, is_run=is_run),
        lambda: _why(story),
        lambda: _last(story),
        lambda: _calibration(story),
        lambda: _stop(story),
    )
    return [row for make in makers for row in make()]


def _unsafe(story: Story, place: Place | None) -> list[Row]:
    """Before all else: a person must see to it."""
    made: list[Row] = [("not safe", Text(printable(text), style="bold red")) for text in story.unsafe.values()]
    asked = asks_of(story, place)[:1] if made and place is not None else []
    ways = [Text.assemble(command, (f"   {meaning}", "dim")) for ask in asked for command, meaning in ask.ways]
    return [*made, *(("", way) for way in ways)]


def _best(story: Story) -> list[Row]:
    if story.best is None:
        course = knowledge_course(story)
        made: list[Row] = [("known" if course else "best", Text(best_words(story), style="" if course else "dim"))]
        return [*made, ("course", Text(sparkline(course[1]), style="green"))] if course and len(course[1]) > 1 else made
    units = story.declared.parameters
    line = Text.assemble((best_words(story), "bold green"), f"   trial {story.best.number}")
    made = [("best", line), ("at", Text(setting_words(story.best.trial.setting, units)))]
    best_so_far = story.best_so_far()
    return [*made, ("course", Text(sparkline(best_so_far), style="green"))] if len(best_so_far) > 1 else made


def _budget(story: Story) -> list[Row]:
    made: list[Row] = []
    for k, (resource, limit) in enumerate(story.declared.budget.items()):
        spent = story.spent.get(resource, 0.0)
        line = Table.grid(padding=(0, 2))
        line.add_column(width=28)
        line.add_column()
        words = f"{amount(resource, spent)} of {amount(resource, limit)}"
        line.add_row(ProgressBar(total=limit, completed=min(spent, limit), width=28), Text(words))
        made.append(("spent" if k == 0 else "", line))
    return made


def _counts(story: Story) -> list[Row]:
    others = others_words(story)
    n_failed = story.n_failed()
    words = Text(f" · {others.replace(', ', ' · ')}" if others else "")
    if n_failed:
        words.highlight_words([f"{n_failed} failed"], "red")
    return [("trials", Text(readings_words(story)) + words)]


def _set_aside(story: Story, *, is_run: bool) -> list[Row]:
    """Readings that do not count, those that came late, and doubts that no person is asked about yet."""
    aside = [f"#{t.number}" for t in story.in_status("invalid") if t.reading]
    late = [f"#{t.number}" for t in story.in_status("late")]
    doubts = [f"#{t.number}" for t in story.in_status("unknown") if t.doubt != "asked" and is_run]
    made: list[Row] = [("set aside", Text(f"{_last_of(aside)}: kept, and not learnt from"))] if aside else []
    made += [("late", Text(f"{_last_of(late)} answered after being given up"))] if late else []
    return made + (
        [("in doubt", Text(f"{_last_of(doubts)}: the driver is to be asked", style="yellow"))] if doubts else []
    )


def _last_of(numbers: list[str]) -> str:
    """The last few, and how many more there are."""
    more = len(numbers) - MAX_RUNNING
    shown = ", ".join(numbers[max(more, 0) :])
    return f"{shown} and {more} before them" if more > 0 else shown


def _waits(story: Story, place: Place | None, *, is_run: bool) -> list[Row]:
    """What is asked of people, and what they may type."""
    if place is None or story.stopped:
        return []
    asks = [ask for ask in asks_of(story, place, is_run=is_run) if ask.kind != "danger"]  # it stands first
    made: list[Row] = []
    for ask in asks[:MAX_RUNNING]:
        lines = [Text(printable(ask.text), style="bold yellow")]
        lines += [Text.assemble(command, (f"   {meaning}", "dim")) for command, meaning in ask.ways]
        made.append(({"pause": "paused", "cut off": "cut off"}.get(ask.kind, "waits"), Group(*lines)))
    if len(asks) > MAX_RUNNING:
        made.append(("", Text(f"and {len(asks) - MAX_RUNNING} more: closedloop pending", style="dim")))
    return made


def _running(story: Story, now: datetime | None) -> list[Row]:
    return [] if story.stopped else _listed("running", story, story.running, now)


def _left(story: Story) -> list[Row]:
    """What a controller that is gone was to begin; what it had begun is told with what waits."""
    left = [t for t in story.in_status("approved") if not is_answered_by_people(story, t)]
    return [] if story.stopped else _listed("not begun", story, left, None)


def _listed(name: str, story: Story, trials: Sequence[TrialStory], now: datetime | None) -> list[Row]:
    lines: list[RenderableType] = [_running_line(story, t, now) for t in trials[:MAX_RUNNING]]
    if len(trials) > MAX_RUNNING:
        lines.append(Text(f"and {len(trials) - MAX_RUNNING} more", style="dim"))
    return [(name, Group(*lines))] if lines else []


def _why(story: Story) -> list[Row]:
    """The reason of the newest choice, which may be answered by now."""
    if story.stopped or not story.trials:
        return []
    newest = story.trials[max(story.trials)]
    reason = printable(newest.trial.why.text) or "no reason was given"
    return [("why", Text.assemble((f"#{newest.number} ", "dim"), reason))]


def _running_line(story: Story, t: TrialStory, now: datetime | None) -> Text:
    setting = setting_words(t.trial.setting, story.declared.parameters)
    age = f" {duration((now - t.proposed).total_seconds())}" if now and t.proposed else ""
    return Text.assemble((f"{t.trial.source} #{t.number}", "cyan"), (age, "dim"), f"  {setting}")


def _last(story: Story) -> list[Row]:
    """The newest reading against its forecast; the target's, where there is one."""
    answered = [story.trials[n] for n in reversed(story.answered[-50:])]
    last = next((t for t in answered if t.reading and t.trial.source == story.declared.target), None)
    last = last or next((t for t in answered if t.reading), None)
    if last is None or last.reading is None:
        return []
    made = table_of_readings(story, last)
    return [("last", Group(Text(f"{last.trial.source} #{last.number}", style="cyan"), made))]


def table_of_readings(story: Story, t: TrialStory) -> Table:
    """Each response of a trial: reading, forecast and z."""
    grid = Table.grid(padding=(0, 2))
    for k in range(4):
        grid.add_column(justify="right" if k % 2 else "left", no_wrap=True)
    forecast = t.trial.forecast
    for response, unit in story.declared.responses.items():
        if t.reading is None or response not in t.reading.values:
            continue
        read = with_unit(plus_minus(t.reading.values[response], t.reading.sd.get(response)), unit)
        mean = forecast.mean.get(response)
        expected = f"forecast {plus_minus(mean, forecast.sd.get(response))}" if mean is not None else "no forecast"
        grid.add_row(response, Text(read, style="bold"), Text(expected, style="dim"), z_text(t, response))
    return grid


def z_text(t: TrialStory, response: str) -> Text:
    """The innovation in standard deviations of the forecast; a surprise in colour."""
    scored = t.scored(response)
    if scored is None:
        return Text("")
    size = abs(scored.z)
    return Text(f"z {scored.z:+.1f}", style="red" if size > 3 else "yellow" if size > 2 else "green")


def _calibration(story: Story) -> list[Row]:
    score, whole = story.late_worth(), story.worth()
    if score is None or whole is None or whole.n < 8:
        return []
    text = f"80 % intervals held {100 * score.covers(0.8):.0f} % of the later half of readings (n = {score.n})"
    return [("forecasts", Text(text))]


def _stop(story: Story) -> list[Row]:
    if story.stopped:
        return [("stopped", Text(printable(story.stopped.reason), style="bold"))]
    if story.ending:
        return [("ending", Text(printable(saying(story.ending, units={})), style="bold"))]
    words = story.declared.stop_words
    return [("stops", Text(printable(f"when {words}"), style="dim"))] if words else []


def now_utc() -> datetime:
    """The time, for the ages of running trials."""
    return datetime.now(UTC)
