"""``verify`` finds what was changed, ``replay`` decides again, ``init`` writes what runs, ``schema`` and ``sources`` help."""

from __future__ import annotations

import json
import sqlite3

import jsonschema
import pytest

from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.replaying import recompute


def test_verify_finds_a_changed_event(done, cli):
    assert "whole" in cli("verify").output
    with sqlite3.connect("closedloop.db") as connection:
        connection.execute("DROP TRIGGER event_is_not_changed")
        connection.execute("UPDATE event SET payload = replace(payload, '\"y\":', '\"y\": ') WHERE kind = 'observed'")
    connection.close()
    result = cli("verify", code=4)
    assert "NOT whole" in result.output and "changed" in result.output
    assert json.loads(cli("verify", "--json", code=4).stdout)["oven"]


def test_an_event_that_cannot_be_read_is_a_ledger_error(done, cli):
    with sqlite3.connect("closedloop.db") as connection:
        connection.execute("DROP TRIGGER event_is_not_changed")
        connection.execute('UPDATE event SET payload = \'{"kind": "noted"}\' WHERE seq = 3')
    connection.close()
    assert "run 'closedloop verify'" in cli("status", code=4).stderr


def test_replay_makes_every_decision_again(done, cli):
    data = json.loads(cli("replay", "--tolerance", 0, "--json").output)
    events = ledger_reader.events("closedloop.db")
    assert [d["event"] for d in data] == [e.seq for e in events if e.kind in ("proposed", "assimilated", "stopped")]
    assert all(d["same"] and d["deviation"] == 0 for d in data)
    assert "0 different" in cli("replay").output


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("proposed", {"trial": {"source": "model"}}, "source: written 'model', now 'oven'"),
        ("proposed", {"trial": {"setting": {"x": 0.5, "mode": "plain"}}}, "setting.x: written 0.5"),
        ("stopped", {"reason": "tired"}, "reason: written 'tired'"),
    ],
)
def test_a_decision_that_is_not_what_was_decided_is_found(done, kind, change, said):
    events = ledger_reader.events("closedloop.db")
    k = next(i for i, e in enumerate(events) if e.kind == kind)
    event = events[k]
    if "trial" in change:
        event = event.model_copy(update={"trial": event.trial.model_copy(update=change["trial"])})
    else:
        event = event.model_copy(update=change)
    found = next(r for r in recompute([*events[:k], event]) if r.seq == event.seq)
    assert not found.is_same(1e-6)
    assert said in " ".join([*found.differences, found.where])


def test_a_session_is_decided_again_and_a_persons_experiment_is_not(folder):
    import closedloop as cl
    from closedloop.controller.campaign_file import read_campaign

    with cl.Session(read_campaign(folder / "oven.yaml"), ledger="s.db") as session:
        session.add({"x": 1.0, "mode": "plain"}, {"y": 1.0})
        for trial in session.suggest(2, source="model"):
            session.ingest(trial.number, {"y": 2.0})
    found = list(recompute(ledger_reader.events("s.db")))
    assert [r.kind for r in found] == ["assimilated", "proposed", "proposed", "assimilated", "assimilated"]
    assert all(r.is_same() for r in found)


def test_init_writes_what_checks_and_runs(folder, cli, monkeypatch):
    cli("init", "new")
    assert "is not overwritten" in cli("init", "new", code=1).stderr
    monkeypatch.chdir(folder / "new")
    assert "good; start it" in cli("check", "campaign.yaml").output
    text = (folder / "new" / "campaign.yaml").read_text()
    (folder / "new" / "campaign.yaml").write_text(text.replace("money: 150", "money: 34"))
    cli("run", "campaign.yaml", "--executor", "inline", "--quiet")
    assert json.loads(cli("status", "--json").output)["experiments"] >= 2
    assert "0 different" in cli("replay").output
    cli("report", "--output", "r.html")
    text = (folder / "new" / "r.html").read_text()
    for section in ("unknowns", "discrepancy", "slices"):
        assert f'id="{section}"' in text


def test_the_schema_takes_good_campaigns_and_no_bad_ones(folder, cli):
    from closedloop.controller.campaign_file import parse
    from closedloop.controller.cli.templates import CAMPAIGN

    schema = json.loads(cli("schema").output)
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    data, _ = parse(CAMPAIGN)
    check.validate(data)
    check.validate({**data, "responses": ["strength", "grain"]})
    check.validate({**data, "responses": {"strength": None, "grain": {"unit": "um"}}})
    assert not check.is_valid({**data, "budgets": {}})
    assert not check.is_valid({k: v for k, v in data.items() if k != "goal"})
    assert all(p.get("description") for p in schema["properties"].values())


def test_sources_lists_those_that_ship_and_those_of_the_ledger(done, cli):
    rows = json.loads(cli("sources", "--json").output)
    targets = {r["target"]: r for r in rows}
    assert targets["closedloop.instruments.manual:Manual"]["kind"] == "instrument"
    assert targets["closedloop.simulators.flow_reactor:FlowReactor"]["kind"] == "simulator"
    assert targets["./sources.py:Oven"]["from"] == "campaign oven"
    assert "Mock" in cli("sources").output
