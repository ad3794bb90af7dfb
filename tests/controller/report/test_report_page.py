"""The report: one file without a network, whole for any campaign, and safe whatever the campaign says."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

import closedloop as cl
from closedloop.controller.ledger.writer import Ledger
from closedloop.controller.records import Proposed, Started, Trial
from closedloop.controller.report.page import write_report

SECTIONS = ("convergence", "forecasts", "calibration", "slices", "budget", "timeline", "decisions", "provenance")
HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m"


@cl.instrument(cost={"money": 1.0})
def oven(x, mode):
    return {"y": 10 - (x - 3) ** 2, "w": abs(x)}


@cl.instrument(cost={"money": 1.0})
def broken(x, mode):
    raise ValueError(HOSTILE)


def campaign(source=oven, **changes) -> cl.Campaign:
    declared = {
        "name": "page",
        "description": HOSTILE,
        "parameters": {"x": {"low": -5, "high": 5}, "mode": {"choices": ["<img src=x>", "$\\frac{", "c"]}},
        "responses": ["y", "w"],
        "sources": {"oven": source},
        "goal": {"maximize": "y - 0.1 * w", "subject_to": ["w <= 4"]},
        "budget": {"money": 8, "time": "2 hours"},
        "belief": "climatology",
    }
    declared["sources"] = {"oven": {"instrument": source, "cost": {"money": 1, "time": "3 min"}}}
    return cl.Campaign(**{**declared, **changes})


class Tags(HTMLParser):
    """All tags, and whether each that was opened was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(path) -> tuple[str, Tags]:
    text = path.read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return text, tags


def check(path) -> str:
    text, tags = parsed(path)
    assert not {"script", "img", "link", "iframe"} & set(tags.tags)
    assert all(link.startswith(("#", "data:image/png")) for link in tags.links)
    assert "@import" not in text and "<script" not in text and "\x1b" not in text
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert len(text) < 2_000_000
    for section in SECTIONS:
        assert f'id="{section}"' in text
    return text


def test_a_whole_campaign(tmp_path):
    result = cl.run(campaign(), ledger=tmp_path / "l.db", executor="inline")
    text = check(write_report(tmp_path / "l.db", "page", tmp_path / "r.html"))
    assert text.count("<svg") >= 6
    assert "budget spent" in text and "&lt;script&gt;alert(1)" in text
    assert text.count("<details>") == len(result.state.trials) + 1
    assert "var(--experiment)" in text


def test_before_anything_was_decided(tmp_path):
    with Ledger.open(tmp_path / "l.db", "page") as book:
        book.append(Started(campaign=campaign().resolve().to_dict()))
    assert "Not over" in check(write_report(tmp_path / "l.db", None, tmp_path / "r.html"))


def test_while_the_first_trial_is_in_flight(tmp_path):
    with Ledger.open(tmp_path / "l.db", "page") as book:
        book.append(Started(campaign=campaign().resolve().to_dict()))
        book.append(Proposed(trial=Trial(number=1, source="oven", setting={"x": 1.0, "mode": "c"})))
        assert "in flight" in check(write_report(tmp_path / "l.db", "page", tmp_path / "r.html"))


def test_after_one_reading(tmp_path):
    cl.run(campaign(budget={"trials": 1}), ledger=tmp_path / "l.db", executor="inline")
    check(write_report(tmp_path / "l.db", "page", tmp_path / "r.html"))


def test_where_every_trial_failed(tmp_path):
    cl.run(campaign(broken), ledger=tmp_path / "l.db", executor="inline")
    text = check(write_report(tmp_path / "l.db", "page", tmp_path / "r.html"))
    assert "none yet" in text and "failed 5 times in a row" in text


@pytest.mark.parametrize("goal", [{"minimize": "log(y)"}, {"target": "y", "value": 2.0}])
def test_other_goals_even_without_a_value(tmp_path, goal):
    from closedloop.controller.report.story import read_story

    cl.run(campaign(goal=goal), ledger=tmp_path / "l.db", executor="inline")
    check(write_report(tmp_path / "l.db", "page", tmp_path / "r.html"))
    assert read_story(tmp_path / "l.db").best is not None


def test_a_file_that_cannot_be_written(tmp_path):
    cl.run(campaign(budget={"trials": 1}), ledger=tmp_path / "l.db", executor="inline")
    with pytest.raises(cl.ClosedLoopError, match="cannot be written"):
        write_report(tmp_path / "l.db", "page", tmp_path / "no" / "r.html")
