"""One line an event: what ``run`` prints where no terminal looks on."""

from __future__ import annotations

from ..records import AnyEvent, Assimilated, Noted, Observed, Proposed, Resumed, Started, Stopped
from ..report.outcome import best_words
from ..report.sayings import saying, who
from ..report.story import Story, TrialStory
from ..report.words import amount, clock, goal_words, plus_minus, printable, setting_words, with_unit
from .people import Ask


def line_of(story: Story, event: AnyEvent) -> str:
    """The event in one line; ``story`` was told of it already."""
    words = printable(_words(story, event))
    return f"{clock(event.time)} {event.seq:>5}  {event.kind:<11} {words}"


def _words(story: Story, event: AnyEvent) -> str:  # noqa: PLR0911 - one return a kind of event
    match event:
        case Started():
            return f"{story.declared.name}: {goal_words(story.declared.goal)}"
        case Proposed():
            return _proposed(story, story.trials[event.trial.number])
        case Observed():
            return _observed(story, story.trials[event.trial])
        case Assimilated():
            trials = ", ".join(f"#{n}" for n in event.trials)
            return f"{trials} into the {event.belief.get('kind', 'belief')}" + (
                f" ({event.note})" if event.note else ""
            )
        case Noted():
            return event.text
        case Stopped():
            return event.reason
        case _:
            return _said(story, event)


def line_of_ask(ask: Ask, *, is_new: bool = True) -> str:
    """What people may type, in one line; the line before says what is asked, unless that is long ago."""
    ways = " | ".join(f"{command} ({meaning})" for command, meaning in ask.ways)
    asked = "" if is_new else f"{ask.text}; "
    return f"{'':8} {'':>5}  {'waits':<11} {printable(f'{asked}type: {ways}')}"


def _said(story: Story, event: AnyEvent) -> str:
    number = getattr(event, "trial", None)
    known = story.trials.get(number) if isinstance(number, int) else None
    before = known.proposal.setting if known and known.proposal else None
    words = saying(event, units=story.declared.parameters, before=before)
    if isinstance(event, Resumed) and story.paused:
        words += f"; still paused by {who(story.paused.by)}: {story.paused.reason}"
    return words if known is None else words.replace(f"#{number}", f"#{number} {known.trial.source} ", 1)


def _proposed(story: Story, t: TrialStory) -> str:
    setting = setting_words(t.trial.setting, story.declared.parameters)
    mean, sd = t.trial.forecast.mean, t.trial.forecast.sd
    expected = ", ".join(
        f"{r} {with_unit(plus_minus(mean[r], sd.get(r)), unit)}"
        for r, unit in story.declared.responses.items()
        if r in mean
    )
    forecast = f" | forecast {expected}" if expected else ""
    asks = f" | to be approved: {t.asks}" if t.asks else ""
    return f"#{t.number} {t.trial.source}  {setting}{forecast} | {t.trial.why.text}{asks}"


def _observed(story: Story, t: TrialStory) -> str:
    assert t.reading is not None
    parts = []
    for response, value in t.reading.values.items():
        unit = story.declared.responses.get(response, "")
        scored = t.scored(response)
        z = f" (z {scored.z:+.1f})" if scored else ""
        parts.append(f"{response} {with_unit(plus_minus(value, t.reading.sd.get(response)), unit)}{z}")
    resource = story.declared.main_resource
    spent = f"{amount(resource, story.spent.get(resource, 0.0))} spent"
    best = f" | best {best_words(story)} (#{story.best.number})" if story.best else ""
    return f"#{t.number} {t.trial.source}  {', '.join(parts)}{best} | {spent}"
