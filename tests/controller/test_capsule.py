"""Laws of a capsule: another machine can verify it, whatever was changed in it is named, and it can be run again."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import zipfile
from datetime import UTC, datetime

import pytest

import closedloop as cl
from closedloop.controller.campaign_file import parse
from closedloop.controller.capsule import verify_capsule, write_capsule
from closedloop.controller.errors import ClosedLoopError, LedgerError
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.ledger.anchor import Anchor
from closedloop.controller.ledger.audit import audit
from closedloop.controller.ledger.crate import METADATA
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Noted, Started

FILES = {
    *("ro-crate-metadata.json", "README.md", "ledger.db", "anchor.json", "campaign.yaml", "campaign.json"),
    *("environment.json", "requirements.txt", "report.html"),
}


@cl.instrument(cost={"money": 1.0})
def oven(x: float) -> dict:
    return {"y": 10 - (x - 3) ** 2}


def declared(name: str = "oven") -> cl.Campaign:
    return cl.Campaign(
        name=name,
        description="Bake a cake; = and <b> & ü stay as they are.",
        parameters={"x": {"low": 1e-5, "high": 5, "unit": "degC"}},
        responses=["y"],
        sources={"oven": oven},
        goal={"maximize": "y"},
        budget={"trials": 4},
        belief="climatology",
    )


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """A finished campaign, beside another in the same ledger."""
    path = tmp_path_factory.mktemp("lab") / "lab.db"
    cl.run(declared(), ledger=path, executor="inline")
    with Ledger.open(path, "quench") as book:
        book.append(Started(campaign={"name": "quench"}))
        book.append(Noted(text="nobody else's business"))
    return path


@pytest.fixture(scope="module")
def capsule(ledger, tmp_path_factory):
    return write_capsule(ledger, "oven", tmp_path_factory.mktemp("out") / "oven.zip")


def repacked(capsule, to, change, *, is_told=False):
    """The capsule with some files changed; ``is_told``: and their hashes in the metadata made anew."""
    with zipfile.ZipFile(capsule) as pack:
        files = {name: pack.read(name) for name in pack.namelist()}
    files.update(change(files))
    files = {name: raw for name, raw in files.items() if raw is not None}
    if is_told:
        data = json.loads(files[METADATA])
        for entity in data["@graph"]:
            if entity["@type"] == "File":
                raw = files[entity["@id"]]
                entity |= {"sha256": hashlib.sha256(raw).hexdigest(), "contentSize": str(len(raw))}
        files[METADATA] = json.dumps(data).encode()
    with zipfile.ZipFile(to, "w") as pack:
        for name, raw in files.items():
            pack.writestr(name, raw)
    return to


def problems(path, **options):
    return [p.text for a in verify_capsule(path, **options) for p in a.problems]


def test_a_capsule_is_whole_and_holds_one_campaign(ledger, capsule, tmp_path):
    (one,) = verify_capsule(capsule)
    (theirs,) = audit(ledger, "oven")
    assert one == theirs
    with zipfile.ZipFile(capsule) as pack:
        assert set(pack.namelist()) == FILES
        assert b"nobody else's business" not in pack.read("ledger.db")
        (tmp_path / "copy.db").write_bytes(pack.read("ledger.db"))
    assert ledger_reader.events(tmp_path / "copy.db") == ledger_reader.events(ledger, "oven")
    with Ledger.open(tmp_path / "copy.db", "oven") as book:  # it can be gone on with
        assert book.append(Noted(text="here")).seq == one.head.seq + 1


def test_the_same_ledger_gives_the_same_bytes(ledger, capsule, tmp_path):
    again = write_capsule(ledger, "oven", tmp_path / "again.zip")
    assert again.read_bytes() == capsule.read_bytes()


def test_the_declaration_in_it_is_the_campaign(ledger, capsule):
    began = ledger_reader.started(ledger, "oven").campaign
    with zipfile.ZipFile(capsule) as pack:
        from_yaml, _ = parse(pack.read("campaign.yaml").decode())
        assert from_yaml == json.loads(pack.read("campaign.json")) == began
    assert cl.Campaign(**from_yaml) == declared().resolve()


def test_the_metadata_are_a_valid_crate(ledger, capsule):
    """What RO-Crate 1.1 says must be there, each entity once and each reference to one."""
    with zipfile.ZipFile(capsule) as pack:
        data = json.loads(pack.read(METADATA))
        files = {name: pack.read(name) for name in FILES - {METADATA}}
    graph = {entity["@id"]: entity for entity in data["@graph"]}
    assert len(graph) == len(data["@graph"])
    assert data["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    assert graph[METADATA] == {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    root = graph["./"]
    assert root["@type"] == "Dataset" and root["name"] and root["description"]
    assert datetime.fromisoformat(root["datePublished"]) == ledger_reader.events(ledger, "oven")[-1].time
    assert {part["@id"] for part in root["hasPart"]} == files.keys()
    for name, raw in files.items():
        assert graph[name]["@type"] == "File"
        assert (graph[name]["sha256"], int(graph[name]["contentSize"])) == (hashlib.sha256(raw).hexdigest(), len(raw))
    assert all(v for entity in data["@graph"] for v in entity.values())
    values = [
        v
        for entity in data["@graph"]
        for value in entity.values()
        for v in (value if isinstance(value, list) else [value])
    ]
    known = {*graph, "https://w3id.org/ro/crate/1.1"}
    assert {v["@id"] for v in values if isinstance(v, dict)} <= known
    assert all(v.keys() == {"@id"} for v in values if isinstance(v, dict))


@pytest.mark.parametrize("name", sorted(FILES - {METADATA}))
def test_each_changed_removed_or_added_file_is_named(capsule, tmp_path, name):
    flipped = repacked(capsule, tmp_path / "a.zip", lambda f: {name: f[name][:-1] + bytes([f[name][-1] ^ 1])})
    if name == "anchor.json":  # its last letter is the end of the line
        flipped = repacked(capsule, tmp_path / "b.zip", lambda f: {name: f[name].replace(b'"v": 1', b'"v":  1')})
    assert any(text.startswith(f"file '{name}' has ") for text in problems(flipped))
    shorter = repacked(capsule, tmp_path / "c.zip", lambda f: {name: None})
    if name in ("ledger.db", "anchor.json"):
        with pytest.raises(LedgerError, match="is not there: no capsule"):
            problems(shorter)
    else:
        assert problems(shorter) == [f"file '{name}' is missing: removed"]
    added = repacked(capsule, tmp_path / "d.zip", lambda f: {"more.txt": b"x"})
    assert problems(added) == ["file 'more.txt' is not in the metadata: inserted"]


def test_a_byte_that_turned_is_found_or_means_nothing(capsule, tmp_path):
    """Anywhere, and everywhere in the table of contents: a message, a problem, or the very same audit."""
    good, rng = capsule.read_bytes(), random.Random(1)
    whole, path, n_found = verify_capsule(capsule), tmp_path / "a.zip", 0
    contents = range(good.index(b"PK\x01\x02"), len(good))
    for k in [*rng.sample(range(len(good)), 60), *contents[::3]]:
        raw = bytearray(good)
        raw[k] ^= 0x55
        path.write_bytes(raw)
        try:
            found = verify_capsule(path)
        except LedgerError:
            n_found += 1
            continue
        n_found += any(not a.is_whole for a in found)
        assert found == whole or any(not a.is_whole for a in found), k
    assert n_found > 100


def forged(files, tmp_path):
    """The ledger in it cut off at the end."""
    path = tmp_path / "forged.db"
    path.write_bytes(files["ledger.db"])
    with sqlite3.connect(path) as shell:
        (trigger,) = shell.execute("SELECT sql FROM sqlite_master WHERE name = 'event_is_not_removed'").fetchone()
        shell.execute("DROP TRIGGER event_is_not_removed")
        shell.execute("DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)")
        shell.execute(trigger)
    shell.close()
    return {"ledger.db": path.read_bytes()}


def test_a_forger_of_ledger_and_metadata_is_found_by_the_anchor_inside(capsule, tmp_path):
    path = repacked(capsule, tmp_path / "a.zip", lambda f: forged(f, tmp_path), is_told=True)
    assert [text.split(": ")[-1] for text in problems(path)] == ["cut off"]


def test_a_forger_of_everything_is_found_by_an_anchor_kept_elsewhere(ledger, capsule, tmp_path):
    kept = Anchor(made=datetime.now(UTC), campaigns={a.campaign: a.head for a in audit(ledger)})
    assert problems(capsule, anchors=(kept,)) == []

    def change(files):
        cut = forged(files, tmp_path)
        (one,) = audit(tmp_path / "forged.db")
        inner = Anchor(made=datetime.now(UTC), campaigns={"oven": one.head})
        return {**cut, "anchor.json": inner.text().encode()}

    path = repacked(capsule, tmp_path / "a.zip", change, is_told=True)
    assert problems(path) == []
    assert [text.split(": ")[-1] for text in problems(path, anchors=(kept,))] == ["cut off"]


def test_what_is_not_whole_is_not_put_into_a_capsule(ledger, tmp_path):
    for name, statement in {
        "hole": "DELETE FROM event WHERE seq = 3",
        "changed": "UPDATE event SET time = '2020-01-01T00:00:00+00:00' WHERE seq = 3",
    }.items():
        path = tmp_path / f"{name}.db"
        path.write_bytes(ledger.read_bytes())
        with sqlite3.connect(path) as shell:
            for (trigger,) in shell.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                shell.execute(f"DROP TRIGGER {trigger}")
            shell.execute(statement)
        shell.close()
        with pytest.raises(LedgerError, match="is not whole .*'closedloop verify'"):
            write_capsule(path, "oven", tmp_path / "o.zip")
        assert not (tmp_path / "o.zip").exists()


def test_only_a_capsule_is_replaced(ledger, capsule, tmp_path):
    to = tmp_path / "oven.zip"
    to.write_bytes(capsule.read_bytes())
    assert write_capsule(ledger, "oven", to).read_bytes() == capsule.read_bytes()
    with pytest.raises(ClosedLoopError, match="is no capsule, so it is not replaced"):
        write_capsule(ledger, "oven", ledger)
    with pytest.raises(ClosedLoopError, match="cannot be written"):
        write_capsule(ledger, "oven", tmp_path / "nowhere" / "o.zip")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["oven.zip"]


def test_a_capsule_can_be_made_while_a_controller_writes(ledger, tmp_path):
    path = tmp_path / "live.db"
    path.write_bytes(ledger.read_bytes())
    with Ledger.open(path, "oven") as book:
        book.append(Noted(text="in the write-ahead log only"))
        (one,) = verify_capsule(write_capsule(path, "oven", tmp_path / "o.zip"))
        assert one.is_whole
        assert one.n_events == len(book.events())
