"""The campaign: exact round-trips, and a clear message for each mistake, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from closedloop.controller.campaign import Campaign
from closedloop.controller.campaign_file import find_campaign, parse, read_campaign
from closedloop.controller.errors import CampaignError

TEXT = """\
name: reactor
seed: 7
parameters:
  temperature: {low: 30, high: 120, unit: degC}
  residence_time: {low: 0.5, high: 20, unit: min, scale: log}
  catalyst: {choices: [A, no, C]}
  stages: {kind: integer, low: 1, high: 4}
constraints: ["temperature + 3 * residence_time <= 150"]
responses: {yield: {unit: "%"}, byproduct: {unit: "%"}}
sources:
  reactor: {instrument: "closedloop.instruments.manual:Manual", cost: {money: 10}}
  model: {simulator: "./model.py:Model", cost: {money: 0.1, time: 2 min}, replicas: 2,
          unknowns: {k_a: {lognormal: [0.5, 0.5]}}}
goal: {maximize: yield, subject_to: ["byproduct <= 5"]}
budget: {money: 300, trials: 200}
"""


MODEL = """\
import closedloop as cl

@cl.simulator(unknowns={"k_a": 1.0})
def Model(k_a, **setting):
    return {"yield": k_a, "byproduct": 1.0}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is the campaign's, so that its files may be run."""
    monkeypatch.chdir(tmp_path)


def read(text: str, tmp_path: Path) -> Campaign:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "c.yaml").write_text(text)
    return read_campaign(tmp_path / "c.yaml")


def test_round_trips_are_exact(tmp_path: Path) -> None:
    c = read(TEXT, tmp_path)
    assert Campaign(**c.to_dict()) == c
    assert Campaign.trusted(json.loads(json.dumps(c.to_dict()))) == c
    assert Campaign.model_validate_json(json.dumps(c.to_dict())) == c
    (tmp_path / "c.json").write_text(json.dumps(c.to_dict()))
    assert read_campaign(tmp_path / "c.json") == c


def test_numbers_and_words_mean_what_a_scientist_means() -> None:
    data, _ = parse("a: 1e-3\nb: no\nc: 010\nd: .5\ne: 12:30:00\nf: on\ng: 1E5")
    assert data == {"a": 1e-3, "b": "no", "c": 10, "d": 0.5, "e": "12:30:00", "f": "on", "g": 1e5}


def test_choices_keep_their_words(tmp_path: Path) -> None:
    assert read(TEXT, tmp_path).parameters["catalyst"].choices == ("A", "no", "C")


def test_the_schema_is_json_schema_of_the_keys() -> None:
    schema = Campaign.model_json_schema()
    assert set(schema["properties"]) >= {"name", "parameters", "responses", "sources", "goal", "budget"}
    assert schema["additionalProperties"] is False


MISTAKES = [  # (what is written, what should have been, what the message must say)
    ("low: 30", "low: 300", "c.yaml:4: parameters.temperature: low 300.0 must be below high 120.0"),
    ("low: 30", "lwo: 30", "c.yaml:4: parameters.temperature.lwo: unknown key; did you mean 'low'?"),
    ("low: 30, ", "", "c.yaml:4: parameters.temperature.low: is missing"),
    ("low: 30", "low: .nan", "c.yaml:4: parameters.temperature.low"),
    ("high: 120", "high: .inf", "c.yaml:4: parameters.temperature.high"),
    ("low: 30", "low: '30'", "c.yaml:4: parameters.temperature.low: '30' is not a number"),
    ("low: 30", "low: yes", "c.yaml:4: parameters.temperature.low: 'yes' is not a number"),
    ("low: 0.5", "low: 0", "c.yaml:5: parameters.residence_time: low 0.0 must be above 0 for scale: log"),
    ("unit: min", "unit: minx", "c.yaml:5: parameters.residence_time.unit: unit 'minx' is unknown"),
    ("unit: min", "unit: 9**9**9**9", "c.yaml:5: parameters.residence_time.unit: unit '9**9**9**9' is unknown"),
    ("{choices: [A, no, C]}", "[A, no, C]", "c.yaml:6: parameters.catalyst: is no parameter; write"),
    ("{choices: [A, no, C]}", "{kind: sort, choices: [A, B]}", "c.yaml:6: parameters.catalyst: kind sort is unknown"),
    ("[A, no, C]", "[A, null, C]", "choices: None is neither text nor a number"),
    ("low: 30, high: 120", "low: 30, high: 120, step: 1.0e-300", "makes more than 1000000 values"),
    ("scale: log", "scale: lgo", "c.yaml:5: parameters.residence_time.scale"),
    ("[A, no, C]", "[A]", "c.yaml:6: parameters.catalyst.choices"),
    ("[A, no, C]", "[A, no, A]", "c.yaml:6: parameters.catalyst.choices: choices repeat A"),
    ("low: 1, high: 4", "low: 1.5, high: 4", "c.yaml:7: parameters.stages"),
    ("<= 150", "<= -150", "c.yaml:8: constraints 'temperature + 3 * residence_time <= -150"),
    ("temperature + 3", "tempratur + 3", "'tempratur' is no numeric parameter; did you mean 'temperature'?"),
    ("temperature + 3", "catalyst + 3", "'catalyst' is no numeric parameter"),
    ("<= 150", "== 900", "its sides differ by at least 720 within the bounds"),
    ("<= 150", "< 150 < 200", "not a single comparison"),
    ("temperature + 3", "open('x') + 3", "is not allowed"),
    ("yield: {unit", "temperature: {unit", "'temperature' is both a parameter and a response"),
    ("byproduct: {unit", "by-product: {unit", "'by-product' must be letters, digits and _"),
    (
        'instrument: "closedloop',
        'instument: "closedloop',
        "sources.reactor.instument: unknown key; did you mean 'instrument'?",
    ),
    ("{money: 10}", "{money: -1}", "cost money -1.0 must not be negative"),
    ("{money: 10}", "{money: 400}", "one trial of 'reactor' costs 400"),
    ("{money: 10}", "{money: cheap}", "money 'cheap' is not a number"),
    ("2 min", "2 mins of work", "is not a duration"),
    ("replicas: 2", "replicas: 0", "c.yaml:12: sources.model.replicas"),
    ("cost: {money: 10}", "cost: {money: 10}, replicas: 3", "an instrument is one thing"),
    ("0.5, 0.5]", "0.5, -1]", "standard deviation -1.0 must be above 0"),
    ("lognormal: [0.5", "lognormal: [-0.5", "must be above 0"),
    ("maximize: yield", "maximise: yield", "goal.maximise: unknown key; did you mean 'maximize'?"),
    ("maximize: yield", "maximize: yeild", "'yeild' is no response; did you mean 'yield'?"),
    (
        "maximize: yield",
        "maximize: yield, learn: byproduct",
        "exactly one of maximize/minimize/target",
    ),
    ("maximize: yield", "target: yield", "target and value go together"),
    ("maximize: yield", "maximize: 3 + 4", "names no response"),
    ("money: 300", "cash: 300", "no source has a cost in 'cash'"),
    ("money: 300", "money: 0", "budget.money = 0.0: must be above 0"),
    ("seed: 7", "seed: x", "c.yaml:2: seed = 'x'"),
    ("seed: 7", "seed: -7", "c.yaml:2: seed"),
    ("seed: 7", "seed: 7\nseed: 8", "c.yaml:3: not valid YAML: found duplicate key"),
    ("seed: 7", "\tseed: 7", "c.yaml:2: not valid YAML"),
    (
        "seed: 7",
        "seed: !!python/object/apply:os.system [true]",
        "c.yaml:2: seed: the tag !!python/object/apply:os.system is not",
    ),
    ("seed: 7", "belief: ensembel", "c.yaml:2: belief"),
    ("seed: 7", "n_initial: 400", "n_initial = 400: is more than budget.trials = 200 holds"),
    ("name: reactor", "name: ../reactor", "c.yaml:1: name"),
    ("name: reactor\n", "", "name: is missing"),
]


@pytest.mark.parametrize(("old", "new", "says"), MISTAKES, ids=[m[1][:40] or "nothing" for m in MISTAKES])
def test_each_mistake_has_its_message(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert old in TEXT
    with pytest.raises(CampaignError) as refused:
        read(TEXT.replace(old, new, 1), tmp_path)
    assert says in str(refused.value)
    assert "Traceback" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 3000, "nested deeper than 20"),
        ("a: &a [x]\nb: [" + ", ".join(["*a"] * 200) + "]", "more than 100 aliases"),
        ("x: " + "y" * 1_000_001, "more than 1000000"),
        ("- a\n- b", "a mapping of keys to values, not a list"),
        ("", "a mapping"),
        ("1: 2", "must be text"),
    ],
)
def test_what_is_no_campaign_at_all_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match=says):
        read(text, tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(CampaignError, match="is not UTF-8 text"):
        read_campaign(tmp_path / "c.yaml")


def test_an_unknown_name_lists_what_ships() -> None:
    with pytest.raises(CampaignError, match="reactor"):
        find_campaign("reacter")
    with pytest.raises(CampaignError):
        find_campaign("../campaigns/reactor")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no.such.module:X", "cannot be imported"),
        ("os:system", "not a source"),
        ("closedloop.instruments.manual:Nothing", "has no 'Nothing' .*Manual"),
        ("./nothing.py:X", "there is no file"),
        ("nothing", "neither 'module:Name'"),
        ("closedloop.simulators.flow_reactor:FlowReactor", "is of kind simulator"),
    ],
)
def test_a_source_that_is_not_there_is_named(target: str, says: str, tmp_path: Path) -> None:
    text = TEXT.replace("closedloop.instruments.manual:Manual", target)
    c = read(text, tmp_path)
    with pytest.raises(CampaignError, match=says):
        c.resolve()


def campaign(**parameters: dict) -> Campaign:
    import closedloop as cl

    @cl.instrument(cost={"money": 1})
    def furnace(temperature: float, time: float = 3.0) -> dict:
        return {"y": temperature * time}

    return cl.Campaign(
        name="c",
        parameters=parameters,
        responses=["y"],
        sources={"f": furnace},
        goal={"maximize": "y"},
        budget={"money": 3},
    )


def test_a_parameter_that_no_source_obeys_is_refused() -> None:
    with pytest.raises(CampaignError, match="'temperatur' is no parameter of source 'f'; did you mean 'temperature'?"):
        campaign(temperatur={"low": 0, "high": 1}, time={"low": 0, "high": 1}).resolve()
    with pytest.raises(CampaignError, match="source 'f' also takes 'time'; add it"):
        campaign(temperature={"low": 0, "high": 1}).resolve()
    assert campaign(temperature={"low": 0, "high": 1}, time={"low": 0, "high": 1}).resolve().cost_of("f") == {
        "trials": 1.0,
        "money": 1.0,
    }


def test_a_prior_on_an_unknown_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match="has no such unknown; it has k_a"):
        read(TEXT.replace("k_a:", "k_z:"), tmp_path).resolve()


def test_a_file_that_raises_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('no board')")
    c = read(TEXT.replace("closedloop.instruments.manual:Manual", "./mine.py:X"), tmp_path)
    with pytest.raises(CampaignError, match="RuntimeError: no board"):
        c.resolve()


def test_settings_that_the_class_does_not_take_are_refused(tmp_path: Path) -> None:
    c = read(TEXT.replace("cost: {money: 10}", "cost: {money: 10}, settings: {prot: 3}"), tmp_path)
    with pytest.raises(CampaignError, match="prot"):
        c.resolve().bind()["reactor"].make()
