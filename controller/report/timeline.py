"""The section on time: when each source was busy, what people said of its trials, and when the campaign was paused."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..records import AnyEvent, Approved, Paused, Refused, Resumed, Stopped
from .figure import BAD, EXPERIMENT, FAINT, INK, LINE, MANY, SIMULATION, drawing, svg
from .markup import Html, note
from .story import Story, TrialStory, resume
from .study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUPS = ("read", "failed", "set aside", "not run", "in doubt", "open")
_MARKS: dict[type, tuple[str, str, str]] = {Approved: ("^", INK, "▲ approved"), Refused: ("x", BAD, "✕ refused")}


def group_of(t: TrialStory) -> str:
    """What became of a trial."""
    if t.is_read:
        return "read"
    if t.status == "invalid":
        return "set aside" if t.reading else "failed"
    return {"failed": "failed", "cancelled": "not run", "unknown": "in doubt"}.get(t.status, "open")


def timeline(study: Study) -> Html:
    """When each source was busy."""
    story = study.story
    if not story.trials or story.began is None:
        return note("Nothing was proposed yet.")
    names = list(story.declared.sources)
    with drawing(height=0.9 + 0.5 * len(names)) as (figure, axes):
        size, unit = _scale((story.last - story.began).total_seconds() if story.last else 0.0)
        spans = paused(study.events, until=story.last)
        for start, end in spans:
            left, right = (_place(story, t, size) for t in (start, end))
            axes.axvspan(left, right, facecolor=LINE, edgecolor=FAINT, alpha=0.6, linewidth=0.6, zorder=0)
        for k, name in enumerate(names):
            _bars(axes, story, name, place=k, size=size)
            _marks(axes, story, name, place=k, size=size)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(f"time since the start ({unit})")
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        axes.margins(x=0.01)
        return svg(figure, "timeline", _caption(story, is_paused=bool(spans)))


def paused(events: Iterable[AnyEvent], *, until: datetime | None) -> list[tuple[datetime, datetime]]:
    """From when to when nothing could begin."""
    found: list[tuple[datetime, datetime]] = []
    pauses: dict[str, Paused] = {}
    began: datetime | None = None
    for event in events:
        match event:
            case Paused():
                began = began if pauses else event.time
                pauses[event.by] = event
            case Resumed() if pauses:
                resume(pauses, event)
            case Stopped():
                pauses.clear()
        if began and not pauses and event.time:
            found.append((began, event.time))
            began = None
    return [*found, (began, until)] if began and until else found


def _caption(story: Story, *, is_paused: bool) -> str:
    groups = {group_of(t) for t in story.trials.values()}
    said = {type(e) for t in story.trials.values() for e in t.history}
    words = (
        ("red gave no reading that counts", groups & {"failed", "set aside"}),
        ("a red frame is in doubt", "in doubt" in groups),
        ("an open bar is not settled", "open" in groups),
        ("a grey frame was not run", "not run" in groups),
        *((text, kind in said) for kind, (_, _, text) in _MARKS.items()),
        ("grey columns: paused", is_paused),
    )
    return f"{'; '.join(['From proposal to answer', *(text for text, is_there in words if is_there)])}."


def _bars(axes: Axes, story: Story, source: str, *, place: int, size: float) -> None:
    colour = EXPERIMENT if story.declared.sources[source].kind == "instrument" else SIMULATION
    styles: dict[str, dict[str, Any]] = {
        "read": {"facecolors": colour, "edgecolor": colour, "alpha": 0.75},
        "failed": {"facecolors": BAD, "edgecolor": BAD},
        "set aside": {"facecolors": BAD, "edgecolor": BAD, "alpha": 0.75},
        "not run": {"facecolors": "none", "edgecolor": FAINT},
        "in doubt": {"facecolors": "none", "edgecolor": BAD},
        "open": {"facecolors": "none", "edgecolor": colour},
    }
    parts: dict[str, list[tuple[float, float]]] = {group: [] for group in GROUPS}
    for t in story.of_source(source):
        if t.proposed is not None:
            start, end = _place(story, t.proposed, size), _place(story, _end_of(story, t), size)
            parts[group_of(t)].append((start, max(end - start, 0.0)))
    for group, spans in parts.items():
        if spans:
            bars = axes.broken_barh(spans, (place - 0.3, 0.6), linewidths=0.8, **styles[group])
            bars.set_rasterized(len(spans) > MANY)


def _marks(axes: Axes, story: Story, source: str, *, place: int, size: float) -> None:
    """What people and rules said of its trials."""
    for kind, (marker, colour, _) in _MARKS.items():
        said = [e.time for t in story.of_source(source) for e in t.history if type(e) is kind]
        x = [_place(story, time, size) for time in said if time is not None]
        if x:
            axes.plot(x, [place] * len(x), marker, color=colour, markersize=6, zorder=3, rasterized=len(x) > MANY)


def _end_of(story: Story, t: TrialStory) -> datetime | None:
    """A trial that was refused was never answered, and ended then."""
    refused = t.history[-1].time if t.status == "cancelled" and t.history else None
    return refused or t.answered or story.last or t.proposed


def _place(story: Story, time: datetime | None, size: float) -> float:
    return (time - story.began).total_seconds() / size if time and story.began else 0.0


def _scale(seconds: float) -> tuple[float, str]:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds > 3 * size:
            return size, unit
    return 1.0, "s"
