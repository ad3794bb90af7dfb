"""All commands, in the order in which the help lists them."""

from __future__ import annotations

from . import approve, audit, begin, check, export, hand, look, running, steer  # noqa: F401
from .application import app

__all__ = ["app"]
