"""A flow reactor on the bench, as a process of its own that speaks SCPI over TCP on 127.0.0.1.

    python -m closedloop.instruments.flow_reactor_bench [--seed 0] [--time-scale 0.001] [--quiet] [--keep]

It prints one line of JSON, the settings that its driver takes, and ends when its stdin ends, so that it never
outlives whoever started it. It knows nothing of the controller and shares no code with the simulator.

    SOUR:TEMP 80    SOUR:TEMP?  also TIME (min), EQUIV, CONC (mol/L); out of range: -222, the setpoint stays
    INIT run7       starts a run; an id is taken once; refused while another run is under way
    STAT:OPER?      0 idle, 2 settling, 16 measuring (the bits of the SCPI operation register)
    FETCH?          id,sty,e_factor,conversion,byproducts,temperature,device seconds; 9.91E37: there is none
    LAST?           id,NONE|RUNNING|DONE|ABORTED and, when done, what FETCH? says: to be asked after a crash
    MEAS:TEMP?      the reactor's temperature now            OUTP?      1 while heater and pumps are on
    SYST:LOG?       how many runs, and the setpoints of each  ABORT      heater and pumps off, the run ends
    SYST:ERR?       the oldest error of this connection       *IDN? *RST *CLS *OPC?
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .flow_reactor_plant import (
    AMBIENT,
    KNOBS,
    Optimum,
    achieved_temperature,
    read_out,
    true_optimum,
    true_response,
)

__all__ = ["Bench", "Optimum", "main", "true_optimum", "true_response"]

IDENTITY = "CLOSEDLOOP,FLOWBENCH,0001,1.0"
IDLE, SETTLING, MEASURING = 0, 2, 16
SETTLING_TIMES = 4.0  # residence times until the outlet is steady
SAMPLING_S = 120.0  # device seconds the detector takes
HEATING_S = 40.0  # time constant of the heater, device seconds
NOT_A_NUMBER = "9.91E37"  # SCPI-99, volume 1, 7.2.1.5
N_RESULTS = 6
MAX_LINE = 4096  # bytes; a client that sends a longer line is dropped


class Refusal(Exception):
    """A command that the device does not carry out; it goes to the error queue."""


@dataclass
class Run:
    """One run: its id, what was set, and how it ended."""

    id: str
    setting: dict[str, float]
    state: str = "RUNNING"
    results: tuple[float, ...] = ()


@dataclass
class Bench:
    """The device: setpoints, one run at a time, and the SCPI commands on them."""

    seed: int = 0
    time_scale: float = 0.001  # real seconds a device second
    log: Callable[[str], None] = lambda text: None
    setpoints: dict[str, float] = field(default_factory=lambda: {k: v.start for k, v in KNOBS.items()})
    runs: list[Run] = field(default_factory=list)
    condition: int = IDLE
    is_on: bool = False

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._started = time.monotonic()
        self._heated = (0.0, AMBIENT)  # device time and temperature when the heater last changed
        self._task: asyncio.Task[None] | None = None
        self._commands: dict[str, Callable[[str], str | None]] = {
            "*IDN?": lambda _: IDENTITY,
            "*CLS": lambda _: None,
            "*RST": self._reset,
            "ABORT": self._abort,
            "INIT": self._init,
            "STAT:OPER?": lambda _: str(self.condition),
            "OUTP?": lambda _: str(int(self.is_on)),
            "MEAS:TEMP?": lambda _: f"{self._temperature():.3f}",
            "FETCH?": self._fetch,
            "LAST?": lambda _: self._last(),
            "SYST:LOG?": lambda _: self._runs(),
        }
        for header in KNOBS:
            self._commands[f"SOUR:{header}?"] = partial(self._setpoint, header)
            self._commands[f"SOUR:{header}"] = partial(self._set, header)

    # The connection: one error queue each, so that nobody's mistake is taken for another's.

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client, line by line, until it goes."""
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        errors: deque[str] = deque(maxlen=32)
        try:
            while (line := await reader.readline()).endswith(b"\n"):  # a line cut off is no command
                parts = line.decode("ascii", "replace").split(";")
                spoken = [a for a in [await self._answer(part, errors) for part in parts] if a is not None]
                if spoken:
                    writer.write((";".join(spoken) + "\n").encode())
                    await writer.drain()
        except (ValueError, OSError) as error:  # an endless line, or a client that is gone
            self.log(f"client dropped: {error}")
        finally:
            writer.close()

    async def _answer(self, text: str, errors: deque[str]) -> str | None:
        header, _, argument = text.strip().lstrip(":").partition(" ")
        header = header.upper()
        if not header:
            return None
        if header == "*CLS":
            errors.clear()
        if header == "SYST:ERR?":
            return errors.popleft() if errors else '0,"No error"'
        if header == "*OPC?":
            if self._task:
                await asyncio.wait([self._task])
            return "1"
        try:
            return self._commands.get(header, self._unknown)(argument.strip())
        except Refusal as refusal:
            errors.append(str(refusal))
            return f"{self._newest().id},{','.join([NOT_A_NUMBER] * N_RESULTS)}" if header == "FETCH?" else None

    def _unknown(self, _: str) -> None:
        raise Refusal('-113,"Undefined header"')

    # The commands.

    def _setpoint(self, header: str, _: str) -> str:
        return repr(self.setpoints[header])

    def _set(self, header: str, text: str) -> None:
        knob, value = KNOBS[header], _number(text)
        if self.condition != IDLE:
            raise Refusal(f'-221,"Settings conflict; run {self._newest().id} is under way"')
        if not knob.low <= value <= knob.high:  # NaN is out of every range
            raise Refusal(f'-222,"Data out of range; SOUR:{header} takes {knob.low:g} to {knob.high:g}, not {text}"')
        self._heated = (self._now(), self._temperature())
        self.setpoints[header] = value

    def _init(self, run_id: str) -> None:
        if not re.fullmatch(r"[\w.-]{1,64}", run_id, re.ASCII):
            raise Refusal('-104,"Data type error; INIT takes a run id of letters, digits, . _ or -"')
        if self.condition != IDLE:
            raise Refusal(f'-213,"Init ignored; run {self._newest().id} is under way"')
        if any(run.id == run_id for run in self.runs):
            raise Refusal(f'-213,"Init ignored; run {run_id} was already taken"')
        self._heated = (self._now(), self._temperature())
        self.is_on, self.condition = True, SETTLING
        self.runs.append(Run(run_id, {KNOBS[h].name: v for h, v in self.setpoints.items()}))
        self._task = asyncio.get_running_loop().create_task(self._carry_out(self.runs[-1]))

    async def _carry_out(self, run: Run) -> None:
        try:
            await asyncio.sleep(SETTLING_TIMES * 60.0 * run.setting["residence_time"] * self.time_scale)
            self.condition = MEASURING
            await asyncio.sleep(SAMPLING_S * self.time_scale)
            values = read_out(run.setting, n_runs=len(self.runs) - 1, rng=self._rng)
            temperature = achieved_temperature(run.setting["temperature"], run.setting["residence_time"])
            run.results = (*values.values(), temperature + 0.1 * self._rng.standard_normal(), self._now())
            run.state = "DONE"
            self.condition = IDLE
            self.log(f"run {run.id}: {run.setting} -> {values}")
        except asyncio.CancelledError:
            self.log(f"run {run.id}: aborted")

    def _abort(self, _: str) -> None:
        self._heated = (self._now(), self._temperature())
        self.is_on = False
        if self._task and self.condition != IDLE:
            self._task.cancel()
            self.condition, self._newest().state = IDLE, "ABORTED"

    def _reset(self, _: str) -> None:
        self._abort("")
        self.setpoints = {k: v.start for k, v in KNOBS.items()}

    def _fetch(self, _: str) -> str:
        run = self._newest()
        if run.state != "DONE":
            raise Refusal(f'-230,"Data corrupt or stale; run {run.id} is {run.state}"')
        return ",".join([run.id, *(f"{x:.9g}" for x in run.results)])

    def _last(self) -> str:
        run = self._newest()
        return ",".join([run.id, run.state, *(f"{x:.9g}" for x in run.results)])

    def _runs(self) -> str:
        rows = [" ".join([run.id, *(f"{x:g}" for x in run.setting.values())]) for run in self.runs]
        return ",".join([str(len(rows)), *(f'"{row}"' for row in rows)])

    # The state behind them.

    def _newest(self) -> Run:
        return self.runs[-1] if self.runs else Run("none", {}, "NONE")

    def _now(self) -> float:
        return (time.monotonic() - self._started) / self.time_scale

    def _temperature(self) -> float:
        goal = achieved_temperature(self.setpoints["TEMP"], self.setpoints["TIME"]) if self.is_on else AMBIENT
        since, begun = self._heated
        return float(goal + (begun - goal) * np.exp(-(self._now() - since) / HEATING_S))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Refusal(f'-104,"Data type error; {text[:40]!r} is not a number"') from None


async def _serve(bench: Bench, port: int, *, is_kept: bool) -> None:
    server = await asyncio.start_server(bench.serve, "127.0.0.1", port, limit=MAX_LINE)
    number = server.sockets[0].getsockname()[1]
    print(json.dumps({"resource": f"TCPIP::127.0.0.1::{number}::SOCKET"}), flush=True)
    ended = asyncio.Event()
    if not is_kept:
        loop = asyncio.get_running_loop()
        threading.Thread(target=_until_stdin_ends, args=(loop, ended), daemon=True).start()
    await ended.wait()


def _until_stdin_ends(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(ended.set)


def main(arguments: list[str] | None = None) -> None:
    """Run the bench until its stdin ends."""
    parser = argparse.ArgumentParser(prog="flow_reactor_bench", description="A flow reactor that speaks SCPI.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--seed", type=int, default=0, help="of the reading noise")
    parser.add_argument("--time-scale", type=float, default=0.001, help="real seconds a device second")
    parser.add_argument("--quiet", action="store_true", help="no line a run on stderr")
    parser.add_argument("--keep", action="store_true", help="outlive stdin")
    given = parser.parse_args(arguments)
    if not sys.stdin.isatty():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's; a device runs on to be made safe
    log: Callable[[str], None] = (lambda text: None) if given.quiet else lambda text: print(text, file=sys.stderr)
    asyncio.run(_serve(Bench(seed=given.seed, time_scale=given.time_scale, log=log), given.port, is_kept=given.keep))


if __name__ == "__main__":
    main()
