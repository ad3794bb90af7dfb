"""Constraints that are the user's own code: a function of a setting that says whether it is allowed.

Law: a predicate is pure. It is asked again whenever a decision is made again, and must say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .errors import CampaignError
from .records import Setting

Allows = Callable[[Mapping[str, Any]], bool]
F = TypeVar("F", bound=Callable[..., Any])
MARK = "_closedloop_predicate"


def predicate(function: F) -> F:
    """Mark a function of a setting, a dict of values by name, that says whether the setting is allowed.

    A campaign may name it: ``constraints: [{predicate: "my_lab.rules:is_allowed"}]``. It must be pure.
    """
    setattr(function, MARK, True)
    return function


def target_of(function: Allows) -> str:
    """Where a function can be found: ``module:name``."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', type(function).__module__)}:{name}"


@dataclass(frozen=True)
class Predicate:
    """A predicate that is found when it is first asked."""

    target: str
    folder: Path | None = None  # where a relative path starts
    function: Allows | None = None  # two that bear one name are not the same: a notebook may define it again

    def allows(self, setting: Setting) -> bool:
        """Whether it allows a setting.

        Raises:
            CampaignError: if it cannot be found, raises, or answers neither true nor false.
        """
        function = self.function or self.load()
        try:
            answer: Any = function(dict(setting))
        except Exception as error:
            raise CampaignError(
                f"predicate {self.target!r} raised {type(error).__name__}: {error} at {setting}; correct it: it must "
                "answer true or false at every setting"
            ) from error
        answer = answer.item() if getattr(answer, "shape", None) == () else answer  # NumPy
        if not isinstance(answer, bool):
            raise CampaignError(
                f"predicate {self.target!r} answered {str(answer)[:60]!r} at {setting}; return True or False"
            )
        return answer

    def load(self, *, allow_code: bool = False) -> Allows:
        """Its function; imports the user's code.

        Raises:
            CampaignError: if it is not found or may not be run.
        """
        from .source import find_function

        function = find_function(self.target, folder=self.folder, allow_code=allow_code)
        if not callable(function) or not getattr(function, MARK, False):
            raise CampaignError(
                f"predicate {self.target!r} is {str(function)[:60]}, not marked as a predicate; decorate it with "
                "@closedloop.predicate"
            )
        object.__setattr__(self, "function", function)
        return function  # type: ignore[no-any-return]
