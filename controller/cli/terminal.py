"""What is printed, and where: results on stdout, complaints on stderr.

Text of a campaign or a driver is never read as markup and never reaches the terminal with control characters.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ClosedLoopError
from ..report.words import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

MIN_WIDTH = 100  # of a table that goes to a file or a pipe


def console(*, is_error: bool = False) -> Console:
    """A Rich console; a pipe gets room for whole tables."""
    from rich.console import Console

    stream = sys.stderr if is_error else sys.stdout
    width = None if stream.isatty() else max(MIN_WIDTH, Console(file=stream).width)
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width, soft_wrap=not width)


def show(*things: RenderableType) -> None:
    """Print on stdout."""
    console().print(*things)


def say(text: str) -> None:
    """Print one line of plain text."""
    print(printable(text))


def show_json(data: Any) -> None:
    """Print data as JSON."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def complain(text: str, *, word: str = "error:") -> None:
    """Print one message on stderr, its first word in red; lines stay lines."""
    from rich.text import Text

    lines = "\n".join(printable(line) for line in text.splitlines())
    console(is_error=True).print(Text.assemble((word, "bold red"), " ", lines), soft_wrap=True)


def table(*headings: str, title: str = "", right: Iterable[int] = ()) -> Table:
    """An empty table; columns of numbers stand to the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold")
    numeric = set(right)
    for k, heading in enumerate(headings):
        made.add_column(heading, justify="right" if k in numeric else "left", overflow="fold")
    return made


def pairs(rows: Mapping[str, str] | Sequence[tuple[str, RenderableType]]) -> Table:
    """A table of names and what belongs to them."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, thing in rows.items() if isinstance(rows, Mapping) else rows:
        grid.add_row(name, Text(printable(thing)) if isinstance(thing, str) else thing)
    return grid


def write_text(path: Path, text: str) -> None:
    """Write a file that was asked for.

    Raises:
        ClosedLoopError: if it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ClosedLoopError(
            f"{path} cannot be written ({error.strerror}); name another file with --output"
        ) from error
