"""All commands, in the order in which the help lists them."""

from __future__ import annotations

from . import advise, approve, audit, begin, best, carry, check, export, hand, look, prefer, running, steer  # noqa: F401
from .application import app

__all__ = ["app"]
