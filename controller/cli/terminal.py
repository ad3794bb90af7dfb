"""What is printed, and where: results on stdout, complaints on stderr.

Text of a campaign or a driver is never read as markup and never reaches the terminal with control characters.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ClosedLoopError
from ..report.words import UNSEEN, printable
from ..secret import mask

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_LEFT_RAW = re.compile(f"[{UNSEEN}]")
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


def say(text: str, *, indent: int = 0) -> None:
    """Print one line of plain text."""
    print(" " * indent + printable(text), flush=True)


def show_json(data: Any) -> None:
    """Print data as JSON."""
    print(json_text(data))


def json_text(data: Any) -> str:
    """The data as JSON that a terminal cannot stumble over."""
    return escaped(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def escaped(text: str) -> str:
    """JSON with the control characters that its writer leaves as they are written as escapes."""
    return _LEFT_RAW.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def complain(text: str, *, word: str = "error:") -> None:
    """Print one message on stderr, its first word in red; lines stay lines, and secrets are masked."""
    from rich.text import Text

    lines = "\n".join(printable(line) for line in mask(text).splitlines())
    console(is_error=True).print(Text.assemble((word, "bold red"), " ", lines), soft_wrap=True)


def table(*headings: str, title: str = "", right: Iterable[int] = ()) -> Table:
    """An empty table; columns of numbers stand to the right."""
    from rich import box

    made = _plain_table()(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold")
    numeric = set(right)
    for k, heading in enumerate(headings):
        made.add_column(printable(heading), justify="right" if k in numeric else "left", overflow="fold")
    return made


@functools.cache
def _plain_table() -> type[Table]:
    """A table whose text cannot steer the terminal; made late, so that Rich is loaded only where it is used."""
    from rich.table import Table

    class PlainTable(Table):
        def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
            super().add_row(*(printable(c) if isinstance(c, str) else c for c in cells), **options)

    return PlainTable


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
