"""The report of a campaign: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import ClosedLoopError
from ..ledger.audit import audit
from .convergence import convergence
from .decisions import decisions
from .forecasts import forecasts, trust
from .front import front
from .headline import headline
from .knowledge import knowledge
from .markup import Html, el
from .provenance import provenance
from .slices import discrepancy, slices
from .spending import spending
from .story import Story, read_events
from .study import Study
from .theme import STYLE
from .timeline import timeline
from .unknowns import unknowns

# Whatever a campaign or a driver says: no script, and nothing from another host.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

Section = Callable[[Study], Html | None]

SECTIONS: tuple[tuple[str, str, Section], ...] = (
    ("convergence", "Convergence", convergence),
    ("front", "Trade-off", front),
    ("knowledge", "What is known", knowledge),
    ("forecasts", "Forecast against reading", forecasts),
    ("calibration", "Calibration", trust),
    ("slices", "What is believed", slices),
    ("unknowns", "Unknowns, before and now", unknowns),
    ("discrepancy", "Discrepancy of the simulator", discrepancy),
    ("budget", "Budget", spending),
    ("timeline", "Timeline", timeline),
    ("decisions", "Decisions", decisions),
    ("provenance", "Provenance", provenance),
)


def write_report(ledger: str | Path, campaign: str | None, output: str | Path) -> Path:
    """Write the report of a campaign that may be over, unfinished or hardly begun.

    Args:
        ledger: the file.
        campaign: its name; None where the ledger holds one.
        output: the HTML file.

    Returns:
        The file that was written.

    Raises:
        LedgerError: if the ledger or the campaign is not there.
        ClosedLoopError: if the file cannot be written.
    """
    events = read_events(ledger, campaign)
    found = audit(ledger, campaign)
    text = page(Study(Story.of(events), events, found[0] if len(found) == 1 else None))
    path = Path(output)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ClosedLoopError(f"{path} cannot be written ({error.strerror}); name another file") from error
    return path


def page(study: Study) -> str:
    """The whole page."""
    made = [(key, title, section(study)) for key, title, section in SECTIONS]
    shown = [(key, title, content) for key, title, content in made if content is not None]
    links = el("nav", *(el("a", title, href=f"#{key}") for key, title, _ in shown))
    body = el(
        "main",
        headline(study),
        links,
        *(el("section", el("h2", title), content, id=f"{key}") for key, title, content in shown),
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", **{"http-equiv": "Content-Security-Policy", "content": POLICY}),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", f"{study.story.declared.name} · closedloop"),
        el("style", Html(STYLE)),
    )
    return "<!doctype html>\n" + el("html", head, el("body", body), lang="en")
