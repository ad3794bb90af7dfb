"""Laws of provenance: what made the decisions is known afterwards, it never fails, and no secret is in it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import closedloop as cl
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.provenance import command_line, provenance

NAMES = {
    *("python", "platform", "host", "closedloop", "torch", "botorch", "gpytorch", "numpy", "scipy", "ray", "sqlite"),
    *("campaign_sha256", "seed", "git_commit", "git_dirty", "command", "user", "folder"),
}


def declared(settings: dict | None = None) -> cl.Campaign:
    return cl.Campaign(
        name="a",
        seed=7,
        parameters={"x": {"low": 0, "high": 1}},
        responses=["y"],
        sources={"s": {"instrument": "manual", "settings": settings or {}}},
        goal={"maximize": "y"},
        budget={"trials": 3},
    )


def git(*words):
    who = ("-c", "user.name=eva", "-c", "user.email=eva@example.org")
    outside = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True, env=outside).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    (tmp_path / "campaign.yaml").write_text("name: a\n")
    git("add", ".")
    git("commit", "-qm", "first")
    return tmp_path


def said():
    found = provenance(declared())
    return found["git_commit"], found["git_dirty"]


def test_everything_is_there_and_the_ledger_keeps_it(tmp_path):
    with cl.Session(declared(), ledger=tmp_path / "l.db"):
        kept = ledger_reader.started(tmp_path / "l.db")
    assert kept.provenance.keys() == NAMES
    assert all(kept.provenance.values())
    assert kept.provenance["campaign_sha256"] == declared().resolve().fingerprint
    assert (kept.provenance["seed"], kept.provenance["python"]) == ("7", ".".join(map(str, sys.version_info[:3])))


def test_the_commit_is_told_and_whether_files_differ_from_it(repository):
    head = git("rev-parse", "HEAD")
    assert said() == (head, "no")
    (repository / "closedloop.db").touch()  # results are no code
    assert said() == (head, "no")
    (repository / "driver.py").write_text("x = 1\n")
    assert said() == (head, "yes")
    (repository / ".gitignore").write_text("driver.py\n.gitignore\n")
    assert said() == (head, "no")
    (repository / "campaign.yaml").write_text("name: b\n")
    assert said() == (head, "yes")


def test_a_repository_around_does_not_speak_for_the_folder_of_another(repository, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert said() == ("none", "none")


def test_no_git_no_repository_and_no_commit_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said() == ("none", "none")
    git("init", "-q")
    assert said() == ("none", "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said() == ("none", "none")


def test_a_git_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / "git").write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said() == ("none", "none")


def test_a_hook_of_a_foreign_repository_is_not_run(repository):
    canary = repository / "canary"
    git("config", "core.fsmonitor", f"touch {canary}")
    assert said()[1] == "no"
    assert not canary.exists()


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["run", "a.yaml", "--ledger", "lab.db"], "run a.yaml --ledger lab.db"),
        (["--api-key", "abc123", "x"], "--api-key <hidden> x"),
        (["--password=abc123"], "--password=<hidden>"),
        (["LAB_TOKEN=abc123"], "LAB_TOKEN=<hidden>"),
        (["tcp://me:abc123@lab/x"], "tcp://<hidden>@lab/x"),
        (["--address", "https://lab/?token=abc123&x=1"], "--address https://lab/?token=<hidden>&x=1"),
        (["what-abc123-is"], "what-<LAB_VALUE>-is"),
        (["--token", "--quiet"], "--token --quiet"),
    ],
)
def test_a_command_is_told_without_its_secrets(monkeypatch, words, shown):
    monkeypatch.setenv("LAB_VALUE", "abc123")
    declaration = declared({"key": {"env": "LAB_VALUE"}})
    assert command_line(words, declaration) == shown
    assert "abc123" not in command_line(words, declaration)


def test_a_command_is_cut_but_never_inside_a_secret(monkeypatch):
    monkeypatch.setenv("LAB_VALUE", "abc123")
    text = command_line(["y" * 998 + "abc123", "z" * 5000], declared({"key": {"env": "LAB_VALUE"}}))
    assert len(text) <= 1001
    assert "abc" not in text


def test_a_user_without_a_name_is_none(monkeypatch):
    def nobody():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert provenance(declared())["user"] == "none"
