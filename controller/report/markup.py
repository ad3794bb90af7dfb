"""HTML that cannot be broken by what it shows: text is escaped unless it was made here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from .words import UNSEEN

CONTROL = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f{UNSEEN}]")  # no text of a page; a driver's message may hold them
VOID = frozenset({"meta", "br", "col", "hr"})


class Html(str):
    """Markup that is safe to stand in a page."""

    __slots__ = ()


Child = str | float | int | None | Html


def el(tag: str, *children: Child | Iterable[Child], cls: str = "", **attributes: str) -> Html:
    """An element. Plain text among the children is escaped, ``Html`` is not; None is left out.

    Example:
        >>> el("p", "a < b", cls="note")
        '<p class="note">a &lt; b</p>'
    """
    if cls:
        attributes = {"class": cls, **attributes}
    head = "".join(f' {name.rstrip("_")}="{plain(value)}"' for name, value in attributes.items())
    return Html(f"<{tag}{head}>") if tag in VOID else Html(f"<{tag}{head}>{join(children)}</{tag}>")


def join(children: Iterable[Child | Iterable[Child]]) -> Html:
    """The children one after the other."""
    return Html("".join(map(_text, children)))


def _text(child: Child | Iterable[Child]) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, str | int | float):
        return plain(str(child))
    return join(child)


def plain(text: str) -> str:
    """The text as the page shows it, whatever it holds."""
    return escape(visible(text))


def visible(text: str) -> str:
    """What cannot stand in a page is seen to be there."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def table(head: Iterable[Child], rows: Iterable[Iterable[Child]], *, numeric: Iterable[int] = ()) -> Html:
    """A table; numeric columns stand to the right."""
    right = set(numeric)

    def row(cells: Iterable[Child], tag: str) -> Html:
        return el("tr", *(el(tag, c, cls="n" if k in right else "") for k, c in enumerate(cells)))

    body = el("tbody", *(row(r, "td") for r in rows))
    return el("div", el("table", el("thead", row(head, "th")), body), cls="wide")


def facts(rows: Iterable[tuple[Child, Child]]) -> Html:
    """Names and what belongs to them."""
    return el("dl", *(join([el("dt", name), el("dd", value)]) for name, value in rows))


def details(summary: Child, *children: Child) -> Html:
    """Something that is shown when asked for."""
    return el("details", el("summary", summary), *children)


def note(text: Child) -> Html:
    """A remark in small type."""
    return el("p", text, cls="note")
