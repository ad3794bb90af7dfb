"""All commands, in the order in which the help lists them."""

from __future__ import annotations

from . import audit, begin, check, export, hand, look, running  # noqa: F401
from .application import app

__all__ = ["app"]
