"""How many trials came to what: the numbers add up to all that were proposed."""

from __future__ import annotations

from .story import Story
from .words import plural


def counts(story: Story) -> dict[str, int]:
    """By what became of them; readings that came late are among the experiments and simulations."""
    return {
        "experiments": story.n_answered("instrument"),
        "simulations": story.n_answered("simulator"),
        "failed": story.n_failed(),
        "set aside": sum(t.reading is not None for t in story.in_status("invalid")),
        "not run": len(story.in_status("cancelled")),
        "in doubt": len(story.in_status("unknown")),
        "waiting": len(story.in_status("proposed")),
        "open": len(story.running),
    }


def others_words(story: Story) -> str:
    """What became of trials that gave no reading that counts: ``1 failed, 2 not run``; empty if there are none."""
    found = counts(story).items()
    return ", ".join(f"{n} {what}" for what, n in found if n and what not in ("experiments", "simulations"))


def readings_words(story: Story) -> str:
    """``3 experiments · 2 simulations``."""
    found = counts(story)
    return " · ".join(plural(found[f"{what}s"], what) for what in ("experiment", "simulation"))
