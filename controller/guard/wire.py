"""How the guard, its hand and the actor speak: JSON, one line each, over a socket."""

from __future__ import annotations

import json
import socket
from typing import Any

Message = dict[str, Any]
SEND_S = 1.0  # how long the other side may leave its letters unread


class Lines:
    """One end; who holds it is told of the other's end by ``receive``."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.settimeout(SEND_S)
        self._rest = b""

    def fileno(self) -> int:
        """For ``select``."""
        return self._end.fileno()

    def send(self, message: Message) -> bool:
        """Whether it was sent; after a failure nothing can be sent any more."""
        try:
            self._end.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.shut()
            return False
        return True

    def receive(self) -> list[Message] | None:
        """The messages that have come, at once or within ``SEND_S``; None once the other end is closed."""
        try:
            came = self._end.recv(1 << 20)
        except TimeoutError:
            return []
        except OSError:
            return None
        if not came:
            return None
        *whole, self._rest = (self._rest + came).split(b"\n")
        return [json.loads(line) for line in whole]

    def shut(self) -> None:
        """End the talk, so that whoever waits in ``receive``, here or there, hears of it."""
        try:
            self._end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        """Let go of the socket."""
        self._end.close()
