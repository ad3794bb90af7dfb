"""Packages that only the interchange uses: imported where they are needed, and asked for in words where they lack."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ..errors import ClosedLoopError


def needed(module: str, *, extra: str) -> Any:
    """A module of another package.

    Raises:
        ClosedLoopError: if it is not installed, saying how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:
            raise ClosedLoopError(f"{package} cannot be imported: {error}; repair its installation") from error
        raise ClosedLoopError(
            f"this needs the package {package!r}, which is not installed; install it with: "
            f"pip install 'closedloop[{extra}]'"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Other packages tell log and warnings of everything that they do."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
