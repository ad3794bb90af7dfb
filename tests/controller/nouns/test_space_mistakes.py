"""Each mistake in the declaration of a space is refused at birth: name, value, rule, remedy; row and column of tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import closedloop as cl
from closedloop.controller.campaign_file import read_campaign

UNIT = {"low": 0, "high": 1}
ABC = dict.fromkeys("abc", UNIT)
AB = dict.fromkeys("ab", UNIT)


def campaign(**changes: Any) -> cl.Campaign:
    whole: dict[str, Any] = {
        "name": "space",
        "parameters": ABC,
        "responses": ["y"],
        "sources": {"s": {"instrument": "manual"}},
        "goal": {"maximize": "y"},
        "budget": {"trials": 30},
    }
    return cl.Campaign(**{**whole, **changes})


def choice(**rows: Any) -> dict[str, Any]:
    return {"parameters": {"s": {"choices": rows}, "a": UNIT}}


MISTAKES: list[tuple[dict[str, Any], str]] = [
    (
        {"constraints": ["a + b >= 1.5", "c <= 0.9", "a <= 0.5", "b <= 0.6"]},
        "constraints 'a + b >= 1.5', 'a <= 0.5', 'b <= 0.6': exclude each other",
    ),
    ({"constraints": ["a + b == 1", "c >= 0.1", "a + b == 1.2"]}, "'a + b == 1', 'a + b == 1.2': exclude each other"),
    ({"constraints": ["a + b + c == 5"]}, "its sides differ by at least 2 within the bounds"),
    ({"constraints": ["a == 1.5"]}, "'a == 1.5 (its sides differ by at least 0.5"),
    (
        {
            "parameters": {n: {"kind": "integer", "low": 0, "high": 9} for n in "ab"},
            "constraints": ["2 * a + 4 * b == 31"],
        },
        "'2 * a + 4 * b == 31': no setting within the parameters' bounds keeps it",
    ),
    (
        {"constraints": ["a * b >= 0.9", "a <= 0.5"]},
        "'a * b >= 0.9', 'a <= 0.5': no setting within the parameters' bounds was found that keeps them all",
    ),
    ({"parameters": {"a": {"kind": "integer", "low": 0, "high": 10**19}}}, "told apart up to 2**53"),
    ({"parameters": {"a": {"kind": "integer", "low": -(2**53), "high": 2**53}}}, "told apart up to 2**53"),
    (
        {"parameters": {**AB, "d": {"derived": "1 / (a - a)"}, "e": {"derived": "d + b"}}},
        "parameters.d.derived: d = '1 / (a - a)': no setting within the parameters' bounds was found where it has",
    ),
    (
        {"parameters": {"a": {**UNIT, "when": "b == 1"}, "b": {**UNIT, "when": "a == 1"}, "c": UNIT}},
        "parameters.a.when: 'b == 1' leads back to 'a' itself (a needs b needs a); break the circle",
    ),
    (
        {"parameters": {"a": UNIT, "b": {**UNIT, "when": "a == 1"}}},
        "single values (choices, levels, steps, integers); known: none",
    ),
    ({"constraints": ["a + b = 1"]}, "an equality is written with ==; write 'a + b == 1'"),
    ({"constraints": ["a == b == c"]}, "not a single equality"),
    ({"constraints": [{"predicat": "x:y"}]}, "is no constraint; write"),
    ({"constraints": [lambda s: False]}, "no setting within the parameters' bounds was found that keeps it"),
    ({"predicates": ["os:remove"]}, None),  # found out when it is resolved
    ({"mixtures": {"m": {"of": ["a"]}}}, "mixtures.m.of: needs at least 2 entries"),
    ({"mixtures": {"m": {"of": ["a", "a"]}}}, "'a' stands there twice"),
    ({"mixtures": {"m": {"of": ["a", "b"], "max_components": 3}}}, "max_components 3 is more than the 2 components"),
    ({"mixtures": {"m": {"of": ["p", "q", "r"], "min_components": 3, "min_share": 0.4}}}, "is more than the whole"),
    ({"mixtures": {"m": {"of": ["p", "q"]}, "n": {"of": ["q", "r"]}}}, "'q' is a component of 'm' already"),
    ({"mixtures": {"m": {"of": ["a", "b"], "total": 3}}}, "mixtures 'a + b == 3': no setting"),
    (
        {"mixtures": {"m": {"of": ["a", "b"], "max_components": 1}}, "constraints": ["a <= 0.5", "b <= 0.6"]},
        "'a <= 0.5', 'b <= 0.6', 'a + b == 1': exclude each other",
    ),
    (
        {
            "parameters": {"a": {"low": 1e-3, "high": 1, "scale": "log"}, "b": UNIT},
            "mixtures": {"m": {"of": ["a", "b"]}},
        },
        "'a' is no amount; declare it by low and high on a linear scale",
    ),
    ({"mixtures": {"m": {"of": ["a", "b"], "max_component": 1}}}, "unknown key; did you mean 'max_components'"),
    (choice(u={"d": 1}, v={"d": 2, "e": 3}), "choice 'v' has, unlike the first choice, the descriptor 'e'"),
    (choice(u={"d": 1, "e": 3}, v={"d": 2}), "choice 'v' lacks the descriptor 'e'"),
    (choice(u={"d": 1}, v={}), "choices.v: holds no descriptors"),
    (choice(u={"d": 1}, v={"d": "wet"}), "descriptor d of 'v' is 'wet'; each must be a finite number"),
    (choice(u={"d": 1}, v={"d": float("inf")}), "descriptor d of 'v' is inf; each must be a finite number"),
    (choice(u={"d": 1}, v={"d": 1}), "descriptor 'd' is 1 for every choice"),
    (choice(u={"d": 1}, v={"d": 2}, w={"d": 1}), "choices 'u' and 'w' have the same descriptors"),
    ({"parameters": {"s": {"choices": [f"c{k}" for k in range(1001)]}}}, "hold 1001 entries, more than 1000"),
    (
        {"parameters": {f"p{j}": {"choices": [f"c{k}" for k in range(900)]} for j in range(3)}},
        "parameters take more than 2000 columns ('p0' 900 of them)",
    ),
    ({"parameters": {"a": {"value": 5}}}, "none of them can be set"),
    ({"parameters": {"a": {"value": float("nan")}, "b": UNIT}}, "nan is not a finite number"),
    ({"parameters": {**AB, "d": {"derived": "a + x"}}}, "'x' is no numeric parameter"),
    ({"parameters": {**AB, "d": {"derived": "2 * e"}, "e": {"derived": "d + a"}}}, "leads back to"),
    ({"parameters": {**AB, "g": {"value": 2}}, "constraints": ["g <= 3"]}, "names only fixed parameters"),
    ({"parameters": {**AB, "c": {**UNIT, "when": "kat == 'A'"}}}, "'kat' is no parameter with single values"),
    ({"parameters": {"k": {"choices": ["A", "B"]}, "c": {**UNIT, "when": "k == 'C'"}}}, "'k' is never 'C'"),
    ({"parameters": {"a": UNIT, "c": {**UNIT, "when": "a + 1"}}}, "condition 'a + 1': 'a + 1' is not allowed"),
    ({"parameters": {"k": {"levels": ["lo", "hi"]}, "c": {**UNIT, "when": "k >= 'lo'"}}}, "labels are not above"),
    ({"parameters": {"k": {"choices": ["A", "B"]}, "c": {**UNIT, "when": "k >= 2"}}}, "'k' has labels"),
    (
        {"parameters": {"k": {"kind": "integer", "low": 1, "high": 4}, "c": {**UNIT, "when": "k == 9"}}},
        "'k' is never 9, for 9 is outside 1.0 to 4.0",
    ),
    (
        {"parameters": {n: {"choices": ["u", "v"], "when": f"{m} == 'u'"} for n, m in ("ab", "ba")} | {"x": UNIT}},
        "leads back to 'a' itself",
    ),
    (
        {
            "parameters": {"k": {"choices": ["A", "B"]}, "c": {**UNIT, "when": "k == 'A'"}},
            "guard": {"limits": {"c": [0, 0.5]}},
        },
        "'c' is not in every setting",
    ),
    ({"parameters": {"a": {**UNIT, "step": 0.1, "context": True}, "b": UNIT}}, "keeps to no steps; leave out step"),
    (
        {"parameters": {"a": {**UNIT, "kind": "context"}, "b": UNIT}, "guard": {"limits": {"a": [0, 0.5]}}},
        "guard.limits.a: is measured, not set",
    ),
    ({"candidates": [{"a": 0.5, "b": 0.5}]}, "candidates: there is no column 'c'"),
    ({"candidates": [{"a": 0.5, "b": 0.5, "c": 0.1, "d": 1}]}, "column 'd' is no parameter (parameters: a, b, c)"),
    ({"candidates": []}, "candidates: hold no row"),
    ({"candidates": {"a": [0.1], "b": [0.1, 0.2], "c": [0.3]}}, "columns differ in length"),
    ({"candidates": {"a": [0.1, 0.1], "b": [0.2, 0.2], "c": [0.3, 0.3]}}, "rows 1 and 2 are the same setting"),
    ({"candidates": {"a": [0.1, 3.0], "b": [0.2, 0.2], "c": [0.3, 0.3]}}, "row 2, column 'a': 3 is outside 0 to 1"),
    ({"candidates": {"a": [0.1, None], "b": [0.2, 0.2], "c": [0.3, 0.3]}}, "row 2, column 'a': is empty"),
    ({"candidates": {"a": [0.1, float("nan")], "b": [0.2, 0.2], "c": [0.3, 0.3]}}, "row 2, column 'a': nan is not"),
    ({"candidates": {"a": [0.1], "b": [0.2], "c": [0.3]}, "constraints": ["a >= 0.5"]}, "none of the 1 rows keeps"),
    (
        {"parameters": {**AB, "s": {"choices": ["u", "v"]}}, "candidates": {"a": [0.1], "b": [0.2], "s": ["w"]}},
        "row 1, column 's': 'w' is none of the choices u, v",
    ),
    (
        {
            "parameters": {"k": {"choices": ["A", "B"]}, "c": {**UNIT, "when": "k == 'A'"}},
            "candidates": {"k": ["A", "B"], "c": [0.1, 0.2]},
        },
        "row 2, column 'c': is given, but active only where k == 'A'",
    ),
]


@pytest.mark.parametrize(("changes", "says"), MISTAKES, ids=[str(m[1])[:50] for m in MISTAKES])
def test_each_mistake_has_its_message(changes: dict[str, Any], says: str | None) -> None:
    if says is None:
        with pytest.raises(cl.CampaignError, match="is a part of Python"):
            campaign(**changes).resolve()
        return
    with pytest.raises(cl.CampaignError, match=re.escape(says)):
        campaign(**changes)


FILE = """\
name: library
parameters:
  solvent: {descriptors: solvents.csv}
  a: {low: 0, high: 1}
candidates: library.csv
responses: [y]
sources: {s: {instrument: manual}}
goal: {maximize: y}
budget: {trials: 9}
"""
SOLVENTS = "name,dielectric,log_p\nwater,80.1,-1.4\nethanol,24.5,-0.3\n"
LIBRARY = "solvent,a\nwater,0.1\nethanol,0.25\nwater,0.9\n"
TABLES = [
    (
        "solvents.csv",
        "24.5",
        "wet",
        "library.yaml:3: parameters.solvent.descriptors solvents.csv: row 2, column 'dielectric'",
    ),
    ("solvents.csv", "24.5", "", "row 2, column 'dielectric': is empty"),
    ("solvents.csv", "24.5", "inf", "row 2, column 'dielectric': 'inf' is not a finite number"),
    ("solvents.csv", "ethanol", "water", "row 2, column 'name': 'water' stands there twice"),
    ("solvents.csv", "dielectric", "log_p", "the column 'log_p' stands there twice"),
    ("solvents.csv", ",-0.3", "", "row 2 has 2 cells, and the header 3"),
    ("library.csv", "0.25", "2.5", "library.yaml: candidates library.csv: row 2, column 'a': 2.5 is outside 0 to 1"),
    ("library.csv", "0.25", "x", "candidates library.csv: row 2, column 'a': 'x' is not a finite number"),
    ("library.csv", "ethanol", "methanol", "row 2, column 'solvent': 'methanol' is none of the choices water, ethanol"),
    ("library.csv", "solvent,a", "solvent,b", "column 'b' is no parameter"),
    ("library.csv", "0.9", "0.1", "rows 1 and 3 are the same setting"),
    ("library.csv", LIBRARY, "solvent,a\n", "candidates library.csv: holds no row below its header"),
    ("library.csv", LIBRARY, "", "candidates library.csv: holds nothing"),
]


def written(folder: Path, **files: str) -> Path:
    for name, text in {"solvents.csv": SOLVENTS, "library.csv": LIBRARY, **files}.items():
        (folder / name).write_text(text)
    (folder / "library.yaml").write_text(FILE)
    return folder / "library.yaml"


@pytest.mark.parametrize(("file", "old", "new", "says"), TABLES, ids=[t[3][-50:] for t in TABLES])
def test_a_table_is_refused_with_row_and_column(file: str, old: str, new: str, says: str, tmp_path: Path) -> None:
    text = {"solvents.csv": SOLVENTS, "library.csv": LIBRARY}[file]
    assert old in text
    path = written(tmp_path, **{file: text.replace(old, new, 1)})
    with pytest.raises(cl.CampaignError) as refused:
        read_campaign(path)
    said = str(refused.value)
    wanted = says.removeprefix("library.yaml:").removeprefix("library.yaml").strip() if "candidates" in says else says
    assert wanted in said
    assert said.startswith("library.yaml:")


def test_tables_are_found_beside_the_campaign_and_go_into_the_declaration(tmp_path: Path) -> None:
    c = read_campaign(written(tmp_path))
    for name in ("solvents.csv", "library.csv"):
        (tmp_path / name).unlink()
    again = cl.Campaign(**c.to_dict())
    assert again == c
    assert again.fingerprint == c.fingerprint
    assert again.parameters["solvent"].choices == ("water", "ethanol")
    assert again.space.table is not None
    assert again.space.table.n == 3
    with pytest.raises(cl.CampaignError, match="no row of the candidates"):
        again.space.check({"solvent": "water", "a": 0.5})


def test_a_table_that_was_altered_is_refused(tmp_path: Path) -> None:
    declared = read_campaign(written(tmp_path)).to_dict()
    declared["candidates"]["digest"] = "0" * 64
    with pytest.raises(cl.CampaignError, match="not the one of its digest"):
        cl.Campaign(**declared)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "library.csv").unlink()
    with pytest.raises(cl.CampaignError, match=r"library.yaml:5: candidates library.csv: there is no file"):
        read_campaign(path)


def test_parameters_are_read_off_a_table_where_none_are_declared() -> None:
    c = campaign(parameters=None, candidates={"a": [1, 2, 4.5], "s": ["u", "v", "u"]})
    assert (c.parameters["a"].low, c.parameters["a"].high) == (1, 4.5)
    assert c.parameters["s"].choices == ("u", "v")


def test_predicates_are_found_as_sources_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.py").write_text(
        "import closedloop as cl\n\n@cl.predicate\ndef is_allowed(setting):\n    return setting['a'] <= 0.5\n\n"
        "def unmarked(setting):\n    return True\n"
    )
    c = campaign(constraints=["b <= 0.9", {"predicate": "./rules.py:is_allowed"}]).resolve()
    assert c.to_dict()["predicates"] == ["./rules.py:is_allowed"]
    assert not c.space.is_feasible(c.space.encode({"a": 0.6, "b": 0.1, "c": 0})[None])[0]
    with pytest.raises(cl.CampaignError, match="is not allowed by the predicate './rules.py:is_allowed'"):
        c.space.check({"a": 0.6, "b": 0.1, "c": 0})
    for target, says in (("./rules.py:unmarked", "decorate it with @closedloop.predicate"), ("./no.py:x", "no file")):
        with pytest.raises(cl.CampaignError, match=says):
            campaign(predicates=[target]).resolve()


def test_no_code_runs_while_a_campaign_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.py").write_text("import closedloop as cl\nraise SystemExit('ran')\n")
    guard = {"limits": {"a": [0, 0.5]}, "forbidden": ["b >= 0.9"]}
    c = campaign(constraints=["a + b <= 1", {"predicate": "./rules.py:is_allowed"}], guard=guard)
    with pytest.raises(cl.CampaignError, match="SystemExit: ran"):
        c.resolve()


def test_the_schema_takes_the_short_forms(tmp_path: Path) -> None:
    from closedloop.controller.cli.schema import campaign_schema
    from closedloop.controller.plain_yaml import parse

    check = pytest.importorskip("jsonschema").Draft202012Validator(campaign_schema())
    declared, _ = parse(FILE, name="library.yaml")
    more = {
        "mixtures": {"m": {"of": ["p", "q"], "max_components": 1}},
        "constraints": ["a == 1", {"predicate": "x:y"}],
        "parameters": {
            **declared["parameters"],
            "e": {"choices": {"u": {"d": 1}, "v": {"d": 2}}, "when": {"solvent": ["water"]}},
            "t": {"kind": "context", "low": 1, "high": 2},
            "g": {"value": "N2"},
            "d": {"derived": "2 * a"},
        },
    }
    assert check.is_valid(declared)
    assert check.is_valid({**declared, **more})
    for wrong in ({"constraints": [{"predicat": "x:y"}]}, {"mixtures": {"m": {"off": ["a", "b"]}}}, {"candidates": 3}):
        assert not check.is_valid({**declared, **wrong})


def test_a_predicate_that_raises_is_told_of() -> None:
    def broken(setting: dict[str, Any]) -> bool:
        return bool(1 / 0)

    with pytest.raises(cl.CampaignError, match=r"broken' raised ZeroDivisionError: .*correct it"):
        campaign(predicates=[broken])
