"""Law: cut at any write, resume; every trial stands proposed once and answered once, and no instrument acts twice."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

import closedloop as cl
from closedloop.controller.ledger import audit as ledger_audit
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Acting, AnyEvent, Failed, Observed, Proposed, Stopped

N_TRIALS = 5
N_EVENTS = 20  # started, three a trial and an intent for each of the oven's three, stopped


def declared(log: Path) -> cl.Campaign:
    @cl.instrument(cost={"money": 2})
    def oven(x: float) -> dict:
        with log.open("a") as f:
            f.write(f"{x!r}\n")
        return {"y": x}

    @cl.simulator(cost={"money": 1})
    def model(x: float) -> dict:
        return {"y": x + 0.1}

    return cl.Campaign(
        name="cut",
        parameters={"x": {"low": 0, "high": 1}},
        responses=["y"],
        sources={"oven": {"instrument": oven, "on_unknown": "abandon"}, "model": model},
        goal={"maximize": "y"},
        budget={"trials": N_TRIALS},
        belief="climatology",
    )


def run_and_die(folder: Path, cut: int, *, is_before_commit: bool) -> None:
    """In a process of its own: SIGKILL at the cut-th append, before or after it is on disk."""
    child = os.fork()
    if child == 0:
        append, n = Ledger.append, 0

        def cut_off(self: Ledger, event: AnyEvent) -> AnyEvent:
            nonlocal n
            n += 1
            if n == cut and is_before_commit:
                os.kill(os.getpid(), signal.SIGKILL)
            written = append(self, event)
            if n == cut:
                os.kill(os.getpid(), signal.SIGKILL)
            return written

        Ledger.append = cut_off
        try:
            cl.run(declared(folder / "log"), ledger=folder / "l.db", executor="inline")
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the campaign has fewer than {cut} events"


@pytest.mark.parametrize("is_before_commit", [True, False])
@pytest.mark.parametrize("cut", range(1, N_EVENTS + 1))
def test_proposed_once_answered_once_acted_at_most_once(cut: int, is_before_commit: bool, tmp_path: Path) -> None:
    run_and_die(tmp_path, cut, is_before_commit=is_before_commit)
    began = time.monotonic()
    cl.run(declared(tmp_path / "log"), ledger=tmp_path / "l.db", executor="inline")
    assert time.monotonic() - began < 30, "the dead controller's lease was waited for"
    events = ledger_reader.events(tmp_path / "l.db")
    proposed = [e.trial for e in events if isinstance(e, Proposed)]
    answered = Counter(e.trial for e in events if isinstance(e, Observed | Failed))
    intended = Counter(e.trial for e in events if isinstance(e, Acting))
    assert [t.number for t in proposed] == list(range(1, N_TRIALS + 1))
    assert answered == dict.fromkeys(range(1, N_TRIALS + 1), 1)
    assert intended == {t.number: 1 for t in proposed if t.source == "oven"}
    assert isinstance(events[-1], Stopped)
    acted = Counter((tmp_path / "log").read_text().split()) if (tmp_path / "log").exists() else Counter()
    assert max(acted.values(), default=0) <= 1
    assert set(acted) <= {repr(t.setting["x"]) for t in proposed if t.source == "oven"}
    assert ledger_audit.verify(tmp_path / "l.db") == []


def test_a_session_that_is_cut_off_goes_on(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        session = cl.Session(declared(tmp_path / "log"), ledger=tmp_path / "l.db")
        session.suggest(2)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with cl.Session(declared(tmp_path / "log"), ledger=tmp_path / "l.db") as session:
        assert [t.number for t in session.pending] == [1, 2]
        session.ingest(2, {"y": 0.3})
        assert [t.number for t in session.pending] == [1]
