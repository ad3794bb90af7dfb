"""The guards of the in-process executor: their heartbeat, and what they have to say.

Laws:
    * The heartbeat is a thread of its own: a mind that thinks, or a driver that measures, is no dead controller.
    * What a guard paused is armed again only before the next command, which comes after somebody resumed.
"""

from __future__ import annotations

import time
from collections import Counter
from threading import Event, Thread

from ..lifecycle import GUARD
from ..records import Failed, Noted, Paused, Resumed
from ..source import Binding
from .gate import DeviceGate
from .link import GuardStatus
from .news import GuardNews

BEAT_S = 1.0
N_SILENT = 3  # answers that a guard may owe before it is taken for dead


class GuardWatch:
    """Looks after the guards of these sources until ``close``."""

    def __init__(self) -> None:
        self._gates: dict[str, DeviceGate] = {}
        self._news: dict[str, GuardNews] = {}
        self._must_arm: set[str] = set()
        self._n_silent: Counter[str] = Counter()
        self._next_look = 0.0
        self._is_over = Event()

    def add(self, binding: Binding, gate: DeviceGate) -> None:
        """Look after this one too, from now on."""
        self._gates[binding.name] = gate
        if gate.link is not None:
            self._news[binding.name] = GuardNews(binding)
            if len(self._news) == 1:
                Thread(target=self._beat, name="guard-heartbeat", daemon=True).start()

    def word(self) -> Paused | Resumed | Noted | None:
        """What a guard has to say that is new; looked for once a second."""
        if time.monotonic() < self._next_look:
            return None
        for name, news in self._news.items():
            status = self._status(name)
            self._n_silent[name] = 0 if status is None or status.is_alive else self._n_silent[name] + 1
            if 0 < self._n_silent[name] < N_SILENT:
                continue  # its computer may be busy
            said = news.hear(status, must_arm=name in self._must_arm)
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
        if name in self._must_arm:
            self._gates[name].arm()
            self._must_arm.discard(name)
            self._news[name].resumed()

    def held(self, name: str, answer: Failed) -> Paused:
        """What the campaign hears where a command was not let through."""
        news, why = self._news.get(name), answer.message
        if news is None:
            return Paused(by=f"{GUARD}{name!r}", reason=why)
        self._must_arm.add(name)
        return news.held(self._status(name), why)

    def why_held(self) -> str:
        """Why a guard lets nothing through even if somebody resumes; empty: none does."""
        whys = ((name, self._news[name].why_not(self._status(name))) for name in self._news)
        return next((f"{name!r}: {why}" for name, why in whys if why), "")

    def _status(self, name: str) -> GuardStatus | None:
        link = self._gates[name].link
        return link.status() if link else None

    def close(self) -> None:
        """The guards hear nothing more from here."""
        self._is_over.set()
        self._gates, self._news = {}, {}

    def _beat(self) -> None:
        while not self._is_over.wait(BEAT_S):
            for gate in list(self._gates.values()):
                if gate.link:
                    gate.link.beat()
