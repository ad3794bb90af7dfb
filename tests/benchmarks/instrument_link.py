"""How long the flow reactor's bench takes to be made safe, asked and recovered from, over TCP on loopback."""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from closedloop.controller.errors import SourceError
from closedloop.controller.records import Trial
from closedloop.instruments.bench_process import BenchProcess
from closedloop.instruments.scpi import FlowReactor

N = 30
SETTING = {"temperature": 60.0, "residence_time": 0.5, "equivalents": 2.0, "concentration": 0.3}


def timed(what: str, action: Callable[[], object], n: int = N) -> None:
    seconds = []
    for _ in range(n):
        began = time.perf_counter()
        with suppress(SourceError):
            action()
        seconds.append(time.perf_counter() - began)
    ms = [1000 * s for s in seconds]
    print(f"{what:58s} median {statistics.median(ms):8.2f} ms   min {min(ms):8.2f}   max {max(ms):8.2f}", flush=True)


def cold(resource: str) -> None:
    code = f"from closedloop.instruments.scpi import FlowReactor; FlowReactor({resource!r}).make_safe()"
    subprocess.run([sys.executable, "-c", code], check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        with BenchProcess("--time-scale", "0.0005", record=Path(name) / "record") as bench:
            reactor = FlowReactor(**bench.settings)
            trial = Trial(number=1, source="reactor", setting=SETTING, key="cafe")
            reactor.connect()
            reactor.begin(trial)
            reactor.measure(SETTING)
            timed("one question and its error queue", lambda: reactor.query("*IDN?"))
            timed("monitor", reactor.monitor)
            timed("recover, done", lambda: reactor.recover(trial))
            timed("make_safe, a new connection each time", reactor.make_safe)
            timed("make_safe, a new process", lambda: cold(bench.settings["resource"]), n=5)
            bench.tell("TEST:MUTE 1")
            timed("make_safe, no confirmation comes (reply_timeout_s = 2)", reactor.make_safe, n=3)
            reactor.close()
        timed("make_safe, nothing listens", reactor.make_safe, n=3)
        with socket.create_server(("127.0.0.1", 0), backlog=1) as deaf:
            silent = FlowReactor(f"TCPIP::127.0.0.1::{deaf.getsockname()[1]}::SOCKET")
            timed("make_safe, nobody accepts (reply_timeout_s = 2)", silent.make_safe, n=3)


if __name__ == "__main__":
    main()
