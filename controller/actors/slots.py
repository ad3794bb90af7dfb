"""A slot: an actor of a source, what it does now, and how often it ended."""

from __future__ import annotations

import functools
import importlib.machinery
import math
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..errors import SourceError
from ..records import Trial
from ..source import Binding, Source
from .actor import Gates, SourceActor
from .resources import asked_by
from .session import ray
from .watch import Place

N_ENDS = 5  # processes that may end in a row, none with an answer, before the source must rest
REST_S = 60.0  # how long no trial begins then
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass
class Slot:
    """An actor and what it does now: a trial, or (``trial`` is None) becoming ready."""

    binding: Binding
    gates: Gates | None = None
    actor: Any = None
    place: Place | None = None  # known once it is connected
    ref: Any = None
    method: str = ""
    trial: Trial | None = None
    deadline: float = math.inf
    fault: str = ""  # why it cannot run trials
    unsafe: str = ""  # why its device may not be safe
    must_arm: bool = False  # its guard lets no command through until it is armed
    n_armed: int = 0  # how often that was asked for
    answered_s: float = -math.inf  # when it last answered a trial
    n_ends: int = 0  # processes that ended in a row without an answer
    rests_until: float = 0.0
    why_rests: str = ""

    def start(self, method: str, *, within_s: float | None) -> None:
        """Become ready in a new process.

        Raises:
            SourceError: if Ray takes no such actor.
        """
        self.kill()
        self.fault = ""
        self.actor = _new_actor(self.binding, self.gates)
        self.begin(method, within_s=within_s)

    def begin(self, method: str, *args: object, within_s: float | None, trial: Trial | None = None) -> None:
        """Call a method of the actor; its answer is ``ref``."""
        options = {}
        if method == "perform":
            options = {"is_resumed": True} if self.must_arm else {}
            self.n_armed, self.must_arm = self.n_armed + self.must_arm, False
        self.ref = getattr(self.actor, method).remote(*args, **options)
        self.method, self.trial = method, trial
        self.deadline = math.inf if within_s is None else time.monotonic() + within_s

    def end(self) -> Trial | None:
        """Free again; the trial that it was about."""
        trial, self.trial, self.ref, self.deadline = self.trial, None, None, math.inf
        return trial

    def kill(self) -> None:
        """End the process."""
        actor, self.actor, self.place, self.n_armed = self.actor, None, None, 0
        self.end()
        if actor is not None:
            with suppress(Exception):  # it may be dead already, or Ray may be
                ray.kill(actor, no_restart=True)

    def count_end(self, why: str) -> None:
        """One more process has ended without an answer."""
        self.n_ends += 1
        if self.n_ends >= N_ENDS:
            self.rests_until = time.monotonic() + REST_S
            self.why_rests = (
                f"the process of source {self.binding.name!r} ended {self.n_ends} times in a row, last because {why}; "
                f"it rests for {REST_S:g} s: look at its driver and at the memory of its computer"
            )

    def count_answer(self) -> None:
        """It works."""
        self.answered_s = time.monotonic()
        self.n_ends, self.rests_until, self.why_rests = 0, 0.0, ""

    @property
    def is_worn_out(self) -> bool:
        """Whether not even another process is started before it has rested: an instrument's is, to make it safe."""
        return self.n_ends > N_ENDS and time.monotonic() < self.rests_until

    def hindrance(self, method: str = "perform") -> str:
        """Why this may not be asked of it now; a question about a trial in doubt wears nothing out."""
        is_resting = method == "perform" and time.monotonic() < self.rests_until
        return self.fault or (self.why_rests if is_resting else "")


def _new_actor(binding: Binding, gates: Gates | None) -> Any:
    _carry(binding.cls)
    asked = asked_by(binding)
    try:
        remote = _remote_class().options(
            num_cpus=asked.pop("CPU"),
            num_gpus=asked.pop("GPU", 0.0),
            resources=asked,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": _ONE_THREAD},
        )
        return remote.remote(binding, gates)
    except (TypeError, ValueError) as error:
        resources = dict(binding.resources)
        raise SourceError(
            f"source {binding.name!r} cannot be given a process with resources {resources}: {error}; correct them"
        ) from error


@functools.cache
def _remote_class() -> Any:
    return ray.remote(SourceActor)  # once: each new one is exported, for which a head that is gone is waited for


def _carry(cls: type[Source]) -> None:
    """Let a class travel whole where an actor could not import its module: a file given by its path."""
    module = sys.modules.get(cls.__module__)
    if module is not None and cls.__module__ != "__main__" and not _is_importable(cls.__module__):
        ray.cloudpickle.register_pickle_by_value(module)


def _is_importable(name: str) -> bool:
    path: Any = None
    parts = name.split(".")
    for n in range(1, len(parts) + 1):
        spec = importlib.machinery.PathFinder.find_spec(".".join(parts[:n]), path)
        found = spec or getattr(sys.modules.get(parts[0]), "__path__", None) if n == 1 else spec
        if found is None:
            return False
        path = spec.submodule_search_locations if spec else found
    return True


def last_words(error: Exception) -> str:
    """Why a call to an actor gave no answer, as Ray says."""
    said = str(error)
    if isinstance(error, ray.exceptions.OutOfMemoryError) or "debug-memory" in said:
        return "Ray ended it because the memory of its computer ran out; give it more, or run less at once"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
