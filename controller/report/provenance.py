"""The section on provenance: what was declared, by which software it was decided, and when."""

from __future__ import annotations

import json

from .markup import Child, Html, details, el, facts, join
from .study import Study


def provenance(study: Study) -> Html:
    """What somebody needs who wants to do it again."""
    story = study.story
    rows: list[tuple[Child, Child]] = [
        ("campaign", story.declared.name),
        ("declaration", f"sha256 {study.campaign.fingerprint}"),
        ("seed", str(study.campaign.seed)),
        ("belief", story.declared.belief),
        ("events", str(story.seq)),
        ("began", story.began.isoformat(timespec="seconds") if story.began else "never"),
        ("last event", story.last.isoformat(timespec="seconds") if story.last else "none"),
        *((name, value) for name, value in story.provenance.items()),
    ]
    declaration = json.dumps(study.events[0].model_dump(mode="json")["campaign"], indent=2, ensure_ascii=False)
    return join([facts(rows), details("The declaration, as the ledger has it", el("pre", declaration))])
