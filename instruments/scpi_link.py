"""One connection to one SCPI device, over PyVISA.

Laws:
    * One request is under way at a time, and each is answered or ended by its deadline.
    * A connection is closed at its first fault and never used again: what came late, or was not asked for, is
      never taken for the next answer.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ..controller.errors import SourceError

MAX_REPLY = 1_000_000  # bytes
T = TypeVar("T")


class LinkError(SourceError):
    """The connection gave no answer; it has been closed."""


class Link:
    """A connection that is closed at the first fault and not used again."""

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
            if (wire := self._wire()) is not None:
                # Else Nagle's algorithm holds each command for 40 ms; the switch of pyvisa-py does not work.
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except Exception as error:  # pyvisa-py raises bare Exception when it cannot connect
            self.close()
            raise LinkError(
                f"{self.resource} cannot be opened ({error}); switch the device on and compare 'resource' "
                "with its address"
            ) from error

    def close(self) -> None:
        """Let go; what is still under way on this connection is lost with it."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(Exception):
                session.close()

    def send(self, command: str) -> None:
        """Send one line."""
        self._guarded(command, lambda: self._write(command))

    def ask(self, command: str) -> str:
        """Send one line and return the line that answers it."""
        self.send(command)
        return self._guarded(command, self._read_line)

    def _guarded(self, command: str, action: Callable[[], T]) -> T:
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

    def _write(self, command: str) -> None:
        wire = self._wire()
        while wire is not None and _has_something(wire, within_s=0.0):
            if not wire.recv(1).isspace():  # white space is a line's own ending, such as LF CR
                raise ConnectionError("the device had sent more than was asked for")
        self._session.write_raw(command.encode("ascii") + b"\n")

    def _read_line(self) -> str:
        # Byte by byte: pyvisa-py's own read waits for ever while single bytes drip in, and what comes after the
        # line stays where `_write` finds it.
        end = time.monotonic() + self.reply_timeout_s
        wire, line = self._wire(), bytearray()
        while not line.endswith(b"\n"):
            left_s = end - time.monotonic()
            if left_s < 0 or len(line) > MAX_REPLY or (wire and not _has_something(wire, within_s=left_s)):
                raise TimeoutError(f"{len(line)} bytes came, and no end of line")
            line += self._session.read_bytes(1)
        return line.decode("ascii").strip()

    def _wire(self) -> socket.socket | None:
        """The socket below, where there is one."""
        wire = getattr(self._session.visalib.sessions[self._session.session], "interface", None)
        return wire if isinstance(wire, socket.socket) else None


def _has_something(wire: socket.socket, *, within_s: float) -> bool:
    """Whether a byte comes within this time.

    Raises:
        ConnectionError: at once if the other side has closed: pyvisa-py would wait for its timeout.
    """
    if not select.select([wire], [], [], within_s)[0]:
        return False
    if not wire.recv(1, socket.MSG_PEEK):
        raise ConnectionError("the device closed the connection")
    return True
