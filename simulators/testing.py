"""The contract that a user's own simulator passes in three lines of test.

Example::

    from closedloop.simulators.testing import SimulatorContract

    class TestDecay(SimulatorContract):
        make = Decay  # a class, or a function of no arguments that returns a simulator
        setting = {"time": 2.0}
        responses = ["left"]
"""

from __future__ import annotations

import math
from typing import ClassVar

from ..controller.source_contract import SourceContract
from .simulator import Simulator


class SimulatorContract(SourceContract):
    """What every simulator keeps."""

    tolerance: ClassVar[float] = 1e-6  # relative, between one by one and all at once

    def test_it_computes_what_it_declares(self) -> None:
        """Every declared response comes, as a finite number, at the nominal unknowns."""
        self.check_answer(self._simulator().run(dict(self.setting), {}).values)

    def test_it_is_pure(self) -> None:
        """The same again gives the same, here and in a new object, and leaves the setting as it was."""
        simulator, asked = self._simulator(), dict(self.setting)
        first = simulator.run(asked, self._members())
        assert simulator.run(asked, self._members()) == first, "a second run differs from the first"
        assert self._simulator().run(asked, self._members()) == first, "a new simulator differs from the first"
        assert asked == self.setting, "simulate changed the setting that it was given"

    def test_members_at_once_are_members_one_by_one(self) -> None:
        """An ensemble gives each member what it gets alone."""
        simulator, members = self._simulator(), self._members()
        together = simulator.run(dict(self.setting), members).members
        for j in range(3 if members else 0):
            alone = simulator.run(dict(self.setting), {k: [v[j]] for k, v in members.items()}).members
            for name in self.responses:
                a, b = together[name][j], alone[name][0]
                assert math.isclose(a, b, rel_tol=self.tolerance, abs_tol=1e-12), f"{name}: {a} at once, {b} alone"

    def _members(self) -> dict[str, list[float]]:
        return {k: [0.9 * v, v, 1.1 * v] for k, v in self._simulator().unknowns.items()}

    def _simulator(self) -> Simulator:
        simulator = self._made()
        assert isinstance(simulator, Simulator), f"{simulator!r} is no Simulator"
        return simulator
