"""The command line, ``closedloop``. One file a group of commands; heavy libraries load only where they are used."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from .commands import app

    app()
