"""What a campaign has come to, in words: the best reading, the front, or how much is known by now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .words import number, plural, with_unit

if TYPE_CHECKING:
    from .story import Story, TrialStory

KNOWLEDGE = {  # a decision's figure -> what it says of a goal that seeks no best setting
    "unexplained": "of the variance is unexplained",
    "in_doubt": "of the space is in doubt",
}


def best_words(story: Story) -> str:
    """What was found, in one line."""
    goal, target = story.declared.goal, story.declared.target
    if not goal.aims:
        return knowledge_words(story)
    best = story.best
    if best is None or best.reading is None:
        return f"no reading of {target} yet"
    text = objectives_words(story, best) or "no value"
    distance = "distance to the value " if goal.aims[0].way in ("target", "range") and len(goal.aims) == 1 else ""
    broken = "" if story.is_feasible(best.reading.values) else ", which breaks a constraint"
    outside = "" if story.declared.has(best.trial.setting) else ", measured outside the space as it was amended"
    others = f" (one of {len(story.front)} on the front)" if len(story.front) > 1 else ""
    return f"{distance}{text}{broken}{outside}{others}"


def objectives_words(story: Story, t: TrialStory) -> str:
    """``61.2 %`` of one objective, ``yield 61.2 %, cost 3.4`` of several; empty where one has no value."""
    aims = story.declared.goal.aims
    found = story.objectives(t.reading.values) if t.reading else []
    values = [with_unit(number(x), story.declared.unit_of(a)) for a, x in zip(aims, found, strict=False)]
    if len(aims) == 1:
        return "".join(values)
    return ", ".join(f"{a.label} {value}" for a, value in zip(aims, values, strict=False))


def knowledge_words(story: Story) -> str:
    """How much is known of what is to be learned or mapped, as the newest decision saw it."""
    n = len([t for t in story.of_source(story.declared.target) if t.is_read])
    course = knowledge_course(story)
    if not course:
        return f"{plural(n, 'reading')} of {story.declared.target}"
    name, values = course
    return f"{number(100 * values[-1], 2)} % {KNOWLEDGE[name]}, by {plural(n, 'reading')} of {story.declared.target}"


def knowledge_course(story: Story) -> tuple[str, list[float]] | None:
    """The figure that says how much is left to know, decision by decision; None where no decision had one."""
    trials = [t for _, t in sorted(story.trials.items())]
    for name in KNOWLEDGE:
        if values := [t.trial.why.figures[name] for t in trials if name in t.trial.why.figures]:
            return name, values
    return None
