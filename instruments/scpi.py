"""Instruments that speak SCPI: the flow reactor, beside the base that drivers of your own start from.

Laws:
    * A run bears a name that its trial alone can have, so that the device can be asked for it after a crash.
    * Once a run was begun, a link that breaks means that its outcome is unknown; nothing is sent twice.
    * A recovered reading is the trial's own: the device's setpoints of that run are the trial's setting.
"""

from __future__ import annotations

import math
import time
import uuid
from typing import ClassVar

from ..controller.errors import InvalidReading, OutcomeUnknown, SourceError
from ..controller.records import Reading, Setting, Trial
from ..controller.source import NotStarted, Unknown
from .scpi_instrument import OnClip, ScpiInstrument
from .scpi_link import Link, LinkError

__all__ = ["FlowReactor", "Link", "LinkError", "ScpiInstrument"]

MAX_ATTEMPTS = 100  # runs of one trial
IN_FLIGHT_S = 0.5  # a command of a controller that died may still be on its way for so long


class RunAborted(SourceError):
    """The run was begun and ended without a result."""


class FlowReactor(ScpiInstrument):
    """The flow reactor of ``flow_reactor_bench``: ``sty``, ``e_factor``, ``conversion`` and ``byproducts``.

    Args:
        resource: a VISA resource name; ``start: bench`` in the campaign fills it in.
        reply_timeout_s: the longest that one answer may take.
        on_clip: where a setpoint reads back differently, ``fail`` the trial or ``use`` what the device took.
        run_timeout_s: the longest that one run may take, and that ``recover`` waits for one under way.
        poll_s: pause between two looks at a run.
    """

    identity: ClassVar[str] = "FLOWBENCH"
    safe_command: ClassVar[str] = "ABORT"
    markers: ClassVar[tuple[str, ...]] = ("OVLD", "-999")
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
        on_clip: OnClip = "fail",
        run_timeout_s: float = 60.0,
        poll_s: float = 0.02,
    ) -> None:
        super().__init__(resource, reply_timeout_s=reply_timeout_s, on_clip=on_clip)
        self.run_timeout_s = run_timeout_s
        self.poll_s = poll_s
        self._trial: Trial | None = None

    def begin(self, trial: Trial) -> None:
        """The next run bears this trial's name."""
        self._trial = trial

    def measure(self, setting: Setting) -> Reading:
        """One run; see ``Instrument.measure``."""
        trial, self._trial = self._trial, None
        if set(setting) != set(self.headers):
            raise SourceError(
                f"{self.resource} takes exactly {sorted(self.headers)}, not {sorted(setting)}; "
                "correct the campaign's parameters"
            )
        goals = self._goals({header: setting[name] for name, header in self.headers.items()})
        for header, goal in goals.items():
            self.set_number(header, goal)
        run = self._attempts(trial)[1] if trial and trial.key else uuid.uuid4().hex
        try:
            self.write(f"INIT {run}")
        except LinkError as error:
            raise OutcomeUnknown(f"run {run} was begun and may have been carried out: {error}") from error
        try:
            return self._finished(run, setting)
        except (OutcomeUnknown, InvalidReading, RunAborted):
            raise
        except SourceError as error:
            raise OutcomeUnknown(f"run {run} was begun and may have been carried out: {error}") from error

    def recover(self, trial: Trial) -> Reading | NotStarted | Unknown:
        """What the device remembers of the trial's last run; see ``Instrument.recover``.

        A run that was aborted is ``Unknown``: it was begun, gave nothing, and says nothing of its setting, so the
        campaign's ``on_unknown`` decides. That a run was never begun is believed only of a device whose memory
        outlives its power.

        Raises:
            InvalidReading: if the run is done and its result must not be believed.
            LinkError: if the device cannot be asked.
        """
        if not trial.key:
            return Unknown("the trial has no key, so no run on the device can be told to be its own")
        run, _ = self._attempts(trial)
        if not run:
            time.sleep(IN_FLIGHT_S)
            run, _ = self._attempts(trial)
        if not run:
            return self._never_heard_of(trial)
        try:
            reading = self._finished(run, trial.setting)
        except (OutcomeUnknown, RunAborted) as said:
            return Unknown(str(said))
        return reading.model_copy(update={"info": {**reading.info, "recovered": True}})

    def _never_heard_of(self, trial: Trial) -> NotStarted | Unknown:
        said = f"{self.resource} knows no run of trial {trial.number}"
        if self.query("SYST:MEM?") == "KEPT":
            return NotStarted(said)
        return Unknown(f"{said} since it was switched on, and what was before that it does not remember")

    def monitor(self) -> dict[str, float]:
        """The reactor's temperature (degC) and pressure (bar)."""
        return {
            "temperature": self.query_number("MEAS:TEMP?"),
            "pressure": self.query_number("MEAS:PRES?"),
        }

    def last_run(self) -> tuple[str, str]:
        """The id of the device's last run and its state: NONE, RUNNING, DONE or ABORTED."""
        run, state, *_ = self.query("LAST?").split(",")
        return run, state

    def _attempts(self, trial: Trial) -> tuple[str, str]:
        """The trial's last run that the device knows, or nothing, and the next name that is free."""
        last = ""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            run = f"{trial.number}-{trial.key}-{attempt}"
            if self._asked(run)[0] == "NONE":
                return last, run
            last = run
        raise SourceError(f"{self.resource} has begun trial {trial.number} {MAX_ATTEMPTS} times; see why it gives up")

    def _asked(self, run: str) -> tuple[str, str]:
        """The run's state, and all that the device says of it."""
        raw = self.query(f"LAST? {run}")
        found, _, said = raw.partition(",")
        state = said.partition(",")[0]
        if found != run or state not in ("NONE", "RUNNING", "DONE", "ABORTED"):
            raise SourceError(f"{self.resource}: {raw!r} is no state of run {run}; see the device's version")
        return state, raw

    def _finished(self, run: str, setting: Setting) -> Reading:
        """Wait for a run that was begun, and read it."""
        end = time.monotonic() + self.run_timeout_s
        while (asked := self._asked(run))[0] == "RUNNING":
            if time.monotonic() > end:
                raise OutcomeUnknown(
                    f"{self.resource}: run {run} is still under way after {self.run_timeout_s:g} s; "
                    "look at the device, or raise run_timeout_s"
                )
            time.sleep(self.poll_s)
        state, raw = asked
        if state != "DONE":
            raise RunAborted(f"{self.resource}: run {run} is {state}: it was begun and gave no result")
        clipped = self._clipped(run, setting, raw)
        return self._reading(raw.replace(f"{run},{state}", run, 1), run, clipped)

    def _clipped(self, run: str, setting: Setting, raw: str) -> dict[str, list[float]]:
        """What was set and what the run really had, where they differ."""
        found, *fields = self.query(f"LAST:SET? {run}").split(",")
        if found != run or len(fields) != len(self.headers):
            raise SourceError(f"{self.resource} does not say what run {run} was set to; see the device's version")
        pairs = {name: [float(setting[name]), float(x)] for name, x in zip(self.headers, fields, strict=True)}
        clipped = {k: v for k, v in pairs.items() if not math.isclose(*v, rel_tol=1e-6, abs_tol=1e-12)}
        if clipped and self.on_clip == "fail":
            raise InvalidReading(
                f"{self.resource}: run {run} was not carried out at the trial's setting ([asked, had]: {clipped}); "
                "see who else commands it, or set on_clip: use",
                run=run,
                raw=raw,
                clipped=clipped,
            )
        return clipped

    def _reading(self, raw: str, run: str, clipped: dict[str, list[float]]) -> Reading:
        _, *fields, quality = raw.split(",")
        kept = {"raw": raw, "run": run, "quality": quality, "idn": self.idn}
        if len(fields) != len(self.relative_sd) + 2:
            raise InvalidReading(f"{self.resource}: {raw!r} is not six numbers and their quality", **kept)
        if quality != "GOOD":
            raise InvalidReading(f"{self.resource}: the quality of run {run} is {quality}; see the detector", **kept)
        *values, temperature, device_time = [self.number(text, f"LAST? {run}", **kept) for text in fields]
        named = dict(zip(self.relative_sd, values, strict=True))
        return Reading(
            values=named,
            sd={k: abs(v) * self.relative_sd[k] for k, v in named.items()},
            achieved={**{k: had for k, (_, had) in clipped.items()}, "temperature": temperature},
            info={**kept, "device_time_s": device_time, **({"clipped": clipped} if clipped else {})},
        )
