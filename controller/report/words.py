"""Numbers, settings and durations as a person reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ..goal import Goal
from ..records import Value

UNIT_SIGNS = {"degC": "°C", "percent": "%", "dimensionless": "", "degF": "°F", "um": "µm"}
BARS = "▁▂▃▄▅▆▇█"
# What a text may not do to a terminal, a table or a page: control characters, line separators, overrides of the
# direction of writing, and halves of characters, which cannot even be written.
UNSEEN = r"\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL = re.compile(rf"[\x00-\x08\x0b-\x1f{UNSEEN}]")


def number(x: float, digits: int = 4) -> str:
    """To so many significant digits, without trailing zeros: 0.1234, 79, 1.2e-7."""
    if x == 0 or not math.isfinite(x):
        return "0" if x == 0 else str(x)
    place = math.floor(math.log10(abs(x)))
    if not -4 <= place < 7:
        return f"{x:.{digits - 1}e}".replace("e-0", "e-").replace("e+0", "e")
    text = f"{x:.{max(0, digits - 1 - place)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def plus_minus(mean: float, sd: float | None) -> str:
    """Both to the digits that the standard deviation leaves: ``57.2 ± 1.8``."""
    if not sd or not math.isfinite(sd):
        return number(mean)
    place = 1 - math.floor(math.log10(sd))
    if not 0 <= place <= 6 or abs(mean) >= 1e7:
        return f"{number(mean, 3)} ± {number(sd, 2)}" if place > 6 or abs(mean) >= 1e7 else f"{mean:.0f} ± {sd:.0f}"
    return f"{mean:.{place}f} ± {sd:.{place}f}"


def unit_sign(unit: str) -> str:
    """The unit as it is printed: ``degC`` as °C."""
    return UNIT_SIGNS.get(unit, printable(unit))


def with_unit(text: str, unit: str) -> str:
    """A quantity and its unit; nothing after it where there is no unit."""
    return f"{text} {unit_sign(unit)}".rstrip()


def value_words(value: Value) -> str:
    """One value of a setting."""
    return printable(value) if isinstance(value, str) else number(value)


def setting_words(setting: Mapping[str, Value], units: Mapping[str, str]) -> str:
    """``temperature 79 °C, time 3 min``."""
    return printable(", ".join(f"{k} {with_unit(value_words(v), units.get(k, ''))}" for k, v in setting.items()))


def kind_words(parameter: Any) -> str:
    """The kind of a parameter, and what else is to be known of it: ``continuous, context``."""
    parts = [parameter.kind]
    parts += ["context"] if getattr(parameter, "context", False) else []
    names = getattr(parameter, "descriptor_names", ())
    parts += [f"by {', '.join(names)}"] if names else []
    parts += [f"when {parameter.when}"] if getattr(parameter, "when", None) else []
    return printable(", ".join(parts))


def mixture_words(mixture: Any) -> str:
    """``water + ethanol + dmso = 1, 1 to 2 components, each at least 5 %``."""
    words = f"{' + '.join(mixture.of)} = {number(mixture.total)}"
    if mixture.most < len(mixture.of) or mixture.min_components > 1:
        words += f", {mixture.min_components} to {mixture.most} components"
    return printable(words + (f", each at least {100 * mixture.min_share:g} %" if mixture.min_share else ""))


def goal_words(goal: Goal) -> str:
    """``maximize yield subject to byproduct <= 5``."""
    return printable(goal.words)


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 05 s``, ``2 h 10 min``, ``3 d 04 h``."""
    s = round(max(0.0, seconds))
    for size, unit, small, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if s >= size:
            return f"{s // size} {unit} {s % size // small:02d} {part}"
    return f"{number(seconds, 2)} s" if seconds < 1 else f"{s} s"


def amount(resource: str, x: float) -> str:
    """So much of a resource; time as a duration."""
    return duration(x) if resource == "time" else printable(f"{number(x)} {resource}")


def clock(time: datetime | None) -> str:
    """The time of day here, or blanks."""
    return time.astimezone().strftime("%H:%M:%S") if time else " " * 8


def printable(text: object) -> str:
    """On one line and without control characters: a driver's message must not steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", " ".join(str(text).split()))


def sparkline(values: Sequence[float], *, width: int = 40) -> str:
    """The course of finite values as bars, the newest at the right."""
    if not values:
        return ""
    if len(values) > width:
        values = [values[round(k * (len(values) - 1) / (width - 1))] for k in range(width)]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(BARS[round((v - low) / span * (len(BARS) - 1))] for v in values)


def plural(n: int, noun: str) -> str:
    """``1 experiment``, ``2 experiments``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
