"""A flow reactor on the bench, as a process of its own that speaks SCPI over TCP on 127.0.0.1.

    python -m closedloop.instruments.flow_reactor_bench [--seed 0] [--time-scale 0.001] [--quiet] [--keep]
                                                        [--record FILE] [--fault "NAME value[,where]"]

It prints one line of JSON, the settings that its driver takes, and ends when its stdin ends, so that it never
outlives whoever started it. It knows nothing of the controller and shares no code with the simulator. With
``--record`` each command is written to a file (see ``flow_reactor_memory``), and a bench started again on that file
remembers its runs. What can be made to go wrong is in ``flow_reactor_faults``.

    SOUR:TEMP 80    SOUR:TEMP?  also TIME (min), EQUIV, CONC (mol/L); out of range: -222, the setpoint stays
    INIT run7       starts a run; an id is taken once; refused while another run is under way
    STAT:OPER?      0 idle, 2 settling, 16 measuring (the bits of the SCPI operation register)
    FETCH?          id,sty,e_factor,conversion,byproducts,temperature,device seconds,quality of the newest run;
                    9.91E37: there is none; quality: GOOD, UNCERTAIN or BAD
    LAST? [run7]    id,NONE|RUNNING|DONE|ABORTED of this run, or of the newest, and, when done, what FETCH? says:
                    to be asked after a crash
    LAST:SET? [run7] id,temperature,residence time,equivalents,concentration that this run had
    MEAS:TEMP?      the reactor's temperature now, degC      MEAS:PRES? its pressure now, bar
    OUTP?           1 while heater and pumps are on          OUTP:TIME? device seconds for which they have been on
    SYST:LOG?       how many runs, and the setpoints of each ABORT      heater and pumps off, the run ends
    SYST:REC?       all that it was commanded, as JSON       SYST:MEM?  KEPT where its memory outlives it, or VOLATILE
    SYST:ERR?       the oldest error of this connection      *IDN? *RST *CLS *OPC? TEST:...
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from . import flow_reactor_faults
from .flow_reactor_faults import Faults
from .flow_reactor_memory import Memory, Run
from .flow_reactor_plant import (
    AMBIENT,
    AMBIENT_BAR,
    KNOBS,
    Optimum,
    achieved_temperature,
    pressure,
    read_out,
    true_optimum,
    true_response,
)
from .flow_reactor_wire import Wire, header_of

__all__ = ["Bench", "Optimum", "main", "true_optimum", "true_response"]

IDENTITY = "CLOSEDLOOP,FLOWBENCH,0001,1.0"
IDLE, SETTLING, MEASURING = 0, 2, 16
SETTLING_TIMES = 4.0  # residence times until the outlet is steady
SAMPLING_S = 120.0  # device seconds the detector takes
HEATING_S = 40.0  # time constant of the heater, device seconds
NOT_A_NUMBER = "9.91E37"  # SCPI-99, volume 1, 7.2.1.5
N_RESULTS = 6
MAX_LINE = 4096  # bytes; a client that sends a longer line is dropped
MAX_NOTED = 100  # characters of a command that was refused


class Refusal(Exception):
    """A command that the device does not carry out; it goes to the error queue."""


@dataclass
class Bench:
    """The device: setpoints, one run at a time, and the SCPI commands on them."""

    seed: int = 0
    time_scale: float = 0.001  # real seconds a device second
    log: Callable[[str], None] = lambda text: None
    setpoints: dict[str, float] = field(default_factory=lambda: {k: v.start for k, v in KNOBS.items()})
    memory: Memory = field(default_factory=Memory)
    faults: Faults = field(default_factory=Faults)
    condition: int = IDLE
    is_on: bool = False

    def __post_init__(self) -> None:
        n_done = len(self.memory.runs)
        self._rng = np.random.default_rng([self.seed, n_done] if n_done else self.seed)
        self._started = time.monotonic()
        self._before = self.memory.device_s  # its clock goes on where it stopped
        self._heated = (self._before, AMBIENT)  # device time and temperature when the heater last changed
        self._task: asyncio.Task[None] | None = None
        self._commands: dict[str, Callable[[str], str | None]] = {
            "*IDN?": lambda _: IDENTITY,
            "*CLS": lambda _: None,
            "*RST": self._reset,
            "ABORT": self._abort,
            "INIT": self._init,
            "STAT:OPER?": lambda _: str(self.condition),
            "OUTP?": lambda _: str(int(self.is_on)),
            "OUTP:TIME?": lambda _: f"{self.memory.on_until(self._now()):.3f}",
            "MEAS:TEMP?": lambda _: f"{self._temperature():.3f}",
            "MEAS:PRES?": lambda _: f"{self._pressure():.3f}",
            "FETCH?": self._fetch,
            "LAST?": self._last,
            "LAST:SET?": self._last_setting,
            "SYST:LOG?": lambda _: self._runs(),
            "SYST:REC?": lambda _: json.dumps(self.memory.entries),
            "SYST:MEM?": lambda _: "KEPT" if self.memory.is_kept else "VOLATILE",
            "TEST:CLEAR": lambda _: self.faults.clear(),
        }
        for name in flow_reactor_faults.NAMES:
            self._commands[f"TEST:{name}"] = partial(self._break, name)
        for header in KNOBS:
            self._commands[f"SOUR:{header}?"] = partial(self._setpoint, header)
            self._commands[f"SOUR:{header}"] = partial(self._set, header)

    async def answer(self, text: str, errors: deque[str]) -> str | None:
        """Carry out one command; the reply, or None where there is none."""
        header, argument = header_of(text), text.strip().partition(" ")[2].strip()
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
            return self._commands.get(header, self._unknown)(argument)
        except Refusal as refusal:
            errors.append(str(refusal))
            if header == "FETCH?":
                return f"{self.memory.newest.id},{','.join([NOT_A_NUMBER] * N_RESULTS)},BAD"
            if not header.endswith("?"):
                self._note(header[:MAX_NOTED], argument=argument[:MAX_NOTED], refused=str(refusal))
            return None

    def _unknown(self, _: str) -> None:
        raise Refusal('-113,"Undefined header"')

    # The commands.

    def _setpoint(self, header: str, _: str) -> str:
        return repr(self.setpoints[header])

    def _set(self, header: str, text: str) -> None:
        knob, value = KNOBS[header], _number(text)
        if self.condition != IDLE:
            raise Refusal(f'-221,"Settings conflict; run {self.memory.newest.id} is under way"')
        if not knob.low <= value <= knob.high:  # NaN is out of every range
            raise Refusal(f'-222,"Data out of range; SOUR:{header} takes {knob.low:g} to {knob.high:g}, not {text}"')
        self._heated = (self._now(), self._temperature())
        self.setpoints[header] = self.faults.clipped(header, value)
        self._note(f"SOUR:{header}", asked=value, value=self.setpoints[header])

    def _init(self, run_id: str) -> None:
        if not re.fullmatch(r"[\w.-]{1,64}", run_id, re.ASCII):
            raise Refusal('-104,"Data type error; INIT takes a run id of letters, digits, . _ or -"')
        if self.condition != IDLE:
            raise Refusal(f'-213,"Init ignored; run {self.memory.newest.id} is under way"')
        if run_id in self.memory.runs:
            raise Refusal(f'-213,"Init ignored; run {run_id} was already taken"')
        self._heated = (self._now(), self._temperature())
        self.is_on, self.condition = True, SETTLING
        self._note("INIT", run=run_id, setting={KNOBS[h].name: v for h, v in self.setpoints.items()})
        self._task = asyncio.get_running_loop().create_task(self._carry_out(self.memory.newest))

    async def _carry_out(self, run: Run) -> None:
        try:
            await asyncio.sleep(SETTLING_TIMES * 60.0 * run.setting["residence_time"] * self.time_scale)
            self.condition = MEASURING
            await asyncio.sleep(SAMPLING_S * self.time_scale)
            values = read_out(run.setting, n_runs=len(self.memory.runs) - 1, rng=self._rng)
            temperature = achieved_temperature(run.setting["temperature"], run.setting["residence_time"])
            others = (temperature + 0.1 * self._rng.standard_normal(), self._now())
            shown = [self.faults.shown(name, f"{x:.9g}") for name, x in values.items()]
            results = [*shown, *(f"{x:.9g}" for x in others)]
            self._note("DONE", run=run.id, results=results, quality=self.faults.quality)
            self.condition = IDLE
            self.log(f"run {run.id}: {run.setting} -> {values}")
        except asyncio.CancelledError:
            self.log(f"run {run.id}: aborted")

    def _abort(self, _: str, command: str = "ABORT") -> None:
        self._heated = (self._now(), self._temperature())
        self.is_on = False
        self._note(command)
        if self._task and self.condition != IDLE:
            self._task.cancel()
            self.condition = IDLE

    def _reset(self, _: str) -> None:
        self._abort("", "*RST")
        self.setpoints = {k: v.start for k, v in KNOBS.items()}

    def _fetch(self, _: str) -> str:
        run = self.memory.newest
        if run.state != "DONE":
            raise Refusal(f'-230,"Data corrupt or stale; run {run.id} is {run.state}"')
        return f"{run.id},{run.fields}"

    def _last(self, run_id: str) -> str:
        run = self.memory.run(run_id) if run_id else self.memory.newest
        return ",".join([run.id, run.state, *([run.fields] if run.fields else [])])

    def _last_setting(self, run_id: str) -> str:
        run = self.memory.run(run_id) if run_id else self.memory.newest
        return ",".join([run.id, *(repr(x) for x in run.setting.values())])

    def _runs(self) -> str:
        runs = self.memory.runs.values()
        rows = [" ".join([run.id, *(f"{x:g}" for x in run.setting.values())]) for run in runs]
        return ",".join([str(len(rows)), *(f'"{row}"' for row in rows)])

    def _break(self, name: str, text: str) -> None:
        try:
            self.faults.switch(name, text)
        except ValueError as error:
            raise Refusal(f'-104,"Data type error; TEST:{name} {error}"') from None

    # The state behind them.

    def _note(self, command: str, **details: object) -> None:
        self.memory.note(command, device_s=self._now(), is_on=self.is_on, **details)

    def _now(self) -> float:
        return self._before + (time.monotonic() - self._started) / self.time_scale

    def _pressure(self) -> float:
        flowing = pressure(self._temperature(), self.setpoints["TIME"]) if self.is_on else AMBIENT_BAR
        return flowing + self.faults.pressure

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
    wire = Wire(bench.answer, faults=bench.faults, log=bench.log)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", port, limit=MAX_LINE)
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
    parser.add_argument("--record", type=Path, help="a file that outlives the bench: each command, and its runs")
    parser.add_argument("--fault", action="append", default=[], help="NAME value[,where]: what goes wrong, for tests")
    given = parser.parse_args(arguments)
    faults = Faults()
    for name, _, text in (fault.partition(" ") for fault in given.fault):
        faults.switch(name.upper(), text)
    if not sys.stdin.isatty():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's; a device runs on to be made safe
    log: Callable[[str], None] = (lambda text: None) if given.quiet else lambda text: print(text, file=sys.stderr)
    memory = Memory(given.record)
    bench = Bench(seed=given.seed, time_scale=given.time_scale, log=log, memory=memory, faults=faults)
    asyncio.run(_serve(bench, given.port, is_kept=given.keep))


if __name__ == "__main__":
    main()
