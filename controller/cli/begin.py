"""``init``, ``schema`` and ``sources``: what is needed to write a campaign."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ClosedLoopError
from . import options
from .application import BEGIN, app
from .terminal import say, show_json, write_text

if TYPE_CHECKING:
    from ..source import Source

SHIPPED = ("closedloop.instruments", "closedloop.simulators")


@app.command(rich_help_panel=BEGIN, epilog="Example: closedloop init furnace")
def init(
    folder: Annotated[Path, typer.Argument(help="Where to; made if absent.")] = Path(),
) -> None:
    """Write a commented campaign, a driver and a simulator that run at once, for you to change."""
    from .templates import FILES

    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise ClosedLoopError(f"{folder / there[0]} is there already and is not overwritten; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClosedLoopError(f"folder {folder} cannot be made ({error.strerror}); name another") from error
    for name, text in FILES.items():
        write_text(folder / name, text)
        say(f"wrote {folder / name}")
    say(f"try it: {'' if folder == Path() else f'cd {folder} && '}closedloop run campaign.yaml --executor inline")


@app.command(rich_help_panel=BEGIN, epilog="Example: closedloop schema --output closedloop.schema.json")
def schema(*, output: options.Output = None) -> None:
    """Print the JSON Schema of a campaign file, with which editors complete and check it."""
    import json

    from .schema import campaign_schema

    text = json.dumps(campaign_schema(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        print(text, end="")
    else:
        write_text(output, text)


@app.command(rich_help_panel=BEGIN, epilog="Example: closedloop sources --ledger lab.db")
def sources(
    *, ledger: options.Ledger = options.LEDGER, campaign: options.InLedger = None, as_json: options.AsJson = False
) -> None:
    """List the sources that can be named in a campaign: installed ones, those that ship, a ledger's own."""
    found = [*_installed(), *_shipped(), *_in_ledger(ledger, campaign)]
    if as_json:
        show_json(found)
        return
    for row in found:  # a line of its own each, so that it can be copied into a campaign
        say(row["target"])
        say(f"    {row['kind']}{', ' if row['kind'] else ''}{row['from']}: {row['summary']}")


def _installed() -> list[dict[str, str]]:
    points = entry_points(group="closedloop.sources")
    return [
        {
            "target": p.name,
            "kind": "",
            "from": f"package {p.dist.name}" if p.dist else "a package",
            "summary": p.value,
        }
        for p in sorted(points, key=lambda p: p.name)
    ]


def _shipped() -> list[dict[str, str]]:
    found = []
    for package in SHIPPED:
        for module in pkgutil.iter_modules(import_module(package).__path__):
            found += [
                {
                    "target": f"{cls.__module__}:{cls.__name__}",
                    "kind": cls.kind,
                    "from": "closedloop",
                    "summary": (inspect.getdoc(cls) or "").partition("\n")[0],
                }
                for cls in _classes(f"{package}.{module.name}")
            ]
    return found


def _classes(module: str) -> list[type[Source]]:
    """The sources of a module that can be made; none where what it needs is not installed."""
    from ..source import Source

    try:
        there = vars(import_module(module)).values()
    except ImportError:
        return []
    classes = (t for t in there if isinstance(t, type) and issubclass(t, Source) and t.__module__ == module)
    return [t for t in classes if not inspect.isabstract(t)]


def _in_ledger(ledger: Path, campaign: str | None) -> list[dict[str, str]]:
    from ..ledger.reader import campaigns, started
    from ..report.declaration import Declaration

    if campaign is None and not ledger.is_file():
        return []
    names = [campaign] if campaign else campaigns(ledger)
    rows: list[dict[str, Any]] = []
    for name in names:
        declared = Declaration.of(started(ledger, name).campaign)
        rows += [
            {"target": s.code, "kind": s.kind, "from": f"campaign {name}", "summary": f"there called {key}"}
            for key, s in declared.sources.items()
        ]
    return rows
