"""The section on decisions: each trial with its forecast, its reading, its reason, and what else was weighed."""

from __future__ import annotations

from .markup import Child, Html, details, el, facts, join, note, table
from .sayings import saying
from .story import Story, TrialStory
from .study import Study
from .words import clock, duration, number, plus_minus, setting_words, value_words, with_unit

MAX_SHOWN = 400  # the newest: a page must stay small; the ledger holds them all
MAX_ALTERNATIVES = 5


def decisions(study: Study) -> Html:
    """One line a trial, that opens."""
    story = study.story
    trials = list(story.trials.values())
    if not trials:
        return note("Nothing was decided yet.")
    left_out = len(trials) - MAX_SHOWN
    words = f"The newest {MAX_SHOWN} of {len(trials)}; 'closedloop export' writes all of them." if left_out > 0 else ""
    shown = trials[-MAX_SHOWN:]
    return join([note(words) if words else None, *(_one(story, t) for t in shown), _notes(story)])


def _one(story: Story, t: TrialStory) -> Html:
    kind = "experiment" if story.declared.sources[t.trial.source].kind == "instrument" else "simulation"
    summary = join(
        [
            el("span", _outcome(story, t), cls="read"),
            el("span", f"{t.number} ", el("span", t.trial.source, cls=kind), cls="who"),
            el("span", setting_words(t.trial.setting, story.declared.parameters), cls="what"),
        ]
    )
    return details(summary, facts(_facts(story, t)), _responses(story, t), _alternatives(story, t))


def _outcome(story: Story, t: TrialStory) -> Child:
    if t.reading is None or not t.is_read:
        is_alarming = t.status in ("failed", "invalid", "unknown")
        return el("span", _status_words(t), cls="alarm" if is_alarming else "what")
    scores = [(r, s) for r in story.declared.responses if (s := t.scored(r)) is not None]
    worst = max(scores, key=lambda pair: abs(pair[1].z), default=None)
    parts: list[Child] = [", ".join(map(number, story.objectives(t.reading.values)))]
    if worst is not None:
        z = worst[1].z
        parts.append(el("span", f"  z {z:+.1f}", cls="calm" if abs(z) < 2 else "odd" if abs(z) < 3 else "alarm"))
    return join(parts)


def _status_words(t: TrialStory) -> str:
    if t.status == "failed" and t.failure:
        return t.failure.cause
    words = {"proposed": "waits for approval", "approved": "in flight", "acting": "in flight", "unknown": "in doubt"}
    words |= {"cancelled": "not run"}
    return "set aside" if t.status == "invalid" and t.reading else words.get(t.status, t.status)


def _facts(story: Story, t: TrialStory) -> list[tuple[Child, Child]]:
    why = t.trial.why
    rows: list[tuple[Child, Child]] = [("why", why.text or "no reason was given")]
    if why.gain is not None:
        rows.append(("gain", f"{number(why.gain, 3)} for {number(100 * (why.cost or 0.0), 2)} % of the budget"))
    if t.reading and t.reading.achieved:
        rows.append(("achieved", setting_words(t.reading.achieved, story.declared.parameters)))
    if t.asks:
        rows.append(("asked", f"a person must approve it: {t.asks}"))
    units, before = story.declared.parameters, t.proposal.setting if t.proposal else None
    rows += [(e.kind, f"{saying(e, units=units, before=before)} at {clock(e.time)}") for e in t.history]
    took = f", answered after {duration(t.seconds)}" if t.seconds is not None else ""
    rows.append(("when", f"proposed by the {t.by} at {clock(t.proposed)}{took}"))
    return rows


def _responses(story: Story, t: TrialStory) -> Html | None:
    forecast, rows = t.trial.forecast, []
    for name, unit in story.declared.responses.items():
        read = t.reading.values.get(name) if t.reading else None
        mean, scored = forecast.mean.get(name), t.scored(name)
        if read is None and mean is None:
            continue
        cells = [
            with_unit(plus_minus(mean, forecast.sd.get(name)), unit) if mean is not None else "none",
            with_unit(plus_minus(read, t.reading.sd.get(name)), unit) if read is not None and t.reading else "",
            f"{scored.z:+.2f}" if scored else "",
        ]
        rows.append([name, *cells])
    return table(["response", "forecast", "reading", "z"], rows, numeric=(1, 2, 3)) if rows else None


def _alternatives(story: Story, t: TrialStory) -> Html | None:
    if not t.trial.alternatives:
        return None
    names = list(story.declared.parameters)
    rows = [
        [
            a.source,
            *(value_words(a.setting[n]) if n in a.setting else "" for n in names),
            number(a.gain, 3),
            f"{number(100 * a.cost, 2)} %",
            a.note,
        ]
        for a in t.trial.alternatives[:MAX_ALTERNATIVES]
    ]
    head = ["weighed and not taken", *names, "gain", "cost", ""]
    return table(head, rows, numeric=range(1, len(names) + 3))


def _notes(story: Story) -> Html | None:
    if not story.notes:
        return None
    shown = story.notes[-MAX_SHOWN:]
    return join([el("h3", "Notes"), facts((clock(time), text) for time, text in shown)])
