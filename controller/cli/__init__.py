"""The command line, ``closedloop``. One file a group of commands; heavy libraries load only where they are used."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Any


def main() -> None:
    """Run the command line."""
    _open_streams()
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where a shell made us ignore it
    if is_ours:
        signal.signal(signal.SIGINT, _leave)
    from .commands import app

    if is_ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        app()
    except KeyboardInterrupt:
        _leave()
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done; Python's own end is not worth a traceback


def _leave(*_: Any) -> None:
    """Leave without a word of Python's: nothing is held while libraries load, or when a command has ended."""
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(130)


def _open_streams() -> None:
    """Let standard streams that were closed lead nowhere: else a ledger or a device's link would take their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # open as long as we live
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
