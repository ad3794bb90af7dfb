"""Studies of Ax and Optuna: imported as campaigns, exported, and the same after a round trip through the real packages."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

import closedloop as cl
from closedloop.controller.experiments import Experiment
from closedloop.controller.interchange.names import Names
from closedloop.controller.interchange.portable import bring, campaign_of, measured, study_of
from closedloop.controller.report.story import read_story

PARAMETERS = {
    "x": {"low": 0, "high": 1},
    "t": {"low": 0.1, "high": 100, "scale": "log"},
    "n": {"kind": "integer", "low": 1, "high": 4},
    "p": {"low": 1, "high": 3, "step": 0.5},
    "grade": {"levels": ["low", "mid", "high"]},
    "gas": {"choices": ["Ar", "N2", "He"]},
}
SETTINGS = [
    {"x": 0.1 + 0.15 * k, "t": 2.0 * 3**k / 3, "n": 1 + k % 4, "p": 1 + 0.5 * (k % 5), "grade": ("low", "mid", "high")[k % 3], "gas": ("Ar", "N2", "He")[k % 3]}
    for k in range(5)
]  # fmt: skip


def campaign(**changes: object) -> cl.Campaign:
    return cl.Campaign(
        **{
            "name": "mixed",
            "parameters": PARAMETERS,
            "constraints": ["x + n <= 4.6"],
            "responses": ["y", "z"],
            "sources": {"lab": {"instrument": "manual", "cost": {"money": 1}}},
            "goal": {"minimize": "y", "subject_to": "z <= 2.5"},
            "budget": {"money": 30},
            **changes,
        }
    )


def begun(folder: Path, c: cl.Campaign) -> cl.Session:
    """Three readings, a failure and one that runs."""
    session = cl.Session(c, ledger=folder / "l.db")
    outcomes = [cl.Reading(values={"y": 1.0 + k, "z": 0.5 * k}, sd={"y": 0.1}) for k in range(3)]
    session.record([Experiment(setting=s, answer=a) for s, a in zip(SETTINGS, outcomes, strict=False)])
    session.record([Experiment(setting=SETTINGS[3], failed="the pump was dry"), Experiment(setting=SETTINGS[4])])
    return session


def told(state) -> list:
    """What a round trip must keep of each trial."""
    found = []
    for t in state.trials.values():
        values = dict(t.reading.values) if t.reading else {}
        found.append((t.trial.setting, t.status, values, t.failure.message if t.failure else ""))
    return found


def same_setting(one: dict, other: dict) -> bool:
    return set(one) == set(other) and all(
        math.isclose(v, other[k]) if isinstance(v, int | float) else v == other[k] for k, v in one.items()
    )


@pytest.fixture
def cli():
    from closedloop.controller.cli.commands import app

    def call(*args: object, code: int = 0):
        result = CliRunner().invoke(app, [str(a) for a in args])
        assert result.exit_code == code, (result.output, result.stderr, result.exception)
        assert "Traceback" not in result.output + result.stderr
        return result

    return call


class TestOptuna:
    @pytest.fixture(autouse=True)
    def optuna(self):
        optuna = pytest.importorskip("optuna", reason="optuna is not installed")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return optuna

    def test_a_campaign_goes_there_and_comes_back(self, optuna, tmp_path: Path, cli) -> None:
        with begun(tmp_path, campaign()) as session:
            state = session.state
        cli("export", "--ledger", tmp_path / "l.db", "--as", "optuna", "--output", tmp_path / "o.db")
        study = optuna.load_study(study_name="mixed", storage=f"sqlite:///{tmp_path / 'o.db'}")
        assert [t.state.name for t in study.trials] == ["COMPLETE"] * 3 + ["FAIL", "RUNNING"]
        assert study.best_value == 1.0 and study.best_params == pytest.approx(SETTINGS[0])
        assert study.trials[1].user_attrs["responses"] == {"y": 2.0, "z": 0.5}
        assert study.trials[3].user_attrs["reason"] == "the pump was dry"
        assert list(study.trials[2].constraints.values()) == [pytest.approx(1.0 - 2.5)]
        study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=1)  # it goes on there

        cli("import", "optuna", f"sqlite:///{tmp_path / 'o.db'}", "--ledger", tmp_path / "back.db", "--name", "back")
        back = cl.Session(campaign_back(tmp_path / "back.db"), ledger=tmp_path / "back.db")
        with back:
            found = told(back.state)
            goal = back.state.campaign.goal
        assert len(found) == 5  # the last one lacks parameters
        for (setting, status, values, _), (s, st, v, _) in zip(told(state), found, strict=True):
            assert same_setting(setting, s) and status == st
            assert values == {} or (v["y"] == values["y"] and v["constraint_0"] == pytest.approx(values["z"] - 2.5))
        assert goal.minimize == "y" and goal.subject_to == ("constraint_0 <= 0",)

    def test_what_a_real_study_holds(self, optuna, tmp_path: Path, cli) -> None:
        url = f"sqlite:///{tmp_path / 'o.db'}"
        study = optuna.create_study(
            directions=["minimize", "maximize"],
            storage=url,
            study_name="two goals!",
            sampler=optuna.samplers.RandomSampler(1),
        )
        study.set_metric_names(["loss", "log"])

        def objective(trial):
            x = trial.suggest_float("lr/x", 1e-3, 1, log=True)
            trial.suggest_int("n", 2, 10, step=2)
            trial.suggest_categorical("flag", [True, False, None])
            if trial.number == 2:
                raise RuntimeError("dry")
            if trial.number == 3:
                trial.suggest_float("only sometimes", 0, 1)
            return x, -x

        study.optimize(objective, n_trials=6, catch=(RuntimeError,))
        study.enqueue_trial({"lr/x": 0.5})
        said = cli("import", "optuna", url, "--ledger", tmp_path / "l.db")
        story = read_story(tmp_path / "l.db")
        assert story.declared.name == "two-goals"
        assert "'lr/x' is called 'lr_x' here" in said.stderr
        assert "enqueued" in said.stderr and "conditional" in said.stderr
        assert story.declared.goal.minimize == "loss" and story.declared.goal.maximize == "log_"
        assert "0 readings" not in said.stdout
        with cl.Session(campaign_back(tmp_path / "l.db"), ledger=tmp_path / "l.db") as session:
            flags = {t.trial.setting["flag"] for t in session.state.trials.values()}
            assert flags <= {"True", "False", "None"}
            assert session.state.campaign.parameters["n"].step == 2
            assert session.suggest(1)[0].number == len(session.state.trials)

    def test_into_a_campaign_of_ones_own(self, optuna, tmp_path: Path, cli) -> None:
        url = f"sqlite:///{tmp_path / 'o.db'}"
        study = optuna.create_study(storage=url, study_name="s")
        study.set_metric_names(["y"])
        study.optimize(lambda t: t.suggest_float("x", 0, 2) + 0 * t.suggest_float("other", 0, 1), n_trials=8)
        (tmp_path / "c.yaml").write_text(
            "name: own\nparameters: {x: {low: 0, high: 1}}\nresponses: [y]\nsources: {lab: {instrument: manual}}\n"
            "goal: {minimize: y}\nbudget: {trials: 30}\n"
        )
        said = cli("import", "optuna", url, "--into", tmp_path / "c.yaml", "--ledger", tmp_path / "l.db", "--json")
        brought = json.loads(said.stdout)
        n_inside = sum(t.params["x"] <= 1 for t in study.trials)
        assert brought["n_read"] == n_inside and brought["campaign"] == "own"
        assert any("'other' is none of the campaign's" in n for n in brought["notes"])
        assert n_inside == 8 or any("left out: trial" in n for n in brought["notes"])

    def test_what_cannot_be_imported_or_exported_is_said(self, optuna, tmp_path: Path, cli) -> None:
        assert "no file" in cli("import", "optuna", f"sqlite:///{tmp_path / 'none.db'}", code=2).stderr
        assert not (tmp_path / "none.db").exists()
        assert "no Optuna storage" in cli("import", "optuna", "foo://x", code=2).stderr
        url = f"sqlite:///{tmp_path / 'o.db'}"
        optuna.create_study(storage=url, study_name="empty")
        assert "nothing to import" in cli("import", "optuna", url, code=2).stderr
        assert "there: 'empty'" in cli("import", "optuna", url, "--study", "x", code=2).stderr
        begun(tmp_path, campaign(goal={"learn": "y"})).close()
        here = ("--ledger", tmp_path / "l.db")
        assert (
            "has no objective" in cli("export", *here, "--as", "optuna", "--output", tmp_path / "p.db", code=1).stderr
        )
        assert "name FILE.db" in cli("export", *here, "--as", "optuna", code=2).stderr
        assert "leave --format" in cli("export", *here, "--as", "optuna", "--format", "csv", code=1).stderr
        assert "belong to --as" in cli("export", *here, "--storage", url, code=1).stderr
        optuna.create_study(storage=url, study_name="mixed")
        (tmp_path / "two").mkdir()
        begun(tmp_path / "two", campaign()).close()
        again = ("export", "--ledger", tmp_path / "two" / "l.db", "--as", "optuna", "--storage", url)
        assert "already" in cli(*again, code=1).stderr
        cli(*again, "--study", "another")
        assert "another" in optuna.study.get_all_study_names(url)


class TestAx:
    @pytest.fixture(autouse=True)
    def client(self):
        client = pytest.importorskip("ax.api.client", reason="ax-platform is not installed").Client
        logging.disable(logging.ERROR)
        yield client
        logging.disable(logging.NOTSET)

    def test_a_campaign_goes_there_and_comes_back(self, client, tmp_path: Path, cli) -> None:
        with begun(tmp_path, campaign()) as session:
            state = session.state
        cli("export", "--ledger", tmp_path / "l.db", "--as", "ax", "--output", tmp_path / "a.json")
        found = client.load_from_json_file(str(tmp_path / "a.json"))
        frame = found.summarize()
        assert list(frame["trial_status"]) == ["COMPLETED"] * 3 + ["FAILED", "RUNNING"]
        assert list(frame["y"])[:3] == [1.0, 2.0, 3.0]
        assert (
            "exists already"
            in cli(
                "export", "--ledger", tmp_path / "l.db", "--as", "ax", "--output", tmp_path / "a.json", code=1
            ).stderr
        )

        cli("import", "ax", tmp_path / "a.json", "--ledger", tmp_path / "back.db")
        with cl.Session(campaign_back(tmp_path / "back.db"), ledger=tmp_path / "back.db") as back:
            again, ours = back.state.campaign, state.campaign
            for (setting, status, values, why), (s, st, v, w) in zip(told(state), told(back.state), strict=True):
                assert same_setting(setting, s) and (status, values, why) == (st, v, w)
            assert back.state.trials[1].reading.sd == {"y": 0.1}
            assert again.goal.minimize == "y" and again.goal.subject_to == ("z <= 2.5",)
            assert [c.kind for c in again.parameters.values()][:3] == [c.kind for c in ours.parameters.values()][:3]
            assert again.parameters["t"].scale == "log" and again.parameters["grade"].kind == "ordinal"
            assert again.parameters["gas"].kind == "categorical"
            with pytest.raises(cl.CampaignError, match="breaks the constraint"):
                again.space.check({**SETTINGS[0], "x": 0.9, "n": 4})

    def test_goals_of_several_kinds_are_carried_or_said(self, client, tmp_path: Path, cli) -> None:
        goal = {"maximize": ["y", "z**2"], "subject_to": "y >= 0.5"}
        with begun(tmp_path, campaign(goal=goal, constraints=["x * n <= 3.5"])) as session:
            state = session.state
        said = cli("export", "--ledger", tmp_path / "l.db", "--as", "ax", "--output", tmp_path / "a.json").stderr
        assert "objective_1 stands for" in said and "margin_0 stands for" in said and "'x * n <= 3.5'" in said
        cli("import", "ax", tmp_path / "a.json", "--ledger", tmp_path / "back.db")
        with cl.Session(campaign_back(tmp_path / "back.db"), ledger=tmp_path / "back.db") as back:
            assert set(back.state.campaign.goal.maximize) == {"y", "objective_1"}
            assert back.state.campaign.goal.subject_to == ("margin_0 >= 0.0",)
            past = study_of(state).trials[2]
            values = back.state.trials[3].reading.values
            assert {n: values[n] for n in measured(state.campaign, past)} == pytest.approx(
                measured(state.campaign, past)
            )

    def test_what_is_no_snapshot_is_said(self, tmp_path: Path, cli) -> None:
        assert "is no file" in cli("import", "ax", tmp_path / "none.json", code=2).stderr
        (tmp_path / "a.json").write_text("{}")
        assert "is no snapshot" in cli("import", "ax", tmp_path / "a.json", code=2).stderr
        assert "leave it out" in cli("import", "ax", tmp_path / "a.json", "--study", "x", code=2).stderr


def campaign_back(path: Path) -> cl.Campaign:
    from closedloop.controller.cli.ledgers import campaign_of as of_ledger

    return of_ledger(path, None)


def test_a_study_becomes_a_campaign_that_goes_on(tmp_path: Path) -> None:
    with begun(tmp_path, campaign()) as session:
        study = study_of(session.state)
    c = campaign_of(study, name="again", n_more=7)
    assert c.budget == {"trials": 12} and c.goal == campaign().goal
    with cl.Session(c, ledger=tmp_path / "again.db") as session:
        brought = bring(study, session)
        assert (brought.n_read, brought.n_failed, brought.n_running) == (3, 1, 1)
        assert [t.number for t in session.pending] == [5]
        session.ingest(5, {"y": 1.0, "z": 1.0})
    with pytest.raises(cl.CampaignError, match="must not be negative"):
        campaign_of(study, n_more=-1)
    with cl.Session(
        campaign(parameters={"q": {"low": 0, "high": 1}}, constraints=[], name="q"), ledger=tmp_path / "l.db"
    ) as session:
        with pytest.raises(cl.CampaignError, match="no parameter 'q'"):
            bring(study, session)


def test_names_are_one_to_one() -> None:
    names = Names.of(["a b", "a_b", "a-b", "1x", "log", "x", "é"])
    assert len(set(names.ours.values())) == 7 and names.ours["a_b"] == "a_b" and names.ours["x"] == "x"
    assert all(names.theirs[ours] == theirs for theirs, ours in names.ours.items())
