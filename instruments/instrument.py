"""The base of all instruments: subclass it, or decorate a function.

An instrument is commanded by one trial at a time, at most once a trial, and never retried blindly.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ..controller.records import Cost, Reading, Setting
from ..controller.source import Kind, Source, parameters_of


class Instrument(Source):
    """Something that acts on the world.

    Example:
        >>> class Furnace(Instrument):
        ...     parameters = ("temperature",)
        ...     cost = {"money": 1.0}
        ...     def measure(self, setting):
        ...         return {"hardness": 40 + setting["temperature"] / 30}
    """

    kind: ClassVar[Kind] = "instrument"
    benches: ClassVar[dict[str, str]] = {}  # module by name: a stand-in process that `start: NAME` runs

    @abstractmethod
    def measure(self, setting: Setting) -> Mapping[str, float] | Reading:
        """Set, wait, read: one trial.

        Args:
            setting: the parameters by name, in the units of the campaign.

        Returns:
            The responses by name, or a ``Reading`` with standard deviations and the achieved setting.

        Raises:
            OutcomeUnknown: if the command may have been carried out but no answer came.
            Exception: anything else: the trial failed, and the message is kept.
        """

    def make_safe(self) -> None:
        """Bring the device to its safe state; called after a fault, on Ctrl-C and at the end."""


def instrument(
    *, cost: Cost | None = None, timeout: float | None = None
) -> Callable[[Callable[..., Any]], type[Instrument]]:
    """Make an instrument of a function of the parameters that returns the responses."""

    def decorate(function: Callable[..., Any]) -> type[Instrument]:
        def measure(self: Instrument, setting: Setting) -> Any:
            return function(**setting)

        body = {
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "cost": dict(cost or {}),
            "timeout": timeout,
            "parameters": parameters_of(function),
            "measure": measure,
        }
        return type(function.__name__, (Instrument,), body)

    return decorate
