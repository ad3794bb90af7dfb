"""What people say of a campaign from outside: taken by the controller that runs it, or else written down here.

Laws:
    * A word is held against the state by ``admit`` before it is written, whoever writes it.
    * Letters that wait in the inbox are taken before a new word, in the order in which they were left.
    * The person hears what became of the word, and why where nothing did.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import LeaseHeld
from .ledger import reader as ledger_reader
from .ledger.letters import answer_to
from .ledger.reader import Holder
from .lifecycle import why_no_person
from .records import AnyEvent, Noted

if TYPE_CHECKING:
    from .ledger.writer import Ledger
    from .state import State

WAIT_S = 3.0  # how long a controller is given to take a letter before we go
LOOK_S = 0.05


def say(ledger: str | Path, campaign: str | None, event: AnyEvent, *, wait_s: float | None = None) -> AnyEvent | None:
    """Say something of a campaign.

    Args:
        ledger: the file.
        campaign: its name; None where the ledger holds one.
        event: what is said.
        wait_s: how long the controller is given to take it; ``WAIT_S`` if absent.

    Returns:
        The event that it became; ``Noted`` if it could not be taken, with the reason; None: it waits in the inbox.

    Raises:
        LedgerError: if the ledger cannot be read or written.
    """
    name = ledger_reader.started(ledger, campaign).campaign["name"]
    if fault := why_no_person(getattr(event, "by", "")):
        return Noted(text=f"{event.kind}: {fault}")
    if controller_of(ledger, name) is None:
        try:
            return _enter(ledger, name, event)
        except LeaseHeld:
            pass
    letter = ledger_reader.post(ledger, name, event)
    taken = _awaited(ledger, letter, WAIT_S if wait_s is None else wait_s)
    if taken is not None:
        return taken
    try:
        return _enter(ledger, name, None, letter=letter)  # whoever held the lease may be gone
    except LeaseHeld:
        return answer_to(ledger, letter)


def controller_of(ledger: str | Path, campaign: str | None) -> Holder | None:
    """Who writes a campaign and can be taken to live; of another host only its heartbeat is known."""
    holder = ledger_reader.lease(ledger, campaign)
    if holder is None or holder.host != socket.gethostname():
        return holder
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return holder


def _awaited(ledger: str | Path, letter: int, wait_s: float) -> AnyEvent | None:
    end = time.monotonic() + wait_s
    while (taken := answer_to(ledger, letter)) is None and time.monotonic() < end:
        time.sleep(LOOK_S)
    return taken


def _enter(path: str | Path, name: str, event: AnyEvent | None, *, letter: int | None = None) -> AnyEvent | None:
    """Take the lease and all letters, then write the event; what it, or our letter, became."""
    from .campaign import Campaign
    from .evolve import replay
    from .ledger.rows import uncollected
    from .ledger.writer import Ledger
    from .report.lookup import KEEPING

    declared = Campaign.trusted(ledger_reader.started(path, name).campaign)
    with Ledger.open(path, name, keeping=KEEPING) as book:
        with uncollected():
            state = replay(declared, book.stream())
        became: AnyEvent | None = None
        for word in book.inbox():
            state, written = _written(state, word, book)
            became = written if letter is not None and word.letter == letter else became
        if event is not None:
            state, became = _written(state, event, book)
        if state.ending and not state.stopped:
            _end(state, book)
    return became or (answer_to(path, letter) if letter is not None else None)


def _written(state: State, word: AnyEvent, book: Ledger) -> tuple[State, AnyEvent]:
    from .entry import enter
    from .evolve import why_not

    state, written = enter(state, book, word)
    if written is None:  # it cannot happen to its trial; only whoever said it need know
        return state, Noted(text=f"{word.kind}: {why_not(state, word)}")  # type: ignore[arg-type]
    return state, written


def _end(state: State, book: Ledger) -> None:
    """Nobody runs the campaign, so what the mind has to say of its end is written here, as far as it goes."""
    from .decide import decide
    from .evolve import evolve

    while (event := decide(state)) is not None:
        state = evolve(state, book.append(event))
