"""Figures as SVG that stands in the page: its text is text, and its colours follow light and dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .markup import Html, el, visible
from .theme import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 10.4  # inches of a figure over the whole page
MANY = 1500  # marks above which a layer becomes an image, so that the page stays small
INK, SOFT, FAINT, LINE = (COLOURS[k] for k in ("ink", "soft", "faint", "line"))
EXPERIMENT, SIMULATION, GOOD, BAD, BAND = (COLOURS[k] for k in ("experiment", "simulation", "good", "bad", "band"))

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_USES = re.compile(r'(id="|url\(#|href="#)')
_FONT = re.compile(r"(font(?:-family)?:[^;\"]*?)'?DejaVu Sans'?[^;\"]*")


@contextmanager
def drawing(width: float = WIDTH, height: float = 3.4, **grid: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes; ``grid`` goes to ``subplots``."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(**grid)


def svg(figure: Figure, name: str, caption: str = "") -> Html:
    """The figure as an element of the page; ``name`` keeps its parts apart from other figures'."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's own fonts draw the text
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = visible(text.getvalue())
    drawn = _USES.sub(rf"\g<1>{name}-", drawn[drawn.index("<svg") :])
    drawn = _FONT.sub(r"\1inherit", drawn)
    for variable, colour in COLOURS.items():
        drawn = drawn.replace(colour, f"var(--{variable})")
    words = el("figcaption", caption) if caption else None
    return el("figure", Html(drawn), words)


def quiet(axes: Axes, *, is_grid: bool = True) -> None:
    """Faint horizontal lines and room at the sides."""
    axes.margins(x=0.03)
    if is_grid:
        axes.grid(axis="y", color=LINE, linewidth=0.8)


def labelled(name: str, unit: str) -> str:
    """The label of an axis."""
    from .words import unit_sign

    return f"{name} ({unit_sign(unit)})" if unit_sign(unit) else name
