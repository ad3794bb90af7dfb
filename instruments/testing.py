"""The contract that a user's own driver passes in three lines of test.

Example::

    from closedloop.instruments.testing import InstrumentContract

    class TestFurnace(InstrumentContract):
        make = Furnace  # a class, or a function of no arguments that returns an unconnected instrument
        setting = {"temperature": 450.0}
        responses = ["hardness"]
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import ClassVar, NoReturn

from ..controller.records import Reading, Trial
from ..controller.source import NotStarted, Unknown
from ..controller.source_contract import SourceContract
from .instrument import Instrument

STRANGER = "no_such_parameter"
COMMANDS = ("measure", "make_safe", "return_to")


class InstrumentContract(SourceContract):
    """What every instrument keeps; it measures four times.

    ``witness``, where a test gives it, says what somebody else sees of the device, such as all that it was
    commanded: whatever only asks must not change that.
    """

    witness: ClassVar[Callable[[], object] | None] = None

    def test_it_measures_what_it_declares(self) -> None:
        """Every declared response comes, as a finite number, and the setting is left as it was."""
        instrument, asked = self._instrument(), dict(self.setting)
        with closing(instrument):
            instrument.connect()
            answer = instrument.measure(asked)
            instrument.make_safe()
        self.check_answer(answer.values if isinstance(answer, Reading) else answer)
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

    def test_a_real_device_has_a_safe_state(self) -> None:
        """A device that can be left on has a ``make_safe`` of its own."""
        cls = type(self._instrument())
        assert not cls.is_real or cls.make_safe is not Instrument.make_safe, (
            f"{cls.__name__} has no make_safe; write one, or say is_real = False if nothing can be left unsafe"
        )

    def test_recover_asks_and_does_not_command(self) -> None:
        """Of a trial that was never begun it has no reading, and it leaves the device as it was."""
        with closing(self._instrument()) as instrument:
            instrument.connect()
            before = self._seen()
            for name in COMMANDS:
                setattr(instrument, name, _forbidden(name))
            answer = instrument.recover(self._trial())
            assert isinstance(answer, NotStarted | Unknown), f"recover made {answer!r} of a trial that never began"
            assert self._seen() == before, "recover changed the device; it may only ask"

    def test_a_reading_that_is_recovered_is_the_one_that_was_lost(self) -> None:
        """Another process, after a crash, gets it or ``Unknown``: whoever hears "never begun" does it again."""
        trial = self._trial()
        with closing(self._instrument()) as instrument:
            instrument.connect()
            instrument.begin(trial)
            lost = instrument.measure(dict(trial.setting))
            instrument.make_safe()
        with closing(self._instrument()) as instrument:
            instrument.connect()
            found = instrument.recover(trial)
        assert not isinstance(found, NotStarted), "recover says that a trial never began which was carried out"
        if isinstance(found, Reading):
            values = lost.values if isinstance(lost, Reading) else lost
            assert {r: found.values[r] for r in self.responses} == {r: float(values[r]) for r in self.responses}
            assert not isinstance(lost, Reading) or found.achieved == lost.achieved, "it achieved something else"

    def test_what_it_monitors_are_numbers(self) -> None:
        """Each live reading is finite, also while nothing runs, and asking changes nothing."""
        with closing(self._instrument()) as instrument:
            instrument.connect()
            before = self._seen()
            for name, value in instrument.monitor().items():
                assert math.isfinite(float(value)), f"monitor says {name}={value}, which is not finite"
            assert self._seen() == before, "monitor changed the device; it may only ask"

    def test_a_name_it_does_not_know_is_refused(self) -> None:
        """A parameter that nothing obeys would be varied in vain.

        Either the class declares its ``parameters``, which a campaign is checked against, or ``measure`` refuses.
        """
        if type(self._instrument()).parameters is not None:
            return
        with closing(self._instrument()) as instrument:
            instrument.connect()
            try:
                instrument.measure({**self.setting, STRANGER: 1.0})
            except Exception:
                return
            finally:
                instrument.make_safe()
        raise AssertionError(
            f"measure ignored the setting {STRANGER!r}; declare the class's parameters = {tuple(self.setting)!r}"
        )

    def _instrument(self) -> Instrument:
        instrument = self._made()
        assert isinstance(instrument, Instrument), f"{instrument!r} is no Instrument"
        return instrument

    def _trial(self) -> Trial:
        return Trial(number=1, source="contract", setting=dict(self.setting), key=uuid.uuid4().hex[:16])

    def _seen(self) -> object:
        witness = type(self).witness
        return witness() if witness else None


def _forbidden(name: str) -> Callable[..., NoReturn]:
    def command(*_: object) -> NoReturn:
        raise AssertionError(f"recover called {name}; it may only ask")

    return command
