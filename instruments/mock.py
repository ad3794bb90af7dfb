"""An instrument without a device, for rehearsals and tests: a function, noise, and faults on demand.

Laws:
    * Each command is in ``record`` before it is carried out, and its answer before it is given: what the device
      did can be compared with what the ledger says.
    * With a ``record`` it remembers trials across processes; without one it does not claim to.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import time
from collections.abc import Callable, ItemsView, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..controller.errors import CampaignError, OutcomeUnknown, SourceError
from ..controller.records import Reading, Setting, Trial
from ..controller.source import NotStarted, Unknown
from .instrument import Instrument, Recovery

Truth = Callable[[Setting], Mapping[str, Any]]
HANG_S = 3600.0


class Mock(Instrument):
    """Answers ``truth(setting)`` plus noise.

    The faults come at every n-th measurement, counted from one; 0 is never. Nothing is guarded, for there is no
    device; for a rehearsal of the guard, subclass it with ``is_real = True``.

    Args:
        truth: a function of the setting that returns the responses; by name, ``closedloop.module:function`` only.
        sd: standard deviation of the noise, by response.
        seed: of the noise.
        delay_s: how long a measurement takes.
        error_every: raises ``SourceError`` instead of measuring.
        nan_every: measures, and returns NaN for every response.
        unknown_every: measures, and raises ``OutcomeUnknown``.
        exit_every: measures, and ends its process before it answers.
        hang_every: measures, and does not answer for an hour.
        safe_delay_s: how long ``make_safe`` takes.
        safe_error: what ``make_safe`` raises ``SourceError`` with; empty: nothing.
        live: what ``monitor`` shows, or a JSON file that is read each time.
        is_forgetful: ``recover`` cannot tell anything.
        record: a file to which each command and each answer is added, one line of JSON each.

    Example:
        >>> Mock(lambda setting: {"y": setting["x"] ** 2}).measure({"x": 3.0}).values
        {'y': 9.0}
    """

    is_real: ClassVar[bool] = False

    def __init__(
        self,
        truth: Truth | str,
        *,
        sd: Mapping[str, float] | None = None,
        seed: int = 0,
        delay_s: float = 0.0,
        error_every: int = 0,
        nan_every: int = 0,
        unknown_every: int = 0,
        exit_every: int = 0,
        hang_every: int = 0,
        safe_delay_s: float = 0.0,
        safe_error: str = "",
        live: Mapping[str, float] | str | None = None,
        is_forgetful: bool = False,
        record: str | None = None,
    ) -> None:
        self.truth = _load(truth) if isinstance(truth, str) else truth
        self.sd = dict(sd or {})
        self.delay_s = delay_s
        self.error_every = error_every
        self.nan_every = nan_every
        self.unknown_every = unknown_every
        self.exit_every = exit_every
        self.hang_every = hang_every
        self.safe_delay_s = safe_delay_s
        self.safe_error = safe_error
        self.live = live
        self.is_forgetful = is_forgetful
        self.record = Path(record) if record else None
        self.n_measured = 0
        self.is_safe = True
        self._rng = np.random.default_rng(seed)
        self._trial: Trial | None = None
        self._told: list[dict[str, Any]] = []  # the record of an instrument that has no file

    def begin(self, trial: Trial) -> None:
        """The next measurement is remembered as this trial's."""
        self._trial = trial

    def measure(self, setting: Setting) -> Reading | Mapping[str, float]:
        """One measurement; see ``Instrument.measure``."""
        trial, self._trial = self._trial, None
        self.n_measured += 1
        if self._is_due(self.error_every):
            raise SourceError(f"mock: measurement {self.n_measured} was to fail (error_every={self.error_every})")
        self._note("measure", trial, setting=setting)
        self.is_safe = False
        time.sleep(self.delay_s)
        values = {k: float(v) + self.sd.get(k, 0.0) * self._rng.standard_normal() for k, v in self._true(setting)}
        if self._is_due(self.nan_every):
            return dict.fromkeys(values, math.nan)  # no Reading: that one could not even be made
        reading = Reading(values=values, sd={k: s for k, s in self.sd.items() if k in values})
        self._note("answer", trial, reading=reading.model_dump())
        if self._is_due(self.exit_every):
            os._exit(1)
        if self._is_due(self.hang_every):
            time.sleep(HANG_S)
        if self._is_due(self.unknown_every):
            raise OutcomeUnknown(f"mock: the answer of measurement {self.n_measured} was to be lost")
        return reading

    def make_safe(self) -> None:
        """Remembered in ``is_safe`` and in the record."""
        time.sleep(self.safe_delay_s)
        if self.safe_error:
            raise SourceError(f"mock: {self.safe_error}")
        self._note("make_safe")
        self.is_safe = True

    def return_to(self, setting: Setting) -> None:
        """Remembered in the record."""
        self._note("return_to", setting=setting)

    def recover(self, trial: Trial) -> Recovery:
        """What the record says of the trial's last measurement."""
        if self.is_forgetful:
            return Unknown("mock: it was to know nothing (is_forgetful)")
        mine = [e for e in self._entries() if e.get("trial") == trial.number and e.get("key") == trial.key]
        if mine and mine[-1]["command"] == "answer":
            reading = Reading.model_validate(mine[-1]["reading"])
            return reading.model_copy(update={"info": {**reading.info, "recovered": True}})
        if mine:
            return Unknown(f"mock: trial {trial.number} was begun and did not end")
        if self.record is None:
            return Unknown(f"mock: nothing is known of trial {trial.number}, and without a 'record' nothing is kept")
        return NotStarted(f"mock: trial {trial.number} is not in {self.record}")

    def monitor(self) -> Mapping[str, float]:
        """``live``, as it is now."""
        if isinstance(self.live, str):
            shown: dict[str, float] = json.loads(Path(self.live).read_text(encoding="utf-8"))
            return shown
        return dict(self.live or {})

    def _note(self, command: str, trial: Trial | None = None, **details: object) -> None:
        entry = {"command": command, "time": time.time(), "pid": os.getpid(), **details}
        if trial is not None:
            entry |= {"trial": trial.number, "key": trial.key}
        if self.record is None:
            self._told.append(entry)
            return
        with self.record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _entries(self) -> Iterator[dict[str, Any]]:
        if self.record is None:
            yield from self._told
        elif self.record.exists():
            yield from map(json.loads, self.record.read_text(encoding="utf-8").splitlines())

    def _true(self, setting: Setting) -> ItemsView[str, Any]:
        return self.truth(dict(setting)).items()

    def _is_due(self, every: int) -> bool:
        return every > 0 and self.n_measured % every == 0


def _load(target: str) -> Truth:
    module, _, name = target.partition(":")
    if module.partition(".")[0] != "closedloop":  # a campaign file may come from anybody, and a function is called
        raise CampaignError(
            f"mock: truth={target!r} names code outside closedloop; subclass Mock, or give the function from Python"
        )
    try:
        truth: Truth = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CampaignError(
            f"mock: truth={target!r} cannot be found ({error}); give an importable 'module:function'"
        ) from error
    return truth
