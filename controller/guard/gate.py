"""What stands between trials and their device, in the process that commands it.

Laws:
    * A setting is written down before it is commanded: the guard's steps and rates outlive whoever commanded.
    * What the rules refuse is refused before the guard is asked; what the guard refuses is never commanded.
    * What is answered is believed only if nothing else was done to the device since its command.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..bounded import within
from ..errors import SourceError
from ..perform import text_of
from ..records import Refused, Setting, Trial
from ..source import Binding
from .check import Guard
from .fence import Fence, Fenced
from .link import GuardLink

MAX_WAIT_S = 600.0  # that a command waits for the guard's rate, or half its timeout; more is refused
SAFE_S = 5.0  # how long a driver may take to make its device safe


@dataclass(frozen=True)
class _Command:
    """What was the case when a trial was commanded."""

    n_commands: int
    n_safe: int
    n_safe_by_guard: int


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
        self._n_commands = self._n_safe = self._n_believed = 0
        self._under_way: dict[int, _Command] = {}  # by the trial's number
        self._given_up: set[int] = set()  # trials whose drivers still run, and may command no more
        self._lock = threading.Lock()
        last = fence.last() if fence else None
        if last is not None:
            self._guard.commanded(last.setting, last.at_s, doubted=last.doubted)

    def refuse(self, trial: Trial) -> Refused | None:
        """Why the command is not sent; if it is, its setting is remembered.

        Raises:
            Fenced: if another controller has taken the device.
            SourceError: if the guard lets nothing through.
        """
        n_safe = self._n_safe
        if self.fence:
            self.fence.check()
        refusal = self._guard.refusal(trial.setting, now_s=self._clock())
        if refusal is not None and refusal.wait_s is not None and refusal.wait_s <= self._max_wait_s:
            time.sleep(refusal.wait_s)  # only too fast: it comes in time
            refusal = self._guard.refusal(trial.setting, now_s=self._clock())
        if refusal is not None:
            by = f"guard of {self._name!r}"
            return Refused(
                trial=trial.number, by=by, reason=refusal.reason, rule=refusal.rule, places=self._guard.places
            )
        n_safe_by_guard = self.link.acting(trial.setting) if self.link else 0
        if self._is_instrument:
            self._remember(trial.setting)
        with self._lock:  # what is given up or made safe from here on hears of this command
            if trial.number in self._given_up:
                raise SourceError(f"source {self._name!r}: trial {trial.number} was given up")
            if self._n_safe != n_safe:
                raise SourceError(f"source {self._name!r}: the device was made safe meanwhile")
            self._n_commands += 1
            self._under_way[trial.number] = _Command(self._n_commands, n_safe, n_safe_by_guard)
        return None

    def give_up(self, number: int) -> None:
        """The driver of a trial is not waited for any more: from now on it gets no command through."""
        with self._lock:
            self._given_up.add(number)

    def come_back(self, number: int) -> None:
        """That driver has ended."""
        self._given_up.discard(number)

    def doubt(self, trial: Trial) -> str:
        """Why what the driver answered is not to be believed: what was done to the device since its command.

        Where nothing was, the device is where it was told to be.
        """
        begun = self._under_way.pop(trial.number, None)
        if begun is None or not self._is_instrument:
            return ""
        why = self.link.answered(begun.n_safe_by_guard) if self.link else ""
        try:
            if self.fence:
                self.fence.check()
        except Fenced as error:
            why = str(error)
        self._n_believed = self._n_safe  # looked at last, for what is asked above takes time
        if self._n_believed != begun.n_safe:
            return "the device was made safe meanwhile"
        if self._n_commands != begun.n_commands:
            return "the device was commanded again meanwhile"
        return why and f"meanwhile {why}"

    def reached(self) -> None:
        """The driver gave a reading that is believed: the device is where it was told to be."""
        if self._n_safe != self._n_believed:
            return  # made safe since then
        self._guard.reached()
        if self.fence and self._is_instrument:
            self.fence.reached()

    def make_safe(self, source: Any | None) -> str:
        """Bring the device to its safe state by this driver, else by its guard's; what went wrong, or nothing.

        Args:
            source: the driver; None: it is busy, or there is none.
        """
        if not self.is_ours():
            return ""  # another controller's run would be made safe
        with self._lock:
            self._n_safe += 1
        fault = "its driver is busy" if source is None else self._by_driver(source)
        if fault and self.link:
            by_guard = self.link.make_safe()
            fault = by_guard and f"{fault}; by its guard: {by_guard}"
        self._returned(is_sure=not fault)
        return fault

    def arm(self) -> None:
        """Let commands through again after the guard made the device safe.

        Raises:
            SourceError: if an interlock trips still, or the guard is dead.
        """
        if self.link is None:
            return
        status = self.link.status()
        self.link.arm()
        self._returned(is_sure=status.is_alive and not status.fault)

    def abandon(self) -> None:
        """Go without a word, for a driver still runs: its guard makes the device safe, and it is ours till we end."""
        if self.link:
            self.link.let_go()

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
        except SourceError:  # it cannot be told: better safe twice than never
            return True
        return True

    def _by_driver(self, source: Any) -> str:
        def both() -> None:
            source.make_safe()
            if self._safe_setting:
                source.return_to(dict(self._safe_setting))

        try:
            within(SAFE_S, both)
        except Exception as error:
            return text_of(error)
        return ""

    def _returned(self, *, is_sure: bool) -> None:
        """The device was made safe: it is at its safe setting, or may still be where it was told to be last."""
        last = self._guard.last
        if self._safe_setting and last is not None:
            with suppress(SourceError):  # of another controller by now: that one knows
                self._remember({**last, **self._safe_setting}, is_sure=is_sure)

    def _remember(self, setting: Setting, *, is_sure: bool = False) -> None:
        doubted: tuple[Setting, ...] | None = () if is_sure else None
        now_s = self._clock()
        if self.fence:
            self.fence.remember(setting, now_s, doubted=doubted)  # before it is commanded: it may not come back
        self._guard.commanded(setting, now_s, doubted=doubted)
