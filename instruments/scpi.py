"""Instruments that speak SCPI, over PyVISA.

Laws:
    * One request is under way at a time, and each is answered or ended by its deadline.
    * After a timeout or a broken link the connection is closed and made anew, so that a late reply is never
      taken for the next answer.
    * The error queue is asked after every command; no number that is not finite is sent or accepted.
    * Once a run was begun, a broken link means that its outcome is unknown.
"""

from __future__ import annotations

import math
import socket
import time
import uuid
from contextlib import suppress
from typing import Any, ClassVar

from ..controller.errors import OutcomeUnknown, SourceError
from ..controller.records import Reading, Setting, Value
from .instrument import Instrument

OVERLOAD = 9.8e37  # SCPI says 9.9E37 for an overload and 9.91E37 for "not a number"
NO_ERROR = ("0", "+0")
MAX_REPLY = 1_000_000  # bytes


class LinkError(SourceError):
    """The connection gave no answer; it has been closed."""


class Link:
    """One connection to one device; it is closed at the first fault and not used again."""

    def __init__(self, resource: str, *, reply_timeout_s: float) -> None:
        self.resource = resource
        self.reply_timeout_s = reply_timeout_s
        self._session: Any = None

    @property
    def is_open(self) -> bool:
        """Whether it may still be used."""
        return self._session is not None

    def open(self) -> None:
        """Connect. A refused connection may show only at the first question."""
        import pyvisa

        wait_ms = int(1000 * self.reply_timeout_s)
        try:
            self._session = pyvisa.ResourceManager("@py").open_resource(self.resource, open_timeout=wait_ms)
            self._session.timeout = wait_ms
            self._send_at_once()
        except Exception as error:  # pyvisa-py raises bare Exception when it cannot connect
            self.close()
            raise LinkError(
                f"{self.resource} cannot be opened ({error}); switch the device on and compare 'resource' "
                "with its address"
            ) from error

    def _send_at_once(self) -> None:
        # Else Nagle's algorithm holds each command for 40 ms; the switch of pyvisa-py does not work.
        wire = getattr(self._session.visalib.sessions[self._session.session], "interface", None)
        if isinstance(wire, socket.socket):
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Let go; what is still under way on this connection is lost with it."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(Exception):
                session.close()

    def send(self, command: str) -> None:
        """Send one line."""
        self._guarded(command, lambda: self._session.write_raw(command.encode("ascii") + b"\n"))

    def ask(self, command: str) -> str:
        """Send one line and return the line that answers it."""
        self.send(command)
        reply: str = self._guarded(command, self._read_line)
        return reply

    def _guarded(self, command: str, action: Any) -> Any:
        if self._session is None:
            raise LinkError(f"{self.resource}: the connection is closed; connect again before {command!r}")
        try:
            return action()
        except Exception as error:  # VisaIOError, OSError, a reply that is no text: no later answer can be trusted
            self.close()
            raise LinkError(
                f"{self.resource} gave no answer to {command!r} ({error}); see that the device is on and "
                f"reachable, or raise reply_timeout_s={self.reply_timeout_s:g}"
            ) from error
        except BaseException:  # Ctrl-C: the reply may still come
            self.close()
            raise

    def _read_line(self) -> str:
        # Byte by byte: pyvisa-py's own read waits for ever while single bytes drip in.
        end = time.monotonic() + self.reply_timeout_s
        line = bytearray()
        while not line.endswith(b"\n"):
            if time.monotonic() > end or len(line) > MAX_REPLY:
                raise TimeoutError(f"{len(line)} bytes came, and no end of line")
            line += self._session.read_bytes(1)
        return line.decode("ascii").strip()


class ScpiInstrument(Instrument):
    """The base of SCPI drivers: owns one link, asks the error queue, reads back what it set.

    Args:
        resource: a VISA resource name such as ``TCPIP::10.0.0.7::5025::SOCKET``.
        reply_timeout_s: the longest that one answer may take.
    """

    identity: ClassVar[str] = ""  # what the answer to *IDN? must contain
    safe_command: ClassVar[str] = "*RST"  # what brings the device to its safe state

    def __init__(self, resource: str, *, reply_timeout_s: float = 2.0) -> None:
        self.resource = resource
        self.reply_timeout_s = reply_timeout_s
        self.idn = ""
        self._link = Link(resource, reply_timeout_s=reply_timeout_s)

    def connect(self) -> None:
        """Open the link and see that the right device is at the other end."""
        if self._link.is_open:
            return
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

    def query_number(self, command: str) -> float:
        """The reply as a finite number."""
        return self.number(self.query(command), command)

    def set_number(self, header: str, value: Value, *, tolerance: float = 1e-6) -> None:
        """Set ``header`` to ``value`` and see that it reads back the same, within a relative tolerance."""
        goal = self.number(value, header)
        self.write(f"{header} {goal!r}")
        back = self.query_number(f"{header}?")
        if not math.isclose(back, goal, rel_tol=tolerance, abs_tol=1e-12):
            raise SourceError(
                f"{self.resource}: {header} reads back {back:g} after {goal:g} was set; see whether the "
                "device is under local control, or raise the tolerance"
            )

    def number(self, text: Value, command: str) -> float:
        """``text`` as a finite number that is no overload marker."""
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not abs(number) < OVERLOAD:
            raise SourceError(f"{self.resource}: {text!r} for {command!r} is no finite number; see the device's range")
        return number

    def make_safe(self) -> None:
        """Send ``safe_command`` over a connection of its own: the other may be broken, or in use by a run."""
        link = Link(self.resource, reply_timeout_s=self.reply_timeout_s)
        try:
            link.open()
            link.send(self.safe_command)
            error = link.ask("SYST:ERR?")
        except LinkError as cause:
            raise SourceError(f"the device may not be safe, switch it off by hand: {cause}") from cause
        finally:
            link.close()
        if error.partition(",")[0] not in NO_ERROR:
            raise SourceError(f"{self.resource} refused {self.safe_command!r}: {error}; switch it off by hand")


class FlowReactor(ScpiInstrument):
    """The flow reactor of ``flow_reactor_bench``: ``sty``, ``e_factor``, ``conversion`` and ``byproducts``.

    Args:
        resource: a VISA resource name; ``start: bench`` in the campaign fills it in.
        reply_timeout_s: the longest that one answer may take.
        run_timeout_s: the longest that one run may take.
        poll_s: pause between two looks at a run.
    """

    identity: ClassVar[str] = "FLOWBENCH"
    safe_command: ClassVar[str] = "ABORT"
    parameters: ClassVar[tuple[str, ...] | None] = ("temperature", "residence_time", "equivalents", "concentration")
    benches: ClassVar[dict[str, str]] = {"bench": "closedloop.instruments.flow_reactor_bench"}
    headers: ClassVar[dict[str, str]] = {
        "temperature": "SOUR:TEMP",  # degC
        "residence_time": "SOUR:TIME",  # min
        "equivalents": "SOUR:EQUIV",
        "concentration": "SOUR:CONC",  # mol/L
    }
    relative_sd: ClassVar[dict[str, float]] = {  # the detector's data sheet
        "sty": 0.012,
        "e_factor": 0.012,
        "conversion": 0.004,
        "byproducts": 0.015,
    }

    def __init__(
        self,
        resource: str,
        *,
        reply_timeout_s: float = 2.0,
        run_timeout_s: float = 60.0,
        poll_s: float = 0.02,
    ) -> None:
        super().__init__(resource, reply_timeout_s=reply_timeout_s)
        self.run_timeout_s = run_timeout_s
        self.poll_s = poll_s

    def measure(self, setting: Setting) -> Reading:
        """One run; see ``Instrument.measure``."""
        if set(setting) != set(self.headers):
            raise SourceError(
                f"{self.resource} takes exactly {sorted(self.headers)}, not {sorted(setting)}; "
                "correct the campaign's parameters"
            )
        for name, header in self.headers.items():
            self.set_number(header, setting[name])
        run = uuid.uuid4().hex
        try:
            self.write(f"INIT {run}")
            self._wait(run)
            return self._reading(self.query("FETCH?"), run)
        except LinkError as error:
            raise OutcomeUnknown(f"run {run} was begun and may have been carried out: {error}") from error

    def _wait(self, run: str) -> None:
        end = time.monotonic() + self.run_timeout_s
        while self.query("STAT:OPER?") != "0":
            if time.monotonic() > end:
                raise OutcomeUnknown(
                    f"{self.resource}: run {run} is still under way after {self.run_timeout_s:g} s; "
                    "look at the device, or raise run_timeout_s"
                )
            time.sleep(self.poll_s)

    def _reading(self, raw: str, run: str) -> Reading:
        found, *fields = raw.split(",")
        if found != run:
            raise OutcomeUnknown(
                f"{self.resource} holds the result of run {found}, not of {run}; see who else commands it"
            )
        if len(fields) != len(self.relative_sd) + 2:
            raise SourceError(f"{self.resource}: {raw!r} for 'FETCH?' is not six numbers; see the device's version")
        *values, temperature, device_time = [self.number(text, "FETCH?") for text in fields]
        named = dict(zip(self.relative_sd, values, strict=True))
        return Reading(
            values=named,
            sd={k: abs(v) * self.relative_sd[k] for k, v in named.items()},
            achieved={"temperature": temperature},
            info={"idn": self.idn, "run": run, "raw": raw, "device_time_s": device_time},
        )

    def last_run(self) -> tuple[str, str]:
        """The id of the device's last run and its state: NONE, RUNNING, DONE or ABORTED."""
        run, state, *_ = self.query("LAST?").split(",")
        return run, state
