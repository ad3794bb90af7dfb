"""What became of a letter that was left in a ledger's inbox."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ..records import AnyEvent, load_event
from .reader import opened

_ANSWER = """SELECT e.payload, e.seq, e.time FROM inbox i JOIN event e ON e.campaign = i.campaign AND e.seq = i.taken
    WHERE i.id = ?"""


def answer_to(path: str | Path, letter: int) -> AnyEvent | None:
    """The event that a letter became, or the note that says why it became nothing else; None: it was not taken yet.

    Raises:
        LedgerError: if the file cannot be read.
    """
    with opened(path) as connection:
        row = connection.execute(_ANSWER, (letter,)).fetchone()
    if row is None:
        return None
    payload, seq, time = row
    return load_event(payload, seq=seq, time=datetime.fromisoformat(time)).model_copy(update={"letter": letter})
