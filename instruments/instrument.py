"""The base of all instruments: subclass it, or decorate a function.

Laws:
    * An instrument is commanded by one trial at a time, at most once a trial, and never retried blindly.
    * ``measure`` and ``return_to`` command; ``recover`` and ``monitor`` ask and leave the device as it is.
    * Other processes make instances of their own beside the one that measures: a guard calls ``monitor``,
      ``make_safe`` and ``return_to`` while a measurement is under way elsewhere, or its process is dead.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ..controller.records import Cost, Reading, Setting, Trial
from ..controller.source import Kind, NotStarted, Source, Unknown, known_to, parameters_of

Recovery = Reading | NotStarted | Unknown


class Instrument(Source):
    """Something that acts on the world.

    Example:
        >>> class Furnace(Instrument):
        ...     parameters = ("temperature",)
        ...     cost = {"money": 1.0}
        ...     def measure(self, setting):
        ...         return {"hardness": 40 + setting["temperature"] / 30}
        ...     def make_safe(self):
        ...         ...  # heater off
    """

    kind: ClassVar[Kind] = "instrument"
    benches: ClassVar[dict[str, str]] = {}  # module by name: a stand-in process that `start: NAME` runs
    deadman_s: ClassVar[float] = 10.0  # the controller's longest silence before the guard makes the device safe
    device_settings: ClassVar[tuple[str, ...] | None] = None  # which settings tell one device from another; None: all
    is_real: ClassVar[bool] = True  # False: there is no device that could be left unsafe; True: override `make_safe`

    @abstractmethod
    def measure(self, setting: Setting) -> Mapping[str, float] | Reading:
        """Set, wait, read: one trial.

        Args:
            setting: the parameters by name, in the units of the campaign.

        Returns:
            The responses by name, or a ``Reading`` with standard deviations and the achieved setting.

        Raises:
            OutcomeUnknown: if the command may have been carried out but no answer came.
            InvalidReading: if the device answered and its answer must not be believed; what it said is kept.
            Exception: anything else: the trial failed, and the message is kept.
        """

    def begin(self, trial: Trial) -> None:
        """Told which trial the next ``measure`` belongs to, so that the device can be asked for it after a crash.

        Commands nothing. ``trial.key`` and ``trial.number`` together are a name that no other trial has; a driver
        gives it to the device with the command, or writes it down.
        """

    def make_safe(self) -> None:
        """Bring the device to its safe state; called after a fault, on Ctrl-C and at the end.

        It comes at any time, from any process, also before ``connect`` and while ``measure`` hangs elsewhere:
        open what it needs, bound every wait, and raise if the device may not be safe.
        """

    def return_to(self, setting: Setting) -> None:
        """Set these parameters after ``make_safe`` and begin nothing; the guard's ``safe_setting`` comes here.

        Raises:
            NotImplementedError: where the driver cannot; ``make_safe`` has to do then.
        """
        raise NotImplementedError(
            f"{type(self).__name__} cannot be sent to {setting} outside a trial; leave out the guard's safe_setting, "
            "or give the driver a 'return_to'"
        )

    def recover(self, trial: Trial) -> Recovery:
        """What became of a trial whose answer was lost; asks the device and commands nothing.

        It may wait for a trial that is still under way, for a bounded time.

        Returns:
            The reading, if the device still has it; ``NotStarted``, if it certainly was never begun and may be run;
            ``Unknown``, if the device cannot tell, or if the trial was cut off: the campaign's ``on_unknown`` decides.

        Raises:
            InvalidReading: if the device has it and it must not be believed.
            Exception: anything else: the device could not be asked.
        """
        return Unknown(f"{type(self).__name__} has no 'recover' that could ask the device")

    def monitor(self) -> Mapping[str, float]:
        """Live readings for interlocks, by name; called by the guard over a connection of its own."""
        return {}


def instrument(
    *,
    cost: Cost | None = None,
    timeout: float | None = None,
    make_safe: Callable[[], object] | None = None,
    recover: Callable[[Trial], Recovery] | None = None,
    repeatable: bool = False,
) -> Callable[[Callable[..., Any]], type[Instrument]]:
    """Make an instrument of a function of the parameters that returns the responses.

    Args:
        cost: of one trial, by resource.
        timeout: seconds that one trial may take.
        make_safe: brings the device to its safe state. Without it the instrument ``is_real`` is False: a function
            holds nothing between two calls, so nothing is guarded. Give it wherever something stays on.
        recover: what became of a trial whose answer was lost; see ``Instrument.recover``.
        repeatable: whether a trial may be carried out twice.
    """

    def decorate(function: Callable[..., Any]) -> type[Instrument]:
        body: dict[str, Any] = {
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "cost": dict(cost or {}),
            "timeout": timeout,
            "parameters": parameters_of(function),
            "is_real": make_safe is not None,
            "is_repeatable": repeatable,
            "measure": lambda self, setting: function(**known_to(self, setting)),
        }
        if make_safe is not None:
            body["make_safe"] = lambda self: make_safe()
        if recover is not None:
            body["recover"] = lambda self, trial: recover(trial)
        return type(function.__name__, (Instrument,), body)

    return decorate
