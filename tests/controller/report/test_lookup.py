"""``status`` of a long campaign reads a digest and the events since, and says what all events say."""

from __future__ import annotations

import importlib.util
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

import closedloop as cl
from closedloop.controller.cli.commands import app
from closedloop.controller.ledger import audit as ledger_audit
from closedloop.controller.ledger import digest as ledger_digest
from closedloop.controller.ledger import keeper as ledger_keeper
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import (
    Acting,
    Amended,
    AnyEvent,
    Assimilated,
    Failed,
    Forecast,
    Observed,
    Proposed,
    Quarantined,
    Reading,
    Restored,
    Started,
    Trial,
)
from closedloop.controller.report import recount
from closedloop.controller.report.lookup import KEEPING, read_standing
from closedloop.controller.report.retold import Retold
from closedloop.controller.report.standing import Forgotten, Standing
from closedloop.controller.report.story import Story, read_story

HERE = Path(__file__).parent


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem + "_for_lookup", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


OTHERS = _load(HERE / "test_standing.py")
N_TRIALS = 700


def declared(**changes: object) -> cl.Campaign:
    return cl.Campaign(
        **{
            "name": "long",
            "parameters": {"x": {"low": 0, "high": 1}},
            "responses": ["y"],
            "sources": {"oven": {"instrument": "closedloop.instruments.manual:Manual", "cost": {"money": 1}}},
            "goal": {"maximize": "y"},
            "budget": {"money": 10_000},
            **changes,
        }
    )


def trials(numbers: Iterable[int]) -> Iterable[AnyEvent]:
    for n in numbers:
        forecast = Forecast(mean={"y": 0.5}, sd={"y": 0.3}, basis="climatology")
        yield Proposed(trial=Trial(number=n, source="oven", setting={"x": 0.5}, forecast=forecast, cost={"money": 1.0}))
        yield Acting(trial=n)
        if n % 50 == 7:
            yield Failed(trial=n, cause="timeout", message="silence", is_in_doubt=n % 100 == 7)
        else:
            yield Observed(trial=n, reading=Reading(values={"y": (n * 0.618034) % 1.0 + n * 1e-4}))
            yield Assimilated(trials=(n,), belief={"kind": "climatology", "sources": {}})


def write(path: Path, events: Iterable[AnyEvent]) -> None:
    with Ledger.open(path, "long", keeping=KEEPING) as ledger:
        ledger._driver.execute("PRAGMA synchronous = OFF")
        for event in events:
            ledger.append(event)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ledger_keeper, "AGAIN_S", 0.0)
    file = tmp_path / "l.db"
    write(file, [Started(campaign=declared().to_dict()), *trials(range(1, N_TRIALS))])
    return file


def payloads(path: Path) -> list[bool]:
    with closing(sqlite3.connect(path)) as shell:
        return [bool(p) for (p,) in shell.execute("SELECT payload FROM digest ORDER BY seq")]


def says_the_same(path: Path) -> bool:
    """And whether a digest was used for it."""
    story, standing = read_story(path), read_standing(path)
    whole, kept = OTHERS.shown(story), OTHERS.shown(standing)
    assert OTHERS.same(kept.pop("worth"), whole.pop("worth"))
    assert kept == whole
    assert OTHERS.same(standing.late_worth(), story.late_worth())
    return isinstance(standing, Standing)


def test_a_long_campaign_is_looked_up(path: Path) -> None:
    assert payloads(path) == [False, False, True]
    assert len(read_standing(path).trials) < N_TRIALS / 2
    assert says_the_same(path)
    write(path, trials(range(N_TRIALS, N_TRIALS + 20)))  # too few for another digest: read on from the last one
    assert payloads(path) == [False, False, True]
    assert says_the_same(path)
    assert ledger_audit.verify(path) == []


def test_a_short_campaign_has_no_digest(tmp_path: Path) -> None:
    write(tmp_path / "l.db", [Started(campaign=declared().to_dict()), *trials(range(1, 100))])
    assert payloads(tmp_path / "l.db") == []
    assert not says_the_same(tmp_path / "l.db")


LATE = Reading(values={"y": 9.0})
AFTERWARDS = [
    Quarantined(trial=20, by="ann", reason="lamp off"),
    Quarantined(trial=N_TRIALS - 3, by="agent", reason="far off"),
    Observed(trial=57, reading=LATE),
    Observed(trial=7, reading=LATE),
    Restored(trial=20, by="ann"),
    Amended(by="ann", changes={"budget.money": 9}, campaign=declared(budget={"money": 9_000}).to_dict()),
    Amended(by="ann", changes={"goal": "..."}, campaign=declared(goal={"minimize": "y"}).to_dict()),
]


def test_what_befalls_a_trial_long_after_its_answer_is_said_too(path: Path) -> None:
    for k, event in enumerate(AFTERWARDS):
        numbers = range(N_TRIALS + 40 * k, N_TRIALS + 40 * (k + 1))
        with Ledger.open(path, "long", keeping=KEEPING) as ledger:
            ledger._driver.execute("PRAGMA synchronous = OFF")
            ledger.append(event)
            says_the_same(path)  # from the digest if it can, or else from all events
            for later in trials(numbers):
                ledger.append(later)
        assert says_the_same(path), event
        assert recount.faults(path, "long") == []


def test_a_digest_that_is_not_sound_is_not_believed(path: Path) -> None:
    forged = "UPDATE digest SET payload = replace(payload, '\"money\":', '\"money\":1')"
    for change in (
        forged + ", hash = 'x'",
        "UPDATE digest SET payload = '{\"v\":99}' WHERE payload IS NOT NULL",
        "UPDATE digest SET payload = 'nonsense' WHERE payload IS NOT NULL",
        "DELETE FROM digest WHERE payload IS NOT NULL",
        "DROP TABLE digest",
    ):
        with closing(sqlite3.connect(path)) as shell:
            shell.execute(change)
            shell.commit()
        assert not says_the_same(path), change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ('payload = replace(payload, \'"spent":{"money":\', \'"spent":{"money":1\')', "spent"),
        ("payload = replace(payload, '\"n_lost\":', '\"n_lost\":1')", "counted"),
        ('payload = replace(payload, \'"status":"observed"\', \'"status":"invalid"\')', "set aside"),
        ("payload = 'nonsense' WHERE payload IS NOT NULL", "cannot be read"),
        ("hash = 'x'", "was not made of that event"),
        ("sums = replace(sums, '\"n\": ', '\"n\": 1') WHERE payload IS NULL", "other sums"),
        ("n_scored = n_scored + 1 WHERE payload IS NULL", "other sums"),
    ],
)
def test_verify_names_a_digest_that_was_changed(path: Path, change: str, why: str) -> None:
    assert recount.faults(path, "long") == []
    with closing(sqlite3.connect(path)) as shell:
        shell.execute(f"UPDATE digest SET {change}")
        shell.commit()
    assert why in "; ".join(text for _, text in recount.faults(path, "long"))
    done = CliRunner().invoke(app, ["verify", "--ledger", str(path)])
    assert done.exit_code == 4 and "the digest after event" in done.stdout and "DELETE FROM digest" in done.stderr
    assert ledger_audit.verify(path) == []  # the events are whole


def test_a_digest_of_another_closedloop_is_no_fault(path: Path) -> None:
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("UPDATE digest SET payload = '{\"v\":1}' WHERE payload IS NOT NULL")
        shell.commit()
    assert recount.faults(path, "long") == []
    assert "whole" in CliRunner().invoke(app, ["verify", "--ledger", str(path)]).stdout


def test_a_keeper_that_breaks_stops_no_campaign(path: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(Standing, "tell", lambda self, event: 1 / 0)
    write(path, trials(range(N_TRIALS, N_TRIALS + 20)))
    assert "no digest is kept" in caplog.text
    monkeypatch.undo()
    assert says_the_same(path)


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_whoever_knows_the_end_can_tell_every_history_from_the_beginning(first: int, tmp_path: Path) -> None:
    world, n_forgot = OTHERS._load(), 0
    for seed in range(first, first + 20):
        played = world.play(seed)
        name = played.campaign.name
        with Ledger.open(tmp_path / f"{seed}.db", name) as ledger:
            ledger._driver.execute("PRAGMA synchronous = OFF")
            events = [ledger.append(event.model_copy(update={"letter": None})) for event in played.disk.events()]
            standing = Retold(ledger_digest.turns(ledger._driver, name), window=2)
        for event in events:
            standing.tell(event)
        assert standing.is_right
        story = Story.of(events)
        whole, kept = OTHERS.shown(story), OTHERS.shown(standing)
        assert OTHERS.same(kept.pop("worth"), whole.pop("worth")), seed
        assert kept == whole, seed
        n_forgot += len(standing.trials) < len(story.trials)
    assert n_forgot > 3


def test_what_is_no_longer_held_is_said_to_be(path: Path) -> None:
    standing = read_standing(path)
    with pytest.raises(Forgotten):
        standing.tell(Quarantined(trial=20, by="ann", reason="lamp off", seq=standing.seq + 1))
