"""What linear algebra may end in, given as the one error that a decision knows what to do about.

Law: nothing that a reading can hold makes a belief raise anything but BeliefError.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from botorch.exceptions.errors import BotorchError
from linear_operator.utils.errors import NotPSDError

from ..errors import BeliefError

NUMERICAL = (ArithmeticError, ValueError, RuntimeError, np.linalg.LinAlgError, NotPSDError, BotorchError)
MAX_TEXT = 200


@contextmanager
def as_belief_errors(what: str) -> Iterator[None]:
    """Within it, or the function that it decorates, a numerical failure is a BeliefError saying ``what`` failed."""
    try:
        yield
    except NUMERICAL as error:
        raise BeliefError(f"{what} failed: {described(error)}") from error


def described(error: Exception) -> str:
    """In one line, with the kind of the error where it is not one of ours."""
    text = (str(error).splitlines() or [""])[0][:MAX_TEXT]
    return text if isinstance(error, BeliefError) else f"{type(error).__name__}: {text}"
