"""Goals through the ledger: what is written, read again, shown and charged is one and the same."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from closedloop.controller.campaign import Campaign
from closedloop.controller.cli.commands import app
from closedloop.controller.errors import CampaignError
from closedloop.controller.evolve import replay
from closedloop.controller.replaying import recompute
from closedloop.controller.report.outcome import best_words
from closedloop.controller.report.page import page
from closedloop.controller.report.standing import Standing
from closedloop.controller.report.story import Story, read_events
from closedloop.controller.report.study import Study
from closedloop.controller.session import Session


def declared(goal: dict, **changes: object) -> Campaign:
    return Campaign(
        **{
            "name": "g",
            "parameters": {"x": {"low": 0, "high": 1}, "k": {"choices": ["A", "B"]}},
            "responses": {"a": {"unit": "mm"}, "b": {}},
            "sources": {"lab": {"instrument": "manual", "cost": {"money": 1}}},
            "goal": goal,
            "budget": {"money": 40},
            **changes,
        }
    )


def carried_out(campaign: Campaign, ledger: Path, n: int) -> list[int]:
    with Session(campaign, ledger=ledger) as session:
        for _ in range(n):
            (trial,) = session.suggest(1)
            x = float(trial.setting["x"])
            session.ingest(trial.number, {"a": x, "b": 1 - x**2 + 0.2 * (trial.setting["k"] == "A")})
        return [b.number for b in session.front]


def shown(*words: str, ledger: Path) -> str:
    done = CliRunner().invoke(app, [*words, "--ledger", str(ledger)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_front_is_the_same_in_state_story_digest_command_line_and_report(tmp_path: Path) -> None:
    ledger = tmp_path / "l.db"
    campaign = declared({"maximize": ["a", "b"], "subject_to": ["b >= 0.3"]})
    front = carried_out(campaign, ledger, 8)
    events = read_events(ledger)
    state, story = replay(campaign, events), Story.of(events)
    assert len(front) > 1
    assert front == [t.trial.number for t in state.front] == sorted(t.number for t in story.front)
    assert state.best is not None and story.best is not None
    assert state.best.trial.number == story.best.number and story.best.number in front

    standing = Standing(story.declared, window=2)  # forgets nearly all, and is stored and read again midway
    for k, event in enumerate(events):
        standing.tell(event)
        if k == len(events) // 2:
            standing = Standing.restore(standing.dump(), lambda _: story.declared, window=2)
    assert [t.number for t in standing.front] == [t.number for t in story.front]
    assert best_words(standing) == best_words(story)

    data = json.loads(shown("best", "--json", ledger=ledger))
    assert [t["trial"] for t in data["front"]] == [t.number for t in story.front] and data["objective"] is None
    assert "the front" in shown("best", ledger=ledger)
    assert "on the front" in shown("status", ledger=ledger)
    html = page(Study(story, events))
    assert 'id="front"' in html and 'id="convergence"' not in html and "volume that the front dominates" in html


@pytest.mark.parametrize(
    ("goal", "section"), [({"map": "a >= 0.5"}, "knowledge"), ({"learn": ["a", "b"]}, "knowledge")]
)
def test_where_no_best_setting_is_sought_it_is_told_what_is_known(goal: dict, section: str, tmp_path: Path) -> None:
    ledger = tmp_path / "l.db"
    assert carried_out(declared(goal, n_initial=4), ledger, 7) == []
    words = shown("status", ledger=ledger)
    assert ("in doubt" if "map" in goal else "unexplained") in words and "7 readings of lab" in words
    assert json.loads(shown("status", "--json", ledger=ledger))["best"] is None
    events = read_events(ledger)
    assert f'id="{section}"' in page(Study(Story.of(events), events))


def test_answers_are_written_down_and_change_the_next_decision(tmp_path: Path) -> None:
    campaign, ledger = declared({"prefer": ["a", "b"]}, n_initial=4), tmp_path / "l.db"
    carried_out(campaign, ledger, 6)
    with Session(campaign, ledger=ledger) as session:
        before = session.question
        assert before is not None and session.recommended is None
        session.prefer(*before, by="ann")
        assert session.state.answers == (before,) and session.question not in (before, before[::-1])
        found = session.recommended
        assert found is not None and before[0] in found.trials
        for pair, words in (((1, 1), "better than itself"), ((1, 99), "no reading of 'lab'")):
            with pytest.raises(CampaignError, match=words):
                session.prefer(*pair)
        assert session.state.answers == (before,)
    assert replay(campaign, read_events(ledger)).answers == (before,)
    said = shown("prefer", ledger=ledger)
    assert "which is liked better? closedloop prefer" in said
    assert "is liked better" in shown("prefer", str(before[1]), str(before[0]), ledger=ledger)
    assert replay(campaign, read_events(ledger)).answers == (before, before[::-1])


def test_an_answer_means_nothing_to_another_goal(tmp_path: Path) -> None:
    ledger = tmp_path / "l.db"
    carried_out(declared({"maximize": "a"}, n_initial=4), ledger, 2)
    done = CliRunner().invoke(app, ["prefer", "1", "2", "--ledger", str(ledger)])
    assert done.exit_code != 0 and "goal: {prefer" in done.output and "Traceback" not in done.output


def test_the_way_is_charged_and_a_batch_is_handed_out_along_it(tmp_path: Path) -> None:
    sources = {"lab": {"instrument": "manual", "cost": {"money": 1}, "switching": {"x": 10.0, "k": {"money": 2}}}}
    campaign = declared({"maximize": "a"}, sources=sources, budget={"money": 200}, n_initial=6)
    with Session(campaign, ledger=tmp_path / "l.db") as session:
        batch = session.suggest(5)
        at = {t.number: t.setting for t in batch}

        def length(order: tuple[int, ...]) -> float:
            return sum(
                10 * abs(float(at[b]["x"]) - float(at[a]["x"])) + 2 * (at[a]["k"] != at[b]["k"])
                for a, b in itertools.pairwise(order)
            )

        assert length(tuple(t.number for t in batch)) == pytest.approx(min(map(length, itertools.permutations(at))))
        travelled = 5 + length(tuple(t.number for t in batch))
        assert session.state.reserved["money"] == pytest.approx(travelled)
        for trial in batch:
            session.ingest(trial.number, {"a": 1, "b": 1})
        assert session.state.spent["money"] == pytest.approx(travelled)
        (after,) = session.suggest(1)
        last = batch[-1].setting
        way = 10 * abs(float(after.setting["x"]) - float(last["x"])) + 2 * (after.setting["k"] != last["k"])
        assert after.cost["money"] == pytest.approx(1 + way)


def test_what_is_charged_for_changes_is_what_was_travelled(tmp_path: Path) -> None:
    """Of batches longer than those of which every order is tried, too; and the ledger makes it again."""
    sources = {"lab": {"instrument": "manual", "cost": {"money": 1}, "switching": {"x": 10.0, "k": {"money": 2}}}}
    campaign = declared({"maximize": "a"}, sources=sources, budget={"money": 500}, n_initial=12)
    before, spent = None, 0.0
    with Session(campaign, ledger=tmp_path / "l.db") as session:
        for n in (8, 1, 3):
            for trial in session.suggest(n):
                here = float(trial.setting["x"]), trial.setting["k"]
                spent += 1 + (10 * abs(here[0] - before[0]) + 2 * (here[1] != before[1]) if before else 0)
                before = here
                session.ingest(trial.number, {"a": here[0], "b": 1})
            assert session.state.spent["money"] == pytest.approx(spent)
    assert all(one.is_same() for one in recompute(read_events(tmp_path / "l.db")))
