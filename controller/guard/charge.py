"""What a guard is given: how to make a driver of its own, and the rules it keeps.

The class and its settings are pickled, which is never done with anything at rest: they go over a private socket to a
process that we have just started.
"""

from __future__ import annotations

import base64
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ..errors import SourceError
from ..perform import text_of
from ..rules import GuardRules
from ..source import Binding, Source, make_source
from .wire import Message

_BY_VALUE = threading.Lock()


@dataclass(frozen=True)
class Charge:
    """One device to be guarded."""

    name: str
    rules: GuardRules
    deadman_s: float
    path: tuple[str, ...]  # where the user's modules are found
    code: bytes  # the class and its settings
    device: str = ""  # its name for the fence; empty: it has none

    def make(self) -> Source:
        """A new driver; not yet connected. This runs the user's code."""
        sys.path[:] = self.path
        cls, settings = pickle.loads(self.code)
        return make_source(cls, settings, name=self.name)


def charge_from(message: Message) -> Charge:
    """What ``charge_for`` means."""
    return Charge(
        name=message["name"],
        rules=GuardRules.model_validate_json(message["rules"]),
        deadman_s=message["deadman_s"],
        path=tuple(message["path"]),
        code=base64.b64decode(message["code"]),
        device=message["device"],
    )


def charge_for(binding: Binding, *, device: str = "") -> Message:
    """What is sent to the guard of a source.

    Args:
        binding: the source.
        device: its name for the fence, where it has one.

    Raises:
        SourceError: if its class and settings cannot be sent.
    """
    deadman_s = binding.guard.deadman_s or float(getattr(binding.cls, "deadman_s", 10.0))
    return {
        "name": binding.name,
        "rules": binding.guard.model_dump_json(),
        "deadman_s": deadman_s,
        "path": [os.path.abspath(p) for p in sys.path],
        "code": base64.b64encode(_packed(binding)).decode(),
        "device": device,
    }


def _packed(binding: Binding) -> bytes:
    """The class and its settings; what the guard could not import travels whole."""
    import cloudpickle  # only here, so that a light import stays light

    try:
        with _by_value(binding):
            packed: bytes = cloudpickle.dumps((binding.cls, dict(binding.settings)))
            return packed
    except (pickle.PicklingError, TypeError, ValueError, RecursionError) as error:
        raise SourceError(
            f"source {binding.name!r}: {binding.cls.__name__} and its settings cannot be sent to the guard's process "
            f"({text_of(error)}); open in connect what cannot be sent, or move the class to a file of its own"
        ) from error


@contextmanager
def _by_value(binding: Binding) -> Iterator[None]:
    import cloudpickle

    names = {c.__module__ for c in (*binding.cls.__mro__, *binding.settings.values()) if hasattr(c, "__module__")}
    modules = [m for n in sorted(names - {"__main__"}) if (m := sys.modules.get(n)) and not _is_importable(m)]
    with _BY_VALUE:  # one registry for the whole process
        new = [m for m in modules if m.__name__ not in cloudpickle.list_registry_pickle_by_value()]
        for module in new:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in new:
                cloudpickle.unregister_pickle_by_value(module)


def _is_importable(module: ModuleType) -> bool:
    """Whether a new process with our search path finds this very module."""
    path: Any = None
    parts, spec = module.__name__.split("."), None
    for n in range(1, len(parts) + 1):
        whole = ".".join(parts[:n])
        found = (finder.find_spec(whole, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((s for s in found if s is not None), None)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return spec is not None and spec.origin in (getattr(module, "__file__", None), "built-in", "frozen")
