"""What can be made to go wrong with the bench, for tests: on its wire and inside it.

Each is switched on by ``TEST:NAME value[,where]`` or ``--fault "NAME value[,where]"`` and off by ``TEST:CLEAR``.
On the wire, ``where`` is the header of the commands that suffer, such as ``FETCH?``; without it, all do:

    DRIP seconds      replies go out byte by byte, with this pause before each
    LATE seconds      replies come this much late
    MUTE 1            replies do not come
    TWICE 1           each reply comes twice, in one packet
    DROP n            the connection is closed instead of a reply, n times; the command was carried out

Inside the device:

    CLIP value,TEMP   a setpoint above the value is clipped to it without a word
    OVER text[,sty]   a response reads ``text``, such as 9.9E37, OVLD or -999; without a name, all do
    QUAL word         the quality of what is measured from now on: GOOD, UNCERTAIN or BAD
    PRES bar          the pressure is this much higher
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

NAMES = ("DRIP", "LATE", "MUTE", "TWICE", "DROP", "CLIP", "OVER", "QUAL", "PRES")
WORDS = ("OVER", "QUAL")  # their values are shown as they are


@dataclass
class Faults:
    """The faults that are on: name -> (value, where)."""

    on: dict[str, tuple[str, str]] = field(default_factory=dict)

    def switch(self, name: str, text: str) -> None:
        """Switch one on.

        Raises:
            ValueError: if there is no such fault, or its value is no number where it should be one.
        """
        value, where = (part.strip() for part in f"{text},".split(",")[:2])
        if name not in NAMES:
            raise ValueError(f"fault {name!r} is none of {', '.join(NAMES)}")
        if name not in WORDS:
            float(value)
        self.on[name] = (value, where)

    def clear(self) -> None:
        """Switch all off."""
        self.on.clear()

    def seconds(self, name: str, headers: Collection[str]) -> float:
        """How long, where one of these headers suffers; else 0."""
        value, where = self.on.get(name, ("0", ""))
        is_struck = where in headers if where else bool(headers)
        return float(value) if is_struck else 0.0

    def is_due(self, name: str, headers: Collection[str]) -> bool:
        """Whether it strikes one of these headers; a fault of n times has one less to go after it."""
        n_left = self.seconds(name, headers)
        if n_left and name == "DROP":
            self.switch(name, f"{n_left - 1:g},{self.on[name][1]}")
        return n_left > 0

    def clipped(self, header: str, value: float) -> float:
        """What the device makes of a setpoint."""
        limit, where = self.on.get("CLIP", ("inf", ""))
        return min(value, float(limit)) if where in ("", header) else value

    def shown(self, name: str, text: str) -> str:
        """What the device shows of a response."""
        marker, where = self.on.get("OVER", (text, ""))
        return marker if where in ("", name) else text

    @property
    def quality(self) -> str:
        """Of what is measured now."""
        return self.on.get("QUAL", ("GOOD", ""))[0]

    @property
    def pressure(self) -> float:
        """What is added to the pressure, bar."""
        return float(self.on.get("PRES", ("0", ""))[0])
