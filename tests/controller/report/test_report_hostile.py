"""Fault 49 for pages: whatever a campaign, a driver or a person says, a report has no element, attribute or link of its own."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import closedloop as cl
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.records import EVENT
from closedloop.controller.report.markup import el
from closedloop.controller.report.page import page
from closedloop.controller.report.story import Story
from closedloop.controller.report.study import Study

PLACES = ("zdescription", "zunit", "zchoice", "zmessage", "zreason", "zinfo", "zhost")
FRAGMENTS = (
    "<script>alert(1)</script>",
    '"onload="alert(1)',
    "' onmouseover='alert(1)",
    "</style><img src=x onerror=alert(1)>",
    "</title></summary></details></pre><iframe src='//evil.example'>",
    "javascript:alert(1)",
    "]]></svg><svg onload=alert(1)>",
    "--><script>",
    "<!--",
    "<text><tspan>",
    "&lt;script&gt;&#60;b&#62;",
    "\x1b[31m\x1b]8;;http://evil.example\x07",
    "\u202e\u2066abc\u2069",
    "\x00\x9b\ud800",
    "$\\frac{1}{2}$ {0} %s",
    "a\r\nb\u2028c",
    "@import url(//evil.example);",
    "\N{FULLWIDTH LESS-THAN SIGN}script\N{FULLWIDTH GREATER-THAN SIGN}",
)
hostile = st.lists(st.sampled_from(FRAGMENTS) | st.text(min_size=1, max_size=8), min_size=1, max_size=4).map("".join)


@cl.instrument(cost={"money": 1.0})
def oven(x, mode):
    if x < -2:
        raise ValueError("zmessage")
    return {"y": 10 - (x - 3) ** 2, "w": "zinfo"}


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> list[str]:
    """The events of a campaign as JSON; what a person or a driver may say begins with z."""
    ledger = tmp_path_factory.mktemp("ledger") / "l.db"
    campaign = cl.Campaign(
        name="page",
        description="zdescription",
        parameters={"x": {"low": -5, "high": 5}, "mode": {"choices": ["zchoice", "zchoicea", "zchoiceb"]}},
        responses=["y"],
        sources={"oven": oven},
        goal={"maximize": "y"},
        budget={"money": 8},
        belief="climatology",
    )
    cl.run(campaign, ledger=ledger, executor="inline")
    lines = []
    for event in ledger_reader.events(ledger, "page"):
        data = event.model_dump(mode="json")
        if event.kind == "started":
            data["campaign"]["parameters"]["x"]["unit"] = "zunit"
            data["campaign"]["responses"]["y"]["unit"] = "zunit"
            data["provenance"]["host"] = "zhost"
        if event.kind == "proposed":
            data["trial"]["why"]["text"] = "zreason"
        if event.kind == "stopped":
            data["reason"] = "zreason"
        lines.append(json.dumps(data))
    text = "\n".join(lines)
    assert all(place in text for place in PLACES)
    return lines


def rendered(told: list[str], said: str) -> str:
    """The page, with this in every place."""
    inside = json.dumps(said.encode("utf-8", "replace").decode())[1:-1]
    filled = [re.sub("|".join(PLACES), lambda _: inside, line) for line in told]
    events = [EVENT.validate_json(line) for line in filled]
    return page(Study(Story.of(events), events))


class Skeleton(HTMLParser):
    """Elements and attributes, without what is said in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.outside: Counter[str] = Counter()  # elements that are not part of a drawing
        self.pairs: set[tuple[str, str]] = set()
        self.links: list[str] = []
        self.n_open = self.n_drawings = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.n_drawings += tag == "svg"
        if not self.n_drawings:
            self.outside[tag] += 1
        self.pairs |= {(tag, name) for name, _ in attrs} | {(tag, "")}
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action", "style") and v]

    def handle_endtag(self, tag):
        self.n_drawings -= tag == "svg"

    def handle_comment(self, data):
        self.pairs.add(("comment", ""))


@pytest.fixture(scope="module")
def harmless(told) -> Skeleton:
    return Skeleton(rendered(told, "plain words"))


def check(text: str, harmless: Skeleton) -> None:
    found = Skeleton(text)
    assert found.pairs <= harmless.pairs
    assert found.outside == harmless.outside
    assert not [name for _, name in found.pairs if name.startswith("on")]
    assert {"script", "iframe", "link", "object", "embed"}.isdisjoint(found.outside)
    assert not [link for link in found.links if re.search(r"//|javascript:|@import", link)]
    # What the page is made of holds no control character, no override of direction, and half of no character.
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)


@pytest.mark.parametrize("said", FRAGMENTS, ids=range(len(FRAGMENTS)))
def test_fault_49_a_hostile_word_is_only_words(told, harmless, said):
    check(rendered(told, said), harmless)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=hostile)
def test_fault_49_any_hostile_text_is_only_words(told, harmless, said):
    check(rendered(told, said), harmless)


def test_the_page_lets_nothing_in_from_outside(told):
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', rendered(told, "plain words"))
    assert "default-src &#x27;none&#x27;" in policy and "script" not in policy and "http" not in policy


@given(text=hostile | st.text(), value=hostile | st.text())
def test_an_element_gives_back_what_it_was_given(text, value):
    """Escaping loses nothing but what cannot stand in a page."""

    class One(HTMLParser):
        data = ""

        def handle_starttag(self, tag, attrs):
            self.tag, self.attrs = tag, dict(attrs)

        def handle_data(self, data):
            self.data += data

    one = One()
    one.feed(el("p", text, title=value))
    one.close()
    shown = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
    assert (one.tag, one.attrs) == ("p", {"title": shown.sub("\ufffd", value)})
    assert one.data == shown.sub("\ufffd", text)
