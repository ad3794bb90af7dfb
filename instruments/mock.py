"""An instrument without a device, for rehearsals and tests: a function, noise, and faults on demand."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, ItemsView, Mapping
from typing import Any

import numpy as np

from ..controller.errors import CampaignError, OutcomeUnknown, SourceError
from ..controller.records import Reading, Setting
from .instrument import Instrument

Truth = Callable[[Setting], Mapping[str, Any]]


class Mock(Instrument):
    """Answers ``truth(setting)`` plus noise.

    The faults come at every n-th measurement, counted from one; 0 is never.

    Args:
        truth: a function of the setting that returns the responses, or ``module:function``.
        sd: standard deviation of the noise, by response.
        seed: of the noise.
        delay_s: how long a measurement takes.
        error_every: raises ``SourceError`` instead of measuring.
        nan_every: measures, and returns NaN for every response.
        unknown_every: measures, and raises ``OutcomeUnknown``.

    Example:
        >>> Mock(lambda setting: {"y": setting["x"] ** 2}).measure({"x": 3.0}).values
        {'y': 9.0}
    """

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
    ) -> None:
        self.truth = _load(truth) if isinstance(truth, str) else truth
        self.sd = dict(sd or {})
        self.delay_s = delay_s
        self.error_every = error_every
        self.nan_every = nan_every
        self.unknown_every = unknown_every
        self.n_measured = 0
        self.is_safe = True
        self._rng = np.random.default_rng(seed)

    def measure(self, setting: Setting) -> Reading | Mapping[str, float]:
        """One measurement; see ``Instrument.measure``."""
        self.n_measured += 1
        if self._is_due(self.error_every):
            raise SourceError(f"mock: measurement {self.n_measured} was to fail (error_every={self.error_every})")
        self.is_safe = False
        time.sleep(self.delay_s)
        values = {k: float(v) + self.sd.get(k, 0.0) * self._rng.standard_normal() for k, v in self._true(setting)}
        if self._is_due(self.unknown_every):
            raise OutcomeUnknown(f"mock: the answer of measurement {self.n_measured} was to be lost")
        if self._is_due(self.nan_every):
            return dict.fromkeys(values, math.nan)  # no Reading: that one could not even be made
        return Reading(values=values, sd={k: s for k, s in self.sd.items() if k in values})

    def make_safe(self) -> None:
        """Remembered in ``is_safe``."""
        self.is_safe = True

    def _true(self, setting: Setting) -> ItemsView[str, Any]:
        return self.truth(dict(setting)).items()

    def _is_due(self, every: int) -> bool:
        return every > 0 and self.n_measured % every == 0


def _load(target: str) -> Truth:
    module, _, name = target.partition(":")
    try:
        truth: Truth = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CampaignError(
            f"mock: truth={target!r} cannot be found ({error}); give an importable 'module:function'"
        ) from error
    return truth
