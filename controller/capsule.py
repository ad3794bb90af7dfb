"""A capsule: one campaign in one zip file that another machine can read, verify and run again.

Laws:
    * It holds one moment of the ledger: the report, the anchor and the declaration are made from the copy inside.
    * A campaign that is not whole is not put into a capsule.
    * The same ledger gives the same bytes on the same installation; the only time in it is the last event's.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LedgerError
from .ledger.anchor import Anchor, Head, anchor_from
from .ledger.audit import Audit, Problem, audit
from .ledger.copy import copy_campaign
from .ledger.crate import Entity, opened_crate, write_crate
from .ledger.reader import sqlite_version

if TYPE_CHECKING:
    from .report.story import Story

LEDGER, ANCHOR = "ledger.db", "anchor.json"
_FILES = {  # name -> what it is, its media type
    LEDGER: ("The campaign's ledger, an SQLite file: every decision and every reading", "application/vnd.sqlite3"),
    ANCHOR: ("The head of the ledger's chain of hashes", "application/json"),
    "campaign.yaml": ("The declaration, as it was last amended", "application/yaml"),
    "campaign.json": ("The same declaration as JSON", "application/json"),
    "environment.json": ("Machine and Python that made this capsule", "application/json"),
    "requirements.txt": ("The packages that were installed where this capsule was made", "text/plain"),
    "report.html": ("The report: one page that needs no network", "text/html"),
    "README.md": ("What this is, and how to verify it", "text/markdown"),
}
_README = """# Campaign {name}

{description}A capsule of an experiment campaign that `closedloop` carried out: {n} events from {began} to {last}.
It is an RO-Crate 1.1; `ro-crate-metadata.json` lists each file with its SHA-256.

| file | what it is |
|---|---|
{table}

Verify it (files, chain of hashes, anchor): `closedloop verify {name}.zip`, or unpack it and
`closedloop verify --ledger ledger.db --anchor anchor.json`.
Look at it: `closedloop status --ledger ledger.db`, or open `report.html`.
Make its decisions again: `closedloop replay --ledger ledger.db`.

The head of the chain is event {n}, hash `{hash}`. Whoever could rewrite this file could rewrite the head with it:
compare it with one that was kept elsewhere.

Versions, commit and command at the beginning of the campaign stand in the ledger's first event and in the report;
`requirements.txt` and `environment.json` are those of the machine that made this capsule. Sources that are files of
their own are not in it.
"""


def write_capsule(ledger: Path, campaign: str | None, to: Path) -> Path:
    """Write a campaign as a capsule.

    Args:
        ledger: the ledger; a controller may be writing it.
        campaign: its name; not needed where the ledger holds one.
        to: the zip file; one that is there is replaced, any other file is not.

    Raises:
        LedgerError: if the campaign is not there or is not whole.
        ClosedLoopError: if the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="closedloop-capsule-") as folder:
        here = Path(folder)
        name = copy_campaign(ledger, campaign, here / LEDGER)
        (found,) = audit(here / LEDGER, name)
        if found.head is None or not found.is_whole:
            first = found.problems[0].text if found.problems else "it has no event"
            raise LedgerError(f"campaign {name!r} in {ledger} is not whole ({first}); see 'closedloop verify'")
        story = _write_files(here, found.campaign, found.head)
        _crate(here, story, found.head, to)
    return to


def verify_capsule(path: Path, campaign: str | None = None, *, anchors: Sequence[Anchor] = ()) -> list[Audit]:
    """What is found of a capsule: its files, the ledger in it, the anchor in it, and those that were kept elsewhere.

    Raises:
        LedgerError: if it is no capsule, or one that must not be unpacked.
    """
    with opened_crate(path) as crate, tempfile.TemporaryDirectory(prefix="closedloop-capsule-") as folder:
        damaged = [Problem(None, text) for text in crate.problems()]
        inner = anchor_from(crate.read(ANCHOR), f"{ANCHOR} in {path}")
        copy = Path(folder) / LEDGER
        crate.unpack(LEDGER, copy)
        found = _audit(copy, path, campaign, (inner, *anchors))
        return [replace(a, problems=(*damaged, *a.problems)) for a in found]


def _audit(copy: Path, path: Path, campaign: str | None, anchors: Sequence[Anchor]) -> list[Audit]:
    """The audit of the ledger inside; an anchor from elsewhere may know campaigns that are none of this capsule's."""
    ours = [a.only(anchors[0].campaigns) for a in anchors]
    try:
        return audit(copy, campaign, anchors=[a for a in ours if a])
    except LedgerError as error:
        raise LedgerError(str(error).replace(str(copy), f"{LEDGER} in {path}")) from error


def _write_files(here: Path, name: str, head: Head) -> Story:
    from .report.page import write_report
    from .report.story import read_story

    story = read_story(here / LEDGER, name)
    declared = dict(story.declared.raw)
    texts = {
        ANCHOR: Anchor(made=head.time, campaigns={name: head}).text(),
        "campaign.yaml": yaml_of(declared),
        "campaign.json": json.dumps(declared, indent=2, ensure_ascii=False) + "\n",
        "environment.json": json.dumps(_environment(), indent=2) + "\n",
        "requirements.txt": _requirements(),
        "README.md": _readme(story, head),
    }
    for file, text in texts.items():
        (here / file).write_text(text, encoding="utf-8")
    write_report(here / LEDGER, name, here / "report.html")
    return story


def yaml_of(declared: dict[str, Any]) -> str:
    """A declaration as a campaign file."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width = False, 10_000  # text stays on its line
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = StringIO()
    yaml.dump(declared, text)
    return text.getvalue()


def _readme(story: Story, head: Head) -> str:
    description = f"{story.declared.description}\n\n" if story.declared.description else ""
    table = "\n".join(f"| {file} | {what} |" for file, (what, _) in _FILES.items())
    began, last = (t.isoformat(timespec="seconds") if t else "?" for t in (story.began, story.last))
    return _README.format(
        name=story.declared.name,
        description=description,
        n=head.seq,
        began=began,
        last=last,
        table=table,
        hash=head.hash,
    )


def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "sqlite": sqlite_version(),
    }


def _requirements() -> str:
    found = {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}
    return "".join(f"{name}=={found[name]}\n" for name in sorted(found, key=str.lower))


def _crate(here: Path, story: Story, head: Head, to: Path) -> None:
    user = story.provenance.get("user", "none")
    software = {"@type": "SoftwareApplication", "name": "closedloop", **_version_of(story)}
    run: Entity = {
        "@type": "CreateAction",
        "name": f"The campaign {story.declared.name}",
        "startTime": story.began.isoformat() if story.began else "",
        "endTime": head.time.isoformat(),
        "instrument": {"@id": "#closedloop"},
        "object": {"@id": "campaign.yaml"},
        "result": {"@id": LEDGER},
        **({"agent": {"@id": "#user"}} if user != "none" else {}),
    }
    terms = {
        "@type": "CreativeWork",
        "name": "Not stated",
        "description": "No licence was stated; ask whoever handed this on before you use it.",
    }
    described: dict[str, Entity] = {
        **{name: {"name": what, "encodingFormat": form} for name, (what, form) in _FILES.items()},
        **{"#closedloop": software, "#run": run, "#terms": terms},
        **({"#user": {"@type": "Person", "name": user}} if user != "none" else {}),
    }
    said = story.declared.description or "An experiment campaign in a closed loop."
    root = {
        "name": f"Campaign {story.declared.name}",
        "description": f"{said} With its ledger, declaration, report and environment.",
        "datePublished": head.time.isoformat(),
        "license": {"@id": "#terms"},
        "mentions": {"@id": "#run"},
        "mainEntity": {"@id": LEDGER},
    }
    write_crate(to, {name: here / name for name in _FILES}, root=root, described=described)


def _version_of(story: Story) -> dict[str, str]:
    version = story.provenance.get("closedloop", "")
    return {"softwareVersion": version} if version else {}
