"""The README tells the truth: its snippets run, its commands exist, every command is named, and what it links to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from closedloop.controller.campaign_file import find_campaign, parse, read_campaign

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_snippets_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "readme"}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    result = names["cl"].run(names["campaign"], ledger="lab.db", executor="inline")  # it stands in the ledger
    assert result.best.objective > 59
    assert "budget spent" in result.why_stopped
    contract = names["TestFurnace"]()
    for name in dir(contract):
        if name.startswith("test_"):
            getattr(contract, name)()


def test_the_yaml_snippet_is_a_part_of_a_campaign(tmp_path: Path) -> None:
    (part,) = [b for b in blocks("yaml") if b.startswith("sources:")]
    classes = "\n".join(b for b in blocks("python") if "class Furnace" in b or "class Kinetics" in b)
    (tmp_path / "furnace.py").write_text(classes)
    rest = (
        "name: f\nparameters: {temperature: {low: 300, high: 900}, time: {low: 1, high: 60}}\n"
        "responses: [hardness]\ngoal: {maximize: hardness}\nbudget: {money: 100}\n"
    )
    (tmp_path / "c.yaml").write_text(rest + part)
    campaign = read_campaign(tmp_path / "c.yaml", allow_code=True).resolve()
    assert campaign.belief_kind == "hybrid"


def test_the_rules_are_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (rules,) = [b for b in blocks("yaml") if b.startswith("guard:")]
    (tmp_path / "line.py").write_text(
        "import closedloop as cl\n"
        "class Line(cl.Instrument):\n"
        "    def __init__(self, url, token):\n        assert token == 'hush'\n"
        "    def measure(self, setting):\n        return {'gloss': 1.0}\n"
        "    def make_safe(self): ...\n    def return_to(self, setting): ...\n    def monitor(self): return {'pressure': 1.0}\n"
    )
    rest = (
        "name: f\nparameters: {temperature: {low: 30, high: 120}, passes: {kind: integer, low: 1, high: 4}}\n"
        "responses: [gloss]\ngoal: {maximize: gloss}\nbudget: {money: 100}\n"
    )
    costs = rules.replace("    on_unknown", "    cost: {money: 10}\n    on_unknown")
    (tmp_path / "c.yaml").write_text(rest + costs)
    monkeypatch.setenv("LAB_TOKEN", "hush")
    binding = read_campaign(tmp_path / "c.yaml", allow_code=True).resolve().bind()["line"]
    assert binding.guard.interlocks[0].resume_after_s == 10
    binding.make()


def test_the_campaign_file_is_one(tmp_path: Path) -> None:
    (whole,) = [b for b in blocks("yaml") if b.startswith("name:")]
    (tmp_path / "c.yaml").write_text(whole)
    campaign = read_campaign(tmp_path / "c.yaml", allow_code=True).resolve()
    assert {p.kind for p in campaign.parameters.values()} == {
        "continuous",
        "integer",
        "stepped",
        "ordinal",
        "categorical",
    }
    assert campaign.cost_of("line") == {"trials": 1, "money": 10, "time": 1200}


REST = {
    "name": "name: f\n",
    "parameters": "parameters: {x: {low: 0, high: 1}, pressure: {low: 1, high: 3}}\n",
    "responses": "responses: [y]\n",
    "sources": "sources: {lab: {instrument: manual, cost: {money: 1}}}\n",
    "goal": "goal: {maximize: y}\n",
    "budget": "budget: {money: 60}\n",
}
PARTS = {
    "parameters": "mixtures",
    "stop": "stop",
    "warm_start": "warm_start",
    "method": "method",
    "designer": "designer",
}


@pytest.mark.parametrize("first", PARTS)
def test_the_parts_of_a_campaign_are_taken(first: str, tmp_path: Path) -> None:
    (part,) = [b for b in blocks("yaml") if b.startswith(f"{first}:")]
    (tmp_path / "solvents.csv").write_text("solvent,dielectric\nwater,80.1\nethanol,24.5\ntoluene,2.4\n")
    (tmp_path / "rules.py").write_text(
        "import closedloop as cl\n@cl.predicate\ndef is_allowed(setting):\n    return setting['acid'] != setting['base']\n"
    )
    (tmp_path / "c.yaml").write_text("".join(v for k, v in REST.items() if f"\n{k}:" not in f"\n{part}") + part)
    campaign = read_campaign(tmp_path / "c.yaml", allow_code=True)
    assert PARTS[first] in campaign.model_dump(exclude_defaults=True)
    if first == "designer":
        pytest.importorskip("xopt", reason="xopt is not installed")
    campaign.resolve()


def goals() -> list[str]:
    table = README.partition("## What is wanted")[2].partition("## When it stops")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `{")]
    return [g for row in rows for g in re.findall(r"`({.*?})`", row)]


@pytest.mark.parametrize("goal", goals())
def test_a_goal_of_the_table_is_taken(goal: str, tmp_path: Path) -> None:
    responses = "responses: [y, ph, yield, purity, price, hue, gloss]\n"
    (tmp_path / "c.yaml").write_text("".join({**REST, "responses": responses, "goal": f"goal: {goal}\n"}.values()))
    assert read_campaign(tmp_path / "c.yaml").goal.words


def test_the_rules_to_stop_are_those_of_the_code() -> None:
    from closedloop.controller.stop import RULES

    table = README.partition("## When it stops")[2].partition("## What is known already")[0]
    assert set(re.findall(r"`(\w+)\(", table)) - {"cl"} >= set(RULES)


def test_the_commands_exist() -> None:
    from typer.main import get_command

    import closedloop.controller.cli.commands  # noqa: F401 - registers them
    from closedloop.controller.cli.application import app

    known = set(get_command(app).commands)
    used = set(re.findall(r"^\$ closedloop (\w+)", README, flags=re.MULTILINE))
    assert used <= known
    assert used >= {"run", "status", "best", "show", "replay", "report"}
    mentioned = set(re.findall(r"`(?:closedloop )?(\w+)", README))
    missing = {name for name in known if name not in README}
    assert missing == set(), f"commands that the README does not name: {missing}"
    assert mentioned >= {"verify", "resume", "init", "ingest"}


def test_what_it_links_to_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if not link.startswith("http"):
            assert (ROOT / link).is_file(), link


def test_the_reactor_ships() -> None:
    assert parse(find_campaign("reactor").read_text())[0]["name"] == "reactor"
