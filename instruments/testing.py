"""The contract that a user's own driver passes in three lines of test.

Example::

    from closedloop.instruments.testing import InstrumentContract

    class TestFurnace(InstrumentContract):
        make = Furnace  # a class, or a function of no arguments that returns an unconnected instrument
        setting = {"temperature": 450.0}
        responses = ["hardness"]
"""

from __future__ import annotations

from contextlib import closing

from ..controller.records import Reading
from ..controller.source_contract import SourceContract
from .instrument import Instrument

STRANGER = "no_such_parameter"


class InstrumentContract(SourceContract):
    """What every instrument keeps; it measures three times."""

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
