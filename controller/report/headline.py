"""The head of a report: what was wanted, what was found, what it cost, and why it ended."""

from __future__ import annotations

from ..calibration import calibration, second_half
from .counts import others_words
from .markup import Child, Html, el, join, table
from .outcome import knowledge_course, knowledge_words
from .sayings import who
from .story import Story, TrialStory
from .study import Study
from .words import amount, duration, goal_words, number, plural, plus_minus, unit_sign, value_words, with_unit


def headline(study: Study) -> Html:
    """Title, cards, and the best reading beside what it was expected to be."""
    story = study.story
    return join(
        [
            el(
                "header",
                el("h1", story.declared.name),
                el("p", goal_words(story.declared.goal)),
                el("p", story.declared.description) if story.declared.description else None,
            ),
            *[el("p", el("strong", "Not safe"), f": {text}", cls="alarm") for text in story.unsafe.values()],
            el("div", *_cards(story), cls="cards"),
            _ending(story),
            _best(story),
        ]
    )


def _card(name: str, value: Child, more: Child) -> Html:
    return el(
        "div", el("div", name, cls="name"), el("div", value, cls="value"), el("div", more, cls="more"), cls="card"
    )


def _cards(story: Story) -> list[Html]:
    return [_best_card(story), _counts_card(story), _spent_card(story), _forecast_card(story)]


def _best_card(story: Story) -> Html:
    best = story.best
    if not story.declared.goal.aims:
        course = knowledge_course(story)
        value = f"{number(100 * course[1][-1], 2)} %" if course else "–"
        return _card("left to know", value, knowledge_words(story))
    if best is None or best.reading is None:
        return _card("best", "none yet", f"no reading of {story.declared.target}")
    aims = story.declared.goal.aims
    found = story.objectives(best.reading.values)
    texts = [number(x) for x in found] or ["no value"]
    unit = el("small", f" {unit_sign(story.declared.unit_of(aims[0]))}") if len(aims) == 1 else None
    more = f"trial {best.number}" + ("" if story.is_feasible(best.reading.values) else ", breaks a constraint")
    more += "" if story.declared.has(best.trial.setting) else ", outside the space as it was amended"
    if story.front and len(aims) > 1:
        labels = ", ".join(a.label for a in aims)
        more = f"nearest to the best of {labels}; {plural(len(story.front), 'reading')} on the front"
    label = f"best {aims[0].label}" if len(aims) == 1 else "compromise"
    return _card(label, join([" / ".join(texts), *([unit] if unit else [])]), more)


def _counts_card(story: Story) -> Html:
    experiments, simulations = story.n_answered("instrument"), story.n_answered("simulator")
    others = others_words(story)
    more = f"beside {plural(simulations, 'simulation')}; of {plural(len(story.trials), 'trial')} in all"
    return _card("experiments", str(experiments), f"{more}{f': {others}' if others else ''}")


def _spent_card(story: Story) -> Html:
    resource = story.declared.main_resource
    limit = story.declared.budget[resource]
    others = ", ".join(
        f"{amount(r, story.spent.get(r, 0.0))} of {amount(r, b)}"
        for r, b in story.declared.budget.items()
        if r != resource
    )
    spent = story.spent.get(resource, 0.0)
    value = amount(resource, spent) if resource == "time" else join([number(spent), el("small", f" {resource}")])
    return _card("spent", value, f"of {amount(resource, limit)}" + (f"; {others}" if others else ""))


def _forecast_card(story: Story) -> Html:
    scored = story.scored()
    score = calibration(second_half(scored))
    if score is None:
        return _card("80 % intervals held", "–", "no reading was forecast yet")
    value = join([f"{100 * score.covers(0.8):.0f}", el("small", " %")])
    return _card("80 % intervals held", value, f"of the later half of readings (n = {score.n})")


def _ending(story: Story) -> Html:
    took = duration((story.last - story.began).total_seconds()) if story.last and story.began else "no time"
    if story.stopped:
        return el("p", el("strong", "Stopped"), f" after {took}: {story.stopped.reason}.")
    if story.paused:
        pauses = "; ".join(f"by {who(p.by)}: {p.reason}" for p in sorted(story.pauses.values(), key=lambda p: p.seq))
        return el("p", el("strong", "Paused"), f" after {took}, {pauses}.")
    running = f", with {plural(len(story.running), 'trial')} in flight" if story.running else ""
    stops = f"; stops when {story.declared.stop_words}" if story.declared.stop_words else ""
    return el("p", el("strong", "Not over"), f": {plural(story.seq, 'event')} in {took}{running}{stops}.")


def _best(story: Story) -> Html | None:
    best = story.best
    if best is None or best.reading is None:
        return None
    return el("div", _settings(story, best), _readings(story, best), cls="two")


def _settings(story: Story, best: TrialStory) -> Html:
    achieved = best.reading.achieved if best.reading else {}
    rows = [
        [
            name,
            with_unit(value_words(v), unit),
            with_unit(value_words(achieved[name]), unit) if name in achieved else "",
        ]
        for name, unit in story.declared.parameters.items()
        if (v := best.trial.setting.get(name)) is not None
    ]
    return el("div", table(["best setting", "requested", "achieved"], rows, numeric=(1, 2)))


def _readings(story: Story, best: TrialStory) -> Html:
    assert best.reading is not None
    forecast = best.trial.forecast
    rows = []
    for name, unit in story.declared.responses.items():
        scored = best.scored(name)
        expected = plus_minus(forecast.mean[name], forecast.sd.get(name)) if name in forecast.mean else "none"
        read = with_unit(plus_minus(best.reading.values[name], best.reading.sd.get(name)), unit)
        rows.append([name, read, expected, f"{scored.z:+.1f}" if scored else ""])
    return el("div", table(["response", "reading", "forecast", "z"], rows, numeric=(1, 2, 3)))
