"""The guards of the in-process executor: their heartbeat, and what they have to say.

Laws:
    * The heartbeat is a thread of its own: a mind that thinks, or a driver that measures, is no dead controller.
    * What a guard paused is armed again only before the next command, which comes after somebody resumed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Event, Thread

from ..records import Paused, Resumed
from ..source import Binding
from .gate import DeviceGate
from .news import GuardNews

BEAT_S = 1.0


class GuardWatch:
    """Looks after the guards of these sources until ``close``."""

    def __init__(self, bindings: Mapping[str, Binding], gates: Mapping[str, DeviceGate | None]) -> None:
        self._gates = {n: g for n, g in gates.items() if g is not None}
        self._news = {n: GuardNews(bindings[n]) for n, g in self._gates.items() if g.link is not None}
        self._must_arm: set[str] = set()
        self._next_look = 0.0
        self._is_over = Event()
        if self._news:
            Thread(target=self._beat, name="guard-heartbeat", daemon=True).start()

    def word(self) -> Paused | Resumed | None:
        """What a guard has to say that is new; looked for once a second."""
        if time.monotonic() < self._next_look:
            return None
        for name, news in self._news.items():
            link = self._gates[name].link
            said = news.hear(link.status(), must_arm=name in self._must_arm) if link else None
            if said is not None:
                if isinstance(said, Paused):
                    self._must_arm.add(name)
                return said
        self._next_look = time.monotonic() + BEAT_S
        return None

    def before(self, name: str) -> None:
        """A command comes: what was paused has been resumed.

        Raises:
            SourceError: if the guard lets nothing through.
        """
        gate = self._gates.get(name)
        if gate and gate.link and name in self._must_arm:
            gate.link.arm()
            gate.made_safe()  # what held it had made it safe
            self._must_arm.discard(name)
            self._news[name].resumed()

    def close(self) -> None:
        """The guards hear nothing more from here."""
        self._is_over.set()
        self._gates, self._news = {}, {}

    def _beat(self) -> None:
        while not self._is_over.wait(BEAT_S):
            for gate in list(self._gates.values()):
                if gate.link:
                    gate.link.beat()
