"""What holds for every source, as tests: the part that the instruments' and the simulators' contracts share."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from types import ModuleType
from typing import Any, ClassVar

from .records import Setting
from .source import Source


class SourceContract:
    """What holds for every source."""

    make: Any
    setting: ClassVar[Setting]
    responses: ClassVar[Sequence[str]]

    def _made(self) -> Any:
        return type(self).make()  # through the class, so that a plain function is not bound

    def test_making_one_opens_nothing(self) -> None:
        """A campaign is checked by making its sources; that must not touch the world."""
        self._made()  # imports what it needs
        before = _held()
        source = self._made()
        assert isinstance(source, Source), f"{source!r} is neither an Instrument nor a Simulator"
        assert _held() == before, "__init__ opened a file, a socket or a thread; move that to connect"

    def test_connecting_and_closing_may_be_repeated(self) -> None:
        """``close`` comes after every fault, also before ``connect``."""
        source = self._made()
        source.close()
        with closing(source):
            source.connect()
            source.connect()
        source.close()

    def test_its_class_travels_to_another_process(self) -> None:
        """Actors are made in other processes of the class and the campaign's settings."""
        cls = type(self._made())
        pickler = _pickler()
        assert pickler.loads(pickler.dumps(cls)).__name__ == cls.__name__

    def check_answer(self, values: Mapping[str, Any]) -> None:
        """Every declared response is there and finite."""
        missing = set(self.responses) - set(values)
        assert not missing, f"no {sorted(missing)} among the responses {sorted(values)}"
        for name in self.responses:
            assert math.isfinite(float(values[name])), f"{name}={values[name]} is not finite"


def _held() -> tuple[int, int]:
    """Threads and, where the system tells, open files of this process."""
    n_files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return threading.active_count(), n_files


def _pickler() -> ModuleType:
    # As Ray does it: a class of a script or a test travels by value.
    has_cloudpickle = importlib.util.find_spec("cloudpickle") is not None
    return importlib.import_module("cloudpickle" if has_cloudpickle else "pickle")
