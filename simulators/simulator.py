"""The base of all simulators: subclass it, or decorate a function.

A simulator is pure: the same setting and unknowns give the same responses, and it may be run again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..controller.records import Cost, Reading, Setting
from ..controller.source import Kind, Source, known_to, parameters_of


class Simulator(Source):
    """A model of what an instrument would answer.

    ``unknowns`` names what the model does not know of the world, with a nominal value each; the campaign
    gives them priors. With ``is_vectorised`` the unknowns arrive as arrays of shape (n_members,) and the
    responses are arrays of that shape.

    Example:
        >>> class Decay(Simulator):
        ...     parameters = ("time",)
        ...     unknowns = {"rate": 0.3}
        ...     def simulate(self, setting, unknowns):
        ...         return {"left": 2.718281828 ** (-unknowns["rate"] * setting["time"])}
    """

    kind: ClassVar[Kind] = "simulator"
    is_repeatable: ClassVar[bool] = True
    unknowns: ClassVar[dict[str, float]] = {}
    is_vectorised: ClassVar[bool] = False

    @abstractmethod
    def simulate(self, setting: Setting, unknowns: Mapping[str, Any]) -> Mapping[str, Any]:
        """The responses at one setting.

        Args:
            setting: the parameters by name, in the units of the campaign.
            unknowns: by name; floats, or arrays of shape (n_members,) when ``is_vectorised``.

        Returns:
            The responses by name; floats, or arrays of shape (n_members,).
        """

    def run(self, setting: Setting, unknowns: Mapping[str, Sequence[float]]) -> Reading:
        """One trial: the simulator at ``setting`` for each ensemble member.

        Args:
            setting: the parameters by name.
            unknowns: each unknown's value per member; empty: one run at the nominal values.

        Returns:
            A reading with the members' responses, their mean, and their standard deviation as ``sd``.
        """
        if not unknowns:
            return Reading(values={k: float(v) for k, v in self.simulate(setting, self.unknowns).items()})
        members = self._members(setting, {**self._nominal(unknowns), **unknowns})
        return Reading(
            values={k: float(np.mean(v)) for k, v in members.items()},
            sd={k: float(np.std(v)) for k, v in members.items()},
            members={k: tuple(float(x) for x in v) for k, v in members.items()},
        )

    def _nominal(self, unknowns: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        n_members = len(next(iter(unknowns.values())))
        return {k: [v] * n_members for k, v in self.unknowns.items()}

    def _members(self, setting: Setting, unknowns: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        if self.is_vectorised:
            arrays = {k: np.asarray(v, dtype=float) for k, v in unknowns.items()}
            return {k: np.asarray(v, dtype=float) for k, v in self.simulate(setting, arrays).items()}
        n_members = len(next(iter(unknowns.values())))
        rows = [self.simulate(setting, {k: v[j] for k, v in unknowns.items()}) for j in range(n_members)]
        return {k: np.asarray([row[k] for row in rows], dtype=float) for k in rows[0]}


def simulator(
    *, cost: Cost | None = None, unknowns: dict[str, float] | None = None, timeout: float | None = None
) -> Callable[[Callable[..., Any]], type[Simulator]]:
    """Make a simulator of a function of the parameters and the unknowns that returns the responses."""

    def decorate(function: Callable[..., Any]) -> type[Simulator]:
        def simulate(self: Simulator, setting: Setting, unknowns: Mapping[str, Any]) -> Any:
            return function(**known_to(self, setting), **unknowns)

        body = {
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "cost": dict(cost or {}),
            "timeout": timeout,
            "parameters": parameters_of(function, leave_out=unknowns or ()),
            "unknowns": dict(unknowns or {}),
            "simulate": simulate,
        }
        return type(function.__name__, (Simulator,), body)

    return decorate
