"""What stands between trials and their device, in the process that commands it.

Laws:
    * A setting is written down before it is commanded: the guard's steps and rates outlive whoever commanded.
    * What the rules refuse is refused before the guard is asked; what the guard refuses is never commanded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import SourceError
from ..records import Refused, Setting, Trial
from ..source import Binding
from .check import Guard
from .fence import Fence, Fenced
from .link import GuardLink

MAX_WAIT_S = 600.0  # that a command waits for the guard's rate, or half its timeout; more is refused


class DeviceGate:
    """Fence, rules and guard of one device, asked in this order before each command.

    Args:
        binding: the source; a simulator is held to limits and forbidden regions only, for it has no step to take.
        fence: our right to command the device, taken.
        link: the guard that runs beside it.
        clock: seconds, the same in every process of the host.
    """

    def __init__(
        self,
        binding: Binding,
        *,
        fence: Fence | None = None,
        link: GuardLink | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fence, self.link = fence, link
        self._name = binding.name
        self._guard = Guard(binding.guard, name=binding.name)
        self._safe_setting = binding.guard.safe_setting
        self._max_wait_s = MAX_WAIT_S if binding.timeout is None else min(MAX_WAIT_S, binding.timeout / 2)
        self._is_instrument = binding.kind == "instrument"
        self._clock = clock
        last = fence.last() if fence else None
        if last is not None:
            self._guard.commanded(last.setting, last.at_s, doubted=last.doubted)

    def refuse(self, trial: Trial) -> Refused | None:
        """Why the command is not sent; if it is, its setting is remembered.

        Raises:
            Fenced: if another controller has taken the device.
            SourceError: if the guard lets nothing through.
        """
        if self.fence:
            self.fence.check()
        refusal = self._guard.refusal(trial.setting, now_s=self._clock())
        if refusal is not None and refusal.wait_s is not None and refusal.wait_s <= self._max_wait_s:
            time.sleep(refusal.wait_s)  # only too fast: it comes in time
            refusal = self._guard.refusal(trial.setting, now_s=self._clock())
        if refusal is not None:
            return Refused(trial=trial.number, by=f"guard of {self._name!r}", reason=refusal.reason, rule=refusal.rule)
        if self.link:
            self.link.acting(trial.setting)
        if self._is_instrument:
            self._remember(trial.setting, self._clock())
        return None

    def reached(self) -> None:
        """The driver answered: the device is where it was told to be."""
        self._guard.reached()
        if self.fence and self._is_instrument:
            self.fence.reached()

    def made_safe(self) -> None:
        """The device was made safe: it may be at its safe setting, and not where it was told to be last."""
        last = self._guard.last
        if self._safe_setting and last is not None:
            self._remember({**last, **self._safe_setting}, self._clock())

    def close(self) -> None:
        """Let the guard and the device go."""
        if self.link:
            self.link.close()
        if self.fence:
            with suppress(SourceError):
                self.fence.release()

    def is_ours(self) -> bool:
        """Whether the device is still ours: another controller's run is not made safe."""
        if self.fence is None:
            return True
        try:
            self.fence.check()
        except Fenced:
            return False
        return True

    def _remember(self, setting: Setting, now_s: float) -> None:
        if self.fence:
            self.fence.remember(setting, now_s)  # before it is commanded: it may not come back
        self._guard.commanded(setting, now_s)
