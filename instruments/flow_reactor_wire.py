"""The bench's connections: lines in, lines out, one error queue each, and what can go wrong on the way."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable

from .flow_reactor_faults import Faults

Answer = Callable[[str, "deque[str]"], Awaitable[str | None]]
MAX_ERRORS = 32


def header_of(command: str) -> str:
    """``SOUR:TEMP`` of ``:sour:temp 80``."""
    return command.strip().lstrip(":").partition(" ")[0].upper()


class Wire:
    """Serves any number of clients at once.

    Args:
        answer: one command and the connection's error queue -> the reply, or None where there is none.
        faults: what goes wrong on the wire.
        log: where a client that is dropped is mentioned.
    """

    def __init__(self, answer: Answer, *, faults: Faults, log: Callable[[str], None]) -> None:
        self._answer = answer
        self._faults = faults
        self._log = log

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client, line by line, until it goes."""
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        errors: deque[str] = deque(maxlen=MAX_ERRORS)  # so that nobody's mistake is taken for another's
        try:
            while (line := await reader.readline()).endswith(b"\n"):  # a line cut off is no command
                parts = line.decode("ascii", "replace").split(";")
                spoken = [a for a in [await self._answer(part, errors) for part in parts] if a is not None]
                headers = [header_of(part) for part in parts]
                if any(h.startswith("TEST:") for h in headers):
                    headers = []  # nothing goes wrong with this line: a fault can always be switched off
                if self._faults.is_due("DROP", headers):
                    return
                if spoken and not self._faults.is_due("MUTE", headers):
                    await self._send((";".join(spoken) + "\n").encode(), writer, headers)
        except (ValueError, OSError) as error:  # an endless line, or a client that is gone
            self._log(f"client dropped: {error}")
        except asyncio.CancelledError:
            self._log("client dropped: the bench ends")
        finally:
            writer.close()

    async def _send(self, reply: bytes, writer: asyncio.StreamWriter, headers: list[str]) -> None:
        await asyncio.sleep(self._faults.seconds("LATE", headers))
        packet = reply * (2 if self._faults.is_due("TWICE", headers) else 1)
        pause_s = self._faults.seconds("DRIP", headers)
        size = 1 if pause_s else len(packet)
        for start in range(0, len(packet), size):
            await asyncio.sleep(pause_s)
            writer.write(packet[start : start + size])
            await writer.drain()
