"""The base of SCPI drivers: one link, the error queue, setpoints that are read back, numbers that are numbers.

Laws:
    * After a timeout or a broken link the next command goes over a new connection, made once.
    * The error queue is asked after every command.
    * No number that is not finite, and no overload marker, is sent or accepted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal, get_args

from ..controller.errors import CampaignError, InvalidReading, SourceError
from ..controller.records import Setting, Value
from .instrument import Instrument
from .scpi_link import Link, LinkError

OVERLOAD = 9.8e37  # SCPI says 9.9E37 for an overload and 9.91E37 for "not a number"
NO_ERROR = ("0", "+0")
OnClip = Literal["fail", "use"]


class ScpiInstrument(Instrument):
    """Owns one link, asks the error queue, reads back what it set.

    Args:
        resource: a VISA resource name such as ``TCPIP::10.0.0.7::5025::SOCKET``.
        reply_timeout_s: the longest that one answer may take.
        on_clip: where a setpoint reads back differently, ``fail`` the trial or ``use`` the setpoint that the
            device took; the driver says it as ``achieved``.
    """

    identity: ClassVar[str] = ""  # what the answer to *IDN? must contain
    safe_command: ClassVar[str] = "*RST"  # what brings the device to its safe state
    markers: ClassVar[tuple[str, ...]] = ()  # what it says instead of a number, such as "OVLD" or "-999"
    headers: ClassVar[dict[str, str]] = {}  # the SCPI header of each parameter
    device_settings: ClassVar[tuple[str, ...] | None] = ("resource",)

    def __init__(self, resource: str, *, reply_timeout_s: float = 2.0, on_clip: OnClip = "fail") -> None:
        if on_clip not in get_args(OnClip):
            raise CampaignError(f"on_clip={on_clip!r} is none of {', '.join(get_args(OnClip))}; correct the setting")
        self.resource = resource
        self.reply_timeout_s = reply_timeout_s
        self.on_clip = on_clip
        self.idn = ""
        self._link = Link(resource, reply_timeout_s=reply_timeout_s)

    def connect(self) -> None:
        """Open the link and see that the right device is at the other end."""
        if not self._link.is_open:
            self._link = self._opened()

    def close(self) -> None:
        """Close the link; the device keeps its state."""
        self._link.close()

    def _opened(self) -> Link:
        link = Link(self.resource, reply_timeout_s=self.reply_timeout_s)
        link.open()
        idn = link.ask("*IDN?")
        if self.identity not in idn:
            link.close()
            raise SourceError(
                f"{self.resource} is {idn!r}, not a {self.identity!r}; compare 'resource' with its address"
            )
        link.send("*CLS")
        self.idn = idn
        return link

    # Commands and questions.

    def write(self, command: str) -> None:
        """Send a command, and raise ``SourceError`` with the device's own words if it objects."""
        self.connect()
        self._link.send(command)
        self._check(command)

    def query(self, command: str) -> str:
        """Send a question and return the reply, unless the device objects."""
        self.connect()
        reply = self._link.ask(command)
        self._check(command)
        return reply

    def _check(self, command: str) -> None:
        error = self._link.ask("SYST:ERR?")
        if error.partition(",")[0] not in NO_ERROR:
            raise SourceError(f"{self.resource} refused {command!r}: {error}")

    # Numbers.

    def query_number(self, command: str) -> float:
        """The reply as a finite number."""
        return self.number(self.query(command), command)

    def number(self, text: str, command: str, **kept: object) -> float:
        """A reply as a finite number that is no overload marker.

        Args:
            text: the part of the reply that is to be a number.
            command: what it answers.
            **kept: what is kept beside the trial if it is none; ``raw``, if absent, is the text.

        Raises:
            InvalidReading: if it is none.
        """
        number = _float(text)
        if not abs(number) < OVERLOAD or self._is_marker(text, number):
            raise InvalidReading(
                f"{self.resource}: {text!r} for {command!r} is no finite number; see the device's range",
                **{"raw": text, **kept},
            )
        return number

    def _is_marker(self, text: str, number: float) -> bool:
        return any(text.strip().upper() == m.upper() or number == _float(m) for m in self.markers)

    def set_number(self, header: str, value: Value, *, tolerance: float = 1e-6) -> float:
        """Set ``header`` to ``value``; what it reads back, which is the same within a relative tolerance.

        Raises:
            SourceError: if ``value`` is no finite number, or if it reads back differently and ``on_clip`` is "fail".
        """
        goal = self._goals({header: value})[header]
        self.write(f"{header} {goal!r}")
        back = self.query_number(f"{header}?")
        if self.on_clip == "fail" and not math.isclose(back, goal, rel_tol=tolerance, abs_tol=1e-12):
            raise SourceError(
                f"{self.resource}: {header} reads back {back:g} after {goal:g} was set; see whether the "
                "device is under local control, raise the tolerance, or set on_clip: use"
            )
        return back

    def _goals(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Values to be set, by header, before any of them is sent."""
        goals = {header: _float(value) for header, value in values.items()}
        for header, goal in goals.items():
            if not abs(goal) < OVERLOAD:
                said = f"{values[header]!r:.80} for {header!r} is no finite number; nothing was sent"
                raise SourceError(f"{self.resource}: {said}")
        return goals

    # Safety.

    def make_safe(self) -> None:
        """Send ``safe_command`` over a connection of its own: the other may be broken, or in use by a run."""
        self._by_itself([self.safe_command], "the device may not be safe, switch it off by hand")

    def return_to(self, setting: Setting) -> None:
        """Set these parameters, over a connection of its own; the device refuses what is beyond its limits."""
        unknown = sorted(set(setting) - set(self.headers))
        if unknown:
            raise SourceError(f"{self.resource} has no {unknown} to return to; it takes {sorted(self.headers)}")
        goals = self._goals({self.headers[name]: value for name, value in setting.items()})
        self._by_itself([f"{h} {goal!r}" for h, goal in goals.items()], f"the device may not be at {setting}")

    def _by_itself(self, commands: list[str], fear: str) -> None:
        """Send these over a new connection, which takes 2 + n times ``reply_timeout_s`` at the most."""
        link = Link(self.resource, reply_timeout_s=self.reply_timeout_s)
        try:
            link.open()
            for command in commands:
                link.send(command)
                error = link.ask("SYST:ERR?")
                if error.partition(",")[0] not in NO_ERROR:
                    raise SourceError(f"{fear}: {self.resource} refused {command!r}: {error}")
        except LinkError as cause:
            raise SourceError(f"{fear}: {cause}") from cause
        finally:
            link.close()


def _float(value: Value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
