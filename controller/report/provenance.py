"""The section on provenance: what was declared, by which software it was decided, and when."""

from __future__ import annotations

import json

from ..candidate_table import shortened
from .markup import Child, Html, details, el, facts, join
from .study import Study


def provenance(study: Study) -> Html:
    """What somebody needs who wants to do it again."""
    story = study.story
    rows: list[tuple[Child, Child]] = [
        ("ledger", _state_of_ledger(study)),
        ("campaign", story.declared.name),
        ("declaration", f"sha256 {study.campaign.fingerprint}"),
        ("seed", str(study.campaign.seed)),
        ("belief", story.declared.belief),
        ("events", str(story.seq)),
        ("began", story.began.isoformat(timespec="seconds") if story.began else "never"),
        ("last event", story.last.isoformat(timespec="seconds") if story.last else "none"),
        *((name, value) for name, value in story.provenance.items() if name != "seed"),
    ]
    declaration = json.dumps(shortened(story.declared.raw), indent=2, ensure_ascii=False)
    return join([facts(rows), details("The declaration, as the ledger has it", el("pre", declaration))])


def _state_of_ledger(study: Study) -> str:
    """Whether the chain was whole when the page was made; printed, the hash is an anchor."""
    found = study.audit
    if found is None:
        return "not checked"
    if found.head and found.is_whole:
        return f"whole: every event follows from the one before; head: event {found.head.seq}, hash {found.head.hash}"
    first = found.problems[0].text if found.problems else "it has no event"
    return f"NOT whole, so this page may be false: {first} ({len(found.problems)} found by 'closedloop verify')"
