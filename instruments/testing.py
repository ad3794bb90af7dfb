"""Contracts that a user's own drivers and simulators pass in three lines of test.

Example::

    from closedloop.instruments.testing import InstrumentContract

    class TestFurnace(InstrumentContract):
        make = Furnace  # a class, or a function of no arguments that returns an unconnected source
        setting = {"temperature": 450.0}
        responses = ["hardness"]
"""

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

from ..controller.records import Reading, Setting
from ..controller.source import Source
from ..simulators.simulator import Simulator
from .instrument import Instrument

STRANGER = "no_such_parameter"


class _Contract:
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

    def _check(self, values: Mapping[str, Any]) -> None:
        missing = set(self.responses) - set(values)
        assert not missing, f"no {sorted(missing)} among the responses {sorted(values)}"
        for name in self.responses:
            assert math.isfinite(float(values[name])), f"{name}={values[name]} is not finite"


class InstrumentContract(_Contract):
    """What every instrument keeps; it measures three times."""

    def test_it_measures_what_it_declares(self) -> None:
        """Every declared response comes, as a finite number, and the setting is left as it was."""
        instrument, asked = self._instrument(), dict(self.setting)
        with closing(instrument):
            instrument.connect()
            answer = instrument.measure(asked)
            instrument.make_safe()
        self._check(answer.values if isinstance(answer, Reading) else answer)
        assert asked == self.setting, "measure changed the setting that it was given"

    def test_it_can_be_made_safe_at_any_time(self) -> None:
        """Before ``connect``, twice, after a measurement and after ``close``."""
        instrument = self._instrument()
        instrument.make_safe()
        with closing(instrument):
            instrument.connect()
            instrument.make_safe()
            instrument.make_safe()
            instrument.measure(dict(self.setting))
            instrument.make_safe()
        instrument.make_safe()

    def test_it_refuses_a_name_it_does_not_know(self) -> None:
        """A parameter that nothing obeys would be varied in vain; a simulator may ignore one."""
        instrument = self._instrument()
        with closing(instrument):
            instrument.connect()
            try:
                instrument.measure({**self.setting, STRANGER: 1.0})
            except Exception:
                return
            finally:
                instrument.make_safe()
        raise AssertionError(
            f"measure ignored the setting {STRANGER!r}; compare the names and raise SourceError"
        )

    def _instrument(self) -> Instrument:
        instrument = self._made()
        assert isinstance(instrument, Instrument), f"{instrument!r} is no Instrument"
        return instrument


class SimulatorContract(_Contract):
    """What every simulator keeps."""

    tolerance: ClassVar[float] = 1e-6  # relative, between one by one and all at once

    def test_it_computes_what_it_declares(self) -> None:
        """Every declared response comes, as a finite number, at the nominal unknowns."""
        self._check(self._simulator().run(dict(self.setting), {}).values)

    def test_it_is_pure(self) -> None:
        """The same again gives the same, here and in a new object, and leaves the setting as it was."""
        simulator, asked = self._simulator(), dict(self.setting)
        first = simulator.run(asked, self._members())
        assert simulator.run(asked, self._members()) == first, "a second run differs from the first"
        assert self._simulator().run(asked, self._members()) == first, (
            "a new simulator differs from the first"
        )
        assert asked == self.setting, "simulate changed the setting that it was given"

    def test_members_at_once_are_members_one_by_one(self) -> None:
        """An ensemble gives each member what it gets alone."""
        simulator, members = self._simulator(), self._members()
        together = simulator.run(dict(self.setting), members).members
        for j in range(3 if members else 0):
            alone = simulator.run(dict(self.setting), {k: [v[j]] for k, v in members.items()}).members
            for name in self.responses:
                a, b = together[name][j], alone[name][0]
                assert math.isclose(a, b, rel_tol=self.tolerance, abs_tol=1e-12), (
                    f"{name}: {a} at once, {b} alone"
                )

    def _members(self) -> dict[str, list[float]]:
        return {k: [0.9 * v, v, 1.1 * v] for k, v in self._simulator().unknowns.items()}

    def _simulator(self) -> Simulator:
        simulator = self._made()
        assert isinstance(simulator, Simulator), f"{simulator!r} is no Simulator"
        return simulator


def _held() -> tuple[int, int]:
    """Threads and, where the system tells, open files of this process."""
    n_files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return threading.active_count(), n_files


def _pickler() -> ModuleType:
    # As Ray does it: a class of a script or a test travels by value.
    has_cloudpickle = importlib.util.find_spec("cloudpickle") is not None
    return importlib.import_module("cloudpickle" if has_cloudpickle else "pickle")
