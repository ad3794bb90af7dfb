"""Looks after the processes of sources from outside, for Ray takes one that stands still for one that works.

Laws:
    * A process is judged by what its system says of it, never by whether it answers: a driver may compute for
      minutes without letting Python in.
    * One that is stopped (SIGSTOP, say) is ended, which its executor then hears from Ray like any other death.
    * A computer whose watcher keeps silent is lost, and with it what ran there.
    * Guards hear from here that the controller lives, past their drivers: a mind that thinks for long is no dead one.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import psutil

from ..guard.link import GuardStatus, beat_at
from ..perform import text_of
from .session import RaySession, ray, ray_worker

TICK_S = 1.0
N_STILL = 2  # looks in a row at which a process stood still before it is ended
N_GONE = 3  # looks after which a process that is gone is dead, whatever Ray knows
N_SILENT = 5  # ticks without a word after which a computer is lost
N_STARTING = 30  # the same while its watcher has not spoken yet
HEAD_S = 5.0  # how long a cluster's head may take to answer
GONE = (
    "Ray works no more: {}; nothing is lost: go on with the same command, which starts or joins Ray again and settles "
    "what was in flight"
)
_LOG = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where a source lives: a process on a node."""

    node: str
    pid: int
    started: float  # a number is used again; with its start a process is told apart
    pulse: str = ""  # where its guard, if it has one, hears that the controller lives


class Sight(NamedTuple):
    """What is seen of a place from outside."""

    dead: str = ""  # why what lived there is no more
    guard: GuardStatus | None = None  # as its process said last
    n_armed: int = 0  # how often it had been armed before it said so


def here(pulse: str = "") -> Place:
    """This process."""
    return Place(ray.get_runtime_context().get_node_id(), os.getpid(), psutil.Process().create_time(), pulse)


def tell(pulse: str, status: GuardStatus, *, n_armed: int) -> None:
    """Leave word beside the pulse of a guard; a process that runs a trial can answer no call."""
    path = _word(pulse)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"status": asdict(status), "n_armed": n_armed}))
    new.replace(path)


def forget(pulse: str) -> None:
    """Take the word away."""
    if pulse:
        with suppress(OSError):
            _word(pulse).unlink()


def _word(pulse: str) -> Path:
    return Path(pulse).with_suffix(".said")


class Watcher:
    """Looks at processes of its own computer: in the executor's process, or as an actor on another node."""

    def __init__(self) -> None:
        self._n_still: Counter[Place] = Counter()
        self._n_gone: Counter[Place] = Counter()

    def look(self, places: Iterable[Place]) -> dict[Place, Sight]:
        """How they are; a guard is told that its controller lives, a process that stands still is ended."""
        found = {place: self._see(place) for place in places}
        for counter in (self._n_still, self._n_gone):
            for place in counter.keys() - found.keys():
                del counter[place]
        return found

    def _see(self, place: Place) -> Sight:
        if place.pulse:
            beat_at(place.pulse)
        dead = self._judge(place)
        if dead:
            forget(place.pulse)
            return Sight(dead)
        if place.pulse:
            with suppress(OSError, ValueError):
                said = json.loads(_word(place.pulse).read_text())
                return Sight("", GuardStatus(**said["status"]), said["n_armed"])
        return Sight()

    def _judge(self, place: Place) -> str:
        state = state_of(place.pid, place.started)
        self._n_still[place] = self._n_still[place] + 1 if state == psutil.STATUS_STOPPED else 0
        self._n_gone[place] += state in ("", psutil.STATUS_ZOMBIE)
        if self._n_still[place] >= N_STILL:
            with suppress(psutil.Error):
                psutil.Process(place.pid).kill()
            return f"process {place.pid} stood still, stopped by a signal, and was ended"
        return f"process {place.pid} is gone" if self._n_gone[place] >= N_GONE else ""


def state_of(pid: int, started: float) -> str:
    """What the system says of a process; empty if there is none."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.create_time() == started:
            return process.status()
    return ""


@dataclass
class _Node:
    """A node's watcher, and how long it has kept silent."""

    name: str
    actor: Any = None
    ref: Any = None
    n_silent: int = 0
    has_spoken: bool = False

    def ask(self, places: list[Place]) -> dict[Place, Sight]:
        """What its watcher says of them, or why all of them are lost; asks again, and waits for nothing."""
        seen: dict[Place, Sight] = {}
        if self.ref is not None:
            self.n_silent += 1  # counted, not timed: this process may itself have stood still
            done, _ = ray.wait([self.ref], timeout=0)
            if done:
                seen = self._heard()
        if self.n_silent >= (N_SILENT if self.has_spoken else N_STARTING):
            seen = dict.fromkeys(places, Sight(f"its computer (node {self.name[:8]}) does not answer"))
        if self.ref is None:
            self.actor = self.actor or _new_watcher(self.name)
            self.ref = self.actor.look.remote(places)
        return seen

    def _heard(self) -> dict[Place, Sight]:
        ref, self.ref = self.ref, None
        try:
            seen: dict[Place, Sight] = ray.get(ref)
        except ray.exceptions.RayError:
            self.actor = None  # only the watcher may have died: the next one tells
            return {}
        self.n_silent, self.has_spoken = 0, True
        return seen

    def leave(self) -> None:
        """End the watcher."""
        with suppress(Exception):
            ray.kill(self.actor, no_restart=True)


def _new_watcher(node: str) -> Any:
    where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
    options = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": where}
    return ray.remote(Watcher).options(**options).remote()


class Watch:
    """The executor's second thread: it looks every ``TICK_S``, however long the mind thinks.

    Args:
        session: whose head and nodes are watched.
    """

    def __init__(self, session: RaySession) -> None:
        self.lost = ""  # why Ray as a whole works no more
        self._session = session
        self._here = ray.get_runtime_context().get_node_id()
        self._local, self._nodes = Watcher(), dict[str, _Node]()
        self._places: frozenset[Place] = frozenset()
        self._seen: dict[Place, Sight] = {}
        self._n_bad = 0
        self._is_over = Event()
        self._threads = [Thread(target=self._repeat, args=looks, daemon=True) for looks in self._looks()]
        for thread in self._threads:
            thread.start()

    def follow(self, places: Iterable[Place]) -> None:
        """Look at these from now on."""
        self._places = frozenset(places)

    def verdict(self, place: Place | None) -> str:
        """Why what runs there is no more; empty as far as is known."""
        return self._seen[place].dead if place in self._seen else ""

    def guard_of(self, place: Place | None, *, n_armed: int) -> GuardStatus | None:
        """How the guard of what runs there is; None as long as it has said nothing since it was armed so often."""
        sight = self._seen.get(place, Sight()) if place else Sight()
        return sight.guard if sight.n_armed == n_armed else None

    def is_gone(self, place: Place) -> bool:
        """Whether a process of this computer has certainly ended, as seen now."""
        return place.node == self._here and state_of(place.pid, place.started) in ("", psutil.STATUS_ZOMBIE)

    def end(self) -> None:
        """Look no more."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(2 * TICK_S)
        for node in self._nodes.values():
            node.leave()

    def _looks(self) -> tuple[tuple[Callable[[], None], ...], ...]:
        if self._session.vital:
            return ((self._look_here, self._look_there, self._look_at_vital),)
        # asking the head may take long: in a thread of its own, so that no guard waits for it
        return ((self._look_here, self._look_there), (self._ask_head,))

    def _repeat(self, *looks: Callable[[], None]) -> None:
        while not self._is_over.wait(TICK_S):
            for look in looks:
                try:
                    look()
                except Exception as error:  # one that fails must not blind the others
                    _LOG.debug("%s", text_of(error))

    def _look_here(self) -> None:
        self._learn(self._local.look([p for p in self._places if p.node == self._here]))

    def _look_there(self) -> None:
        far: dict[str, list[Place]] = {}
        for place in self._places:
            if place.node != self._here:
                far.setdefault(place.node, []).append(place)
        for name, places in far.items():
            node = self._nodes.setdefault(name, _Node(name))
            self._learn(node.ask(places))

    def _learn(self, seen: dict[Place, Sight]) -> None:
        # what once was found dead stays so: a computer may come back after its trial was given up
        self._seen.update({place: sight for place, sight in seen.items() if not self.verdict(place)})

    def _look_at_vital(self) -> None:
        states = {name: state_of(p.pid, p.create_time()) for name, p in self._session.vital.items()}
        ended = [name for name, state in states.items() if state in ("", psutil.STATUS_ZOMBIE)]
        still = [name for name, state in states.items() if state == psutil.STATUS_STOPPED]
        self._n_bad = self._n_bad + 1 if still else 0
        if ended:
            self.lost = f"its process {ended[0]} ended"
        elif self._n_bad >= N_STILL:
            self.lost = f"its process {still[0]} stands still, stopped by a signal"

    def _ask_head(self) -> None:
        try:
            ray_worker.global_worker.gcs_client.internal_kv_get(b"session_name", b"session", timeout=HEAD_S)
            self._n_bad = 0
        except Exception as error:
            self._n_bad += 1
            if self._n_bad >= N_STILL:
                self.lost = f"its head does not answer ({text_of(error)})"
