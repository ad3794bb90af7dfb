"""What the guards of actors say, on its way to the campaign."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..executor import POLL_S
from ..guard.link import GuardStatus, needs_guard
from ..guard.news import GuardNews
from ..lifecycle import GUARD
from ..records import AnyEvent, Failed, Noted, Paused, Resumed
from ..source import Binding

HEAR_S = 5.0  # how long a guard's word is waited for before somebody resumes


class Heed:
    """The guards of these sources, and what the campaign was not told of them yet.

    Args:
        bindings: the sources.
        status: how the guard of a source is, as far as is known.
    """

    def __init__(self, bindings: Iterable[Binding], status: Callable[[str], GuardStatus | None]) -> None:
        self._news = {b.name: GuardNews(b) for b in bindings if needs_guard(b)}
        self._status = status
        self._untold: dict[str, Paused] = {}

    def hear(self, *, must_arm: Callable[[str], bool]) -> list[tuple[str, Paused | Resumed | Noted, GuardStatus]]:
        """What is new, by source."""
        found: list[tuple[str, Paused | Resumed | Noted, GuardStatus]] = []
        for name, news in self._news.items():
            status = self._status(name)
            said = news.hear(status, must_arm=must_arm(name))
            if status is None or said is None:
                continue
            if isinstance(said, Paused):
                self._untold[name] = said
            found.append((name, said, status))
        return found

    def held(self, name: str, answer: Failed) -> Paused:
        """A command was not let through: what the campaign is to hear."""
        news, why = self._news.get(name), answer.message
        said = news.held(self._status(name), why) if news else Paused(by=f"{GUARD}{name!r}", reason=why)
        self._untold[name] = said
        return said

    def is_untold(self, name: str) -> bool:
        """Whether a pause of its guard is on its way to the campaign."""
        return name in self._untold

    def told(self, said: AnyEvent) -> None:
        """The campaign has heard this."""
        self._untold = {name: paused for name, paused in self._untold.items() if paused is not said}

    def resumed(self, name: str) -> None:
        """Who asks for a command after a pause does so because somebody resumed."""
        if name in self._news:
            self._news[name].resumed()

    def why_held(self, *, is_over: Callable[[], bool]) -> str:
        """Why a guard lets nothing through though somebody resumes, once each of them was heard of."""
        until = time.monotonic() + HEAR_S
        found = {name: self._status(name) for name in self._news}
        while None in found.values() and time.monotonic() < until and not is_over():
            time.sleep(POLL_S)
            found = {name: self._status(name) for name in self._news}
        whys = ((name, self._news[name].why_not(status)) for name, status in found.items())
        return next((f"{name!r}: {why}" for name, why in whys if why), "")
