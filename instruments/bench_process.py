"""The flow reactor's bench as a process, for tests: start it, ask it past its driver, read what it was commanded."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TextIO

MODULE = "closedloop.instruments.flow_reactor_bench"
STOP_S = 5.0
ASK_S = 10.0


class BenchProcess:
    """A bench that runs until ``end`` or the end of the ``with`` block, or until this process ends.

    Args:
        arguments: of the bench's command line, such as ``"--time-scale", "0.02"``.
        record: the file in which it keeps all that it was commanded; started again on it, it goes on from there.
        port: where it listens; 0 is any free port.

    Example:
        >>> with BenchProcess("--time-scale", "0.0005") as bench:
        ...     bench.ask("OUTP?", "LAST?")
        ['0', 'none,NONE']
    """

    def __init__(self, *arguments: str, record: Path | None = None, port: int = 0) -> None:
        recorded = ["--record", str(record)] if record else []
        command = [sys.executable, "-m", MODULE, "--quiet", "--port", str(port), *recorded, *arguments]
        self.record = record
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.settings: dict[str, Any] = json.loads(self.process.stdout.readline())  # what the driver takes
        self.port = int(self.settings["resource"].split("::")[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @contextmanager
    def client(self) -> Iterator[TextIO]:
        """A connection of its own, as lines of text."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ASK_S) as wire, wire.makefile("rw") as lines:
            yield lines

    def ask(self, *commands: str) -> list[str]:
        """The replies to these questions."""
        with self.client() as lines:
            return [_asked(lines, command) for command in commands]

    def tell(self, *commands: str) -> None:
        """Send these commands, and wait until they were carried out."""
        self.ask(*(f"{command};SYST:ERR?" for command in commands))

    def commanded(self, *commands: str) -> list[dict[str, Any]]:
        """What it was commanded, oldest first: from its record if it has one, else asked of it.

        Args:
            commands: only these, such as "INIT", "ABORT" or "SOUR:TEMP"; nothing: all.
        """
        if self.record is not None:
            entries = [json.loads(line) for line in self.record.read_text(encoding="utf-8").splitlines()]
        else:
            entries = json.loads(self.ask("SYST:REC?")[0])
        return [e for e in entries if not commands or e["command"] in commands]

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        self.process.kill()
        self.end()

    def end(self) -> None:
        """End it, as the end of its starter does."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                stream.close()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _asked(lines: TextIO, command: str) -> str:
    lines.write(command + "\n")
    lines.flush()
    return lines.readline().strip()
