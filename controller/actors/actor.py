"""One source in a process of its own.

Laws:
    * It answers with records or text: no exception of a driver crosses to the controller.
    * What is too large for the ledger stays here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from typing import Any, NamedTuple, Protocol

from ..errors import ClosedLoopError
from ..guard.fence import Fence
from ..guard.link import GuardLink
from ..perform import Gate, connected, failed, held, perform, recovered, text_of
from ..records import Answer, Failed, Trial
from ..source import Binding
from .watch import Place, forget, here, tell

MAX_ANSWER_MB = 16.0  # a reading of more is kept in a file, not in the ledger
TICK_S = 1.0
N_SILENT = 3  # answers that a guard may owe before it is taken for dead


class DeviceGate(Gate, Protocol):
    """A gate with what it is made of."""

    fence: Fence | None
    link: GuardLink | None

    def make_safe(self, source: Any | None) -> str:
        """Bring the device to its safe state; what went wrong, or nothing."""

    def arm(self) -> None:
        """Let commands through again after the guard made the device safe."""

    def close(self) -> None:
        """Let the guard and the device go."""


Gates = Callable[[Binding], DeviceGate | None]


class Born(NamedTuple):
    """Where an actor lives, and what keeps it from running trials."""

    place: Place
    fault: str
    unsafe: str = ""  # why its device may not be safe


class SourceActor:
    """A source as its executor speaks to it.

    Args:
        binding: the source.
        gates: makes what stands between its trials and the device; None: nothing.
    """

    def __init__(self, binding: Binding, gates: Gates | None = None) -> None:
        self._binding, self._gates = binding, gates
        self._source: Any = None
        self._gate: DeviceGate | None = None
        self._is_over, self._is_commanded, self._n_armed = Event(), False, 0

    def connect(self) -> Born:
        """Make and connect the source, with its fence and its guard."""
        fault = _said(self._connect)
        return Born(here(self._link.pulse if self._link else ""), fault)

    def revive(self) -> Born:
        """Connect after a fault, and make an instrument safe."""
        born = self.connect()
        return born if born.fault else born._replace(unsafe=self.make_safe())

    def perform(self, trial: Trial, *, is_resumed: bool = False) -> Answer:
        """Run one trial.

        Args:
            trial: what to run.
            is_resumed: somebody resumed what the guard had paused, so the guard is to let commands through again.
        """
        self._is_commanded = True
        try:
            if is_resumed:
                self._arm()
        except ClosedLoopError as error:
            return held(trial, str(error), self._binding)
        return self._fitting(trial, perform(self._source, trial, self._binding, gate=self._gate))

    def recover(self, trial: Trial) -> Answer:
        """Ask the device what became of a trial in doubt."""
        return self._fitting(trial, recovered(self._source, trial, self._binding))

    def make_safe(self) -> str:
        """Bring an instrument to its safe state; what went wrong, or nothing."""
        if self._binding.kind == "simulator":
            return ""
        return self._gate.make_safe(self._source) if self._gate else _said(self._source.make_safe)

    def close(self) -> str:
        """Close the source and let its guard and its device go; what went wrong, or nothing."""
        fault = _said(self._source.close)
        return fault or _said(self._let_go)

    @property
    def _link(self) -> GuardLink | None:
        return self._gate.link if self._gate else None

    def _connect(self) -> None:
        self._gate = self._gates(self._binding) if self._gates else None
        try:
            self._source = connected(self._binding)
        except BaseException:
            self._let_go()
            raise
        if self._link:
            Thread(target=self._stand_by, args=(self._link,), daemon=True).start()

    def _arm(self) -> None:
        try:
            if self._gate:
                self._gate.arm()
        finally:
            self._n_armed += 1

    def _let_go(self) -> None:
        self._is_over.set()
        if self._link:
            self._link.close()
            forget(self._link.pulse)
        if self._gate and self._gate.fence:
            self._gate.fence.release()

    def _stand_by(self, link: GuardLink) -> None:
        """A thread's whole life: say how the guard is, while trials run."""
        n_silent = 0
        while not self._is_over.wait(TICK_S):
            if not self._is_commanded:
                link.beat()  # nobody may have heard yet that we are here, and there is nothing to make safe
            n_armed, status = self._n_armed, link.status()
            n_silent = 0 if status.is_alive else n_silent + 1
            if n_silent in (0, N_SILENT):
                with suppress(OSError):
                    tell(link.pulse, status, n_armed=n_armed)

    def _fitting(self, trial: Trial, answer: Answer) -> Answer:
        size_mb = len(answer.model_dump_json()) / 1e6
        if size_mb <= MAX_ANSWER_MB:
            return answer
        said = f"{self._binding.name!r} returned {size_mb:.0f} MB, more than the {MAX_ANSWER_MB:g} MB of a reading"
        words = f"{said}; write large data to a file and return its path"
        return (
            answer.model_copy(update={"info": {}, "message": words})
            if isinstance(answer, Failed)
            else failed(trial, "invalid", words, binding=self._binding)
        )


def _said(function: Callable[[], object]) -> str:
    try:
        function()
    except BaseException as error:
        return text_of(error) or type(error).__name__
    return ""
