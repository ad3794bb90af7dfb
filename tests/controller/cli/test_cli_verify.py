"""``verify --anchor`` and ``export --capsule`` from the command line, and their exit codes."""

from __future__ import annotations

import json
import shutil
import sqlite3

import pytest

from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Noted, Started


def cut(path, *, n: int = 1) -> None:
    """Remove the last events, and leave no other trace."""
    with sqlite3.connect(path) as shell:
        (trigger,) = shell.execute("SELECT sql FROM sqlite_master WHERE name = 'event_is_not_removed'").fetchone()
        shell.execute("DROP TRIGGER event_is_not_removed")
        shell.execute("DELETE FROM event WHERE seq > (SELECT max(seq) FROM event) - ?", (n,))
        shell.execute(trigger)
    shell.close()


def test_an_anchor_is_written_then_checked_and_finds_a_cut_tail(done, cli):
    assert "wrote kept.json; keep it where" in cli("verify", "--anchor", "kept.json").stderr.replace("\n", " ")
    before = (done / "kept.json").read_bytes()
    assert "anchored: event" in cli("verify", "--anchor", "kept.json").output
    with Ledger.open("closedloop.db", "oven") as ledger:
        n = ledger.append(Noted(text="later")).seq
    assert "anchored" in cli("verify", "--anchor", "kept.json").output
    cut("closedloop.db")
    assert "anchored" in cli("verify", "--anchor", "kept.json").output  # the note was never anchored
    cut("closedloop.db")
    assert "whole" in cli("verify").output
    result = cli("verify", "--anchor", "kept.json", code=4)
    assert f"saw event {n - 1}, and the ledger ends with event {n - 2}: cut off" in result.output
    (problem,) = json.loads(cli("verify", "--anchor", "kept.json", "--json", code=4).stdout)["oven"]
    assert problem["event"] == n - 1
    assert (done / "kept.json").read_bytes() == before


def test_no_anchor_is_made_of_what_is_not_whole(done, cli):
    with sqlite3.connect("closedloop.db") as shell:
        shell.execute("DROP TRIGGER event_is_not_removed")
        shell.execute("DELETE FROM event WHERE seq = 2")
    shell.close()
    cli("verify", "--anchor", "kept.json", code=4)
    assert not (done / "kept.json").exists()


def test_an_anchor_holds_all_campaigns_and_one_that_is_gone_is_named(done, cli):
    with Ledger.open("closedloop.db", "second") as ledger:
        ledger.append(Started(campaign={"name": "second"}))
    cli("verify", "--anchor", "kept.json")
    assert json.loads((done / "kept.json").read_text())["campaigns"].keys() == {"oven", "second"}
    with Ledger.open("closedloop.db", "third") as ledger:
        ledger.append(Started(campaign={"name": "third"}))
    assert "not in the anchor" in cli("verify", "--anchor", "kept.json").output
    cli("verify", "--anchor", "kept.json", "--campaign", "oven")
    with sqlite3.connect("closedloop.db") as shell:
        shell.execute("DROP TRIGGER event_is_not_removed")
        shell.execute("DELETE FROM event WHERE campaign = 'second'")
    shell.close()
    assert "'second', which is not in the ledger: removed" in cli("verify", "--anchor", "kept.json", code=4).output


def test_what_is_no_anchor_or_anothers_is_refused(done, cli):
    (done / "text.json").write_text("hello")
    assert "is no anchor of a ledger" in cli("verify", "--anchor", "text.json", code=4).stderr
    assert "cannot be read" in cli("verify", "--anchor", ".", code=4).stderr
    with Ledger.open("other.db", "other") as ledger:
        ledger.append(Started(campaign={"name": "other"}))
    cli("verify", "other.db", "--anchor", "other.json")
    assert "NOT whole" in cli("verify", "--anchor", "other.json", code=4).output
    said = cli("verify", "--anchor", "other.json", "--campaign", "oven", code=4).stderr
    assert "nothing was checked" in said.replace("\n", " ")


def test_a_capsule_is_verified_elsewhere_with_an_anchor_that_was_kept(done, cli, tmp_path_factory, monkeypatch):
    cli("verify", "--anchor", "kept.json")
    assert "wrote oven.zip" in cli("export", "--capsule", "oven.zip").stderr
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("oven.zip", "kept.json"):
        shutil.copy(done / name, elsewhere)
    monkeypatch.chdir(elsewhere)
    assert "oven: whole" in cli("verify", "oven.zip").output
    assert "oven: whole" in cli("verify", "--ledger", "oven.zip", "--anchor", "kept.json").output
    raw = bytearray((elsewhere / "oven.zip").read_bytes())
    raw[len(raw) // 2] ^= 1
    (elsewhere / "oven.zip").write_bytes(raw)
    result = cli("verify", "oven.zip", code=4)
    assert "NOT whole" in result.output
    assert sorted(p.name for p in elsewhere.iterdir()) == ["kept.json", "oven.zip"]


@pytest.mark.parametrize("more", [["--format", "csv"], ["--output", "a.csv"]])
def test_a_capsule_is_written_alone(done, cli, more):
    assert "leave --format and --output out" in cli("export", "--capsule", "o.zip", *more, code=1).stderr
    assert not (done / "o.zip").exists()


def test_the_report_says_whether_the_ledger_is_whole(done, cli):
    cli("report", "--output", "r.html")
    head = json.loads(cli("verify", "--anchor", "kept.json", "--json").stdout)
    assert head == {"oven": []}
    kept = json.loads((done / "kept.json").read_text())["campaigns"]["oven"]
    assert f"head: event {kept['seq']}, hash {kept['hash']}" in (done / "r.html").read_text()
    with sqlite3.connect("closedloop.db") as shell:
        shell.execute("DROP TRIGGER event_is_not_changed")
        shell.execute("UPDATE event SET time = '2020-01-01T00:00:00+00:00' WHERE seq = 2")
    shell.close()
    cli("report", "--output", "r.html")
    text = (done / "r.html").read_text()
    assert "NOT whole, so this page may be false: event 2 (" in text
