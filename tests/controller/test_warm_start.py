"""A campaign that begins with what an earlier one read: it is faster where that helps, and no slower where it misleads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import closedloop as cl
from closedloop.controller.amendment import amended
from closedloop.controller.evolve import evolve, replay
from closedloop.controller.ledger import reader
from closedloop.controller.records import Amended, Recalled, dump_event, load_event
from closedloop.controller.replaying import recompute

BEST = np.array([0.62, 0.35])


def height(x: float, z: float) -> float:
    """A ridge that bends, best at ``BEST``: a space-filling design of five points does not find it."""
    u, v = x - BEST[0], z - BEST[1]
    return float(10 * np.exp(-30 * (u - 1.5 * v * v) ** 2 - 12 * v * v))


def campaign(name: str, f=height, *, n: int = 10, seed: int = 1, **changes: object) -> cl.Campaign:
    @cl.instrument(cost={})
    def lab(x: float, z: float) -> dict:
        return {"y": f(x, z)}

    return cl.Campaign(
        **{
            "name": name,
            "parameters": {"x": {"low": 0, "high": 1}, "z": {"low": 0, "high": 1}},
            "responses": ["y"],
            "sources": {"lab": lab},
            "goal": {"maximize": "y"},
            "budget": {"trials": n},
            "seed": seed,
            **changes,
        }
    )


def earlier(folder: Path, f=height, **changes: object) -> dict:
    """The key ``warm_start`` that recalls a campaign, which is carried out for it."""
    old = campaign("old", f, **{"n": 16, "seed": 11, "n_initial": 16, **changes})
    cl.run(old, ledger=folder / "old.db", executor="inline")
    return {"monday": {"ledger": str(folder / "old.db"), "campaign": "old"}}


def regrets(c: cl.Campaign, folder: Path) -> np.ndarray:
    """After each reading of the lab."""
    state = cl.run(c, ledger=folder / "new.db", executor="inline").state
    return 10.0 - np.maximum.accumulate([t.reading.values["y"] for t in state.observed("lab") if t.reading])


def test_what_is_recalled_stands_in_the_new_ledger_and_the_old_one_may_vanish(tmp_path: Path) -> None:
    c = campaign("new", n=4, warm_start=earlier(tmp_path))
    first = cl.run(c, ledger=tmp_path / "new.db", executor="inline").state
    (tmp_path / "old.db").unlink()
    assert cl.run(c, ledger=tmp_path / "new.db", executor="inline").state.n_readings("monday") == 16
    events = reader.events(tmp_path / "new.db", "new")
    assert [e.kind for e in events[:2]] == ["started", "recalled"]
    assert sum(e.kind == "recalled" for e in events) == 1
    again = replay(c, events)
    assert again.evidence.of("monday").Y.tolist() == first.evidence.of("monday").Y.tolist()
    assert all(r.is_same() for r in recompute(events))  # decisions come of the new ledger alone
    assert {t.trial.source for t in again.trials.values()} == {"lab"}  # it is never asked,
    assert again.spent["trials"] == 4  # and costs nothing


def test_a_recalled_reading_round_trips() -> None:
    event = Recalled(
        name="m", campaign="old", readings=({"trial": 3, "setting": {"x": 0.1}, "values": {"y": 1.0}},), seq=2
    )
    loaded = load_event(dump_event(event), seq=2, time=None)  # type: ignore[arg-type]
    assert loaded == event


def test_a_start_that_was_cut_off_before_it_recalled_is_made_whole(tmp_path: Path) -> None:
    c = campaign("new", n=3, warm_start=earlier(tmp_path)).resolve()
    from closedloop.controller.ledger.writer import Ledger
    from closedloop.controller.records import Started

    with Ledger.open(tmp_path / "new.db", "new") as book:
        book.append(Started(campaign=c.to_dict(), key="k"))
    assert cl.run(c, ledger=tmp_path / "new.db", executor="inline").state.n_readings("monday") == 16


def test_a_session_recalls_too(tmp_path: Path) -> None:
    c = campaign("new", warm_start=earlier(tmp_path))
    with cl.Session(c, ledger=tmp_path / "new.db") as session:
        (trial,) = session.suggest(1)
        assert session.state.n_readings("monday") == 16
        assert trial.forecast.mean  # the first trial is forecast already


def test_readings_outside_of_the_bounds_teach_and_are_never_asked_for(tmp_path: Path) -> None:
    narrow = {"x": {"low": 0.5, "high": 0.9}, "z": {"low": 0, "high": 1}}
    c = campaign("new", n=5, warm_start=earlier(tmp_path), parameters=narrow)
    state = cl.run(c, ledger=tmp_path / "new.db", executor="inline").state
    X = state.evidence.of("monday").X
    assert X.min() < 0 and X.max() > 1
    assert all(0.5 <= t.trial.setting["x"] <= 0.9 for t in state.trials.values())
    assert "outside" in state.recalled["monday"].notes[0]


def test_an_amendment_keeps_what_was_recalled(tmp_path: Path) -> None:
    c = campaign("new", warm_start=earlier(tmp_path))
    with cl.Session(c, ledger=tmp_path / "new.db") as session:
        (trial,) = session.suggest(1)
        session.ingest(trial.number, {"y": 1.0})
        before = session.state.evidence.of("monday").X
        changed = amended(c, {"parameters.x.high": 2.0})
        event = Amended(by="ann", changes={}, campaign=changed.to_dict(), seq=session.state.seq + 1)
        after = evolve(session.state, event).evidence.of("monday").X
    assert after[:, 0].tolist() == pytest.approx((before[:, 0] / 2).tolist())  # placed anew


def test_a_parameter_that_was_not_there_needs_a_value(tmp_path: Path) -> None:
    warm = earlier(tmp_path)
    three = {**{n: {"low": 0, "high": 1} for n in "xz"}, "w": {"low": 0, "high": 4}}

    @cl.instrument(cost={})
    def lab(x: float, z: float, w: float) -> dict:
        return {"y": height(x, z) - (w - 2) ** 2}

    c = campaign("new", n=3, warm_start=warm, parameters=three, sources={"lab": lab})
    with pytest.raises(cl.CampaignError, match=r"no parameter 'w'.*given: \{w: \.\.\.\}"):
        cl.run(c, ledger=tmp_path / "new.db", executor="inline")
    assert not (tmp_path / "new.db").exists()  # nothing was begun
    given = {"monday": {**warm["monday"], "given": {"w": 2}}}
    c = campaign("new", n=3, warm_start=given, parameters=three, sources={"lab": lab})
    state = cl.run(c, ledger=tmp_path / "other.db", executor="inline").state
    assert set(state.evidence.of("monday").X[:, 2]) == {0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warm_start": {"monday": {"ledger": "no.db", "campaign": "old"}}}, r"monday\.ledger: there is no ledger"),
        ({"warm_start": {"monday": {"campaign": "older"}}}, r"'older': is not in .*there: old"),
        ({"responses": {"y": {"unit": "kg"}}}, "response y is in 'kg' here and in 'no unit'"),
        ({"responses": ["y", "q"]}, "has no response 'q'"),
        (
            {"parameters": {"x": {"low": 0, "high": 1, "unit": "degC"}, "z": {"low": 0, "high": 1}}},
            "parameter x is in 'degC' here",
        ),
        (
            {"parameters": {"x": {"choices": ["a", "b"]}, "z": {"low": 0, "high": 1}}},
            "no reading of 'old' can be placed here",
        ),
        ({"warm_start": {"monday": {"campaign": "old", "given": {"x": 1}}}}, "take it out of given"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(changes: dict, message: str, tmp_path: Path) -> None:
    earlier(tmp_path, n=4, n_initial=4)
    default = {"monday": {"campaign": "old"}}
    ledger = tmp_path / "old.db"
    with pytest.raises(cl.CampaignError, match=message):
        cl.run(campaign(**{"name": "new", "warm_start": default, **changes}), ledger=ledger, executor="inline")
    assert reader.campaigns(ledger) == ["old"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warm_start": {"lab": {"campaign": "old"}}}, "no source's, parameter's or response's"),
        ({"warm_start": {"m": {"campaign": "old", "given": {"q": 1}}}}, "is no parameter that is set"),
        ({"warm_start": {"m": {"campaign": "old", "given": {"x": "hot"}}}}, r"given\.x = 'hot'"),
        ({"warm_start": {"m": {}}}, r"warm_start\.m"),
        ({"warm_start": {"m": {"campaign": "old"}}, "belief": "climatology"}, "write belief: surrogate"),
        ({"warm_start": {"m": {"campaign": "old"}}, "goal": {"prefer": ["y"]}}, "preferences"),
    ],
)
def test_what_is_declared_wrong_is_refused_at_birth(changes: dict, message: str) -> None:
    with pytest.raises(cl.CampaignError, match=message):
        campaign("new", **changes)


def test_a_campaign_does_not_recall_itself(tmp_path: Path) -> None:
    with pytest.raises(cl.CampaignError, match="is this campaign itself"):
        cl.run(campaign("old", warm_start={"m": {"campaign": "old"}}), ledger=tmp_path / "l.db", executor="inline")
    assert not (tmp_path / "l.db").exists()


def test_a_campaign_without_readings_teaches_nothing(tmp_path: Path) -> None:
    with cl.Session(campaign("old"), ledger=tmp_path / "l.db"):
        pass
    with pytest.raises(cl.CampaignError, match="has no reading of 'lab'"):
        cl.run(campaign("new", warm_start={"m": {"campaign": "old"}}), ledger=tmp_path / "l.db", executor="inline")


def shuffled(seed: int) -> object:
    rng = np.random.default_rng(seed)
    return lambda x, z: height(*rng.random(2))


def test_a_related_campaign_leads_to_the_best_at_once(tmp_path: Path) -> None:
    warm = earlier(tmp_path, lambda x, z: 0.8 * height(x + 0.02, z) + 3, n_initial=None, n=20)
    assert regrets(campaign("new", n=6, warm_start=warm), tmp_path)[-1] < 0.3
    state = replay(campaign("new", n=6, warm_start=warm), reader.events(tmp_path / "new.db", "new"))
    assert state.belief_dump is not None
    assert state.belief_dump["ignored"] == []
    assert state.n_proposed["lab"] == 6
    assert "point 2 of 2" in state.trials[2].trial.why.text  # a short initial design


def test_a_campaign_of_something_else_is_left_out_and_the_decision_says_so(tmp_path: Path) -> None:
    c = campaign("new", n=9, warm_start=earlier(tmp_path, shuffled(3)))
    state = cl.run(c, ledger=tmp_path / "new.db", executor="inline").state
    assert state.belief_dump is not None
    assert state.belief_dump["ignored"] == ["monday"]
    assert "monday left out" in state.trials[9].trial.why.text
    assert all(r.is_same() for r in recompute(reader.events(tmp_path / "new.db", "new")))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["negative", "shuffled"])
def test_a_misleading_campaign_does_no_harm(kind: str, tmp_path: Path) -> None:
    """Median regret after 14 readings, over seeds: no worse than without by more than 2 % of the range."""
    with_it, without = [], []
    for seed in range(5):
        folder = tmp_path / str(seed)
        folder.mkdir()
        f = (lambda x, z: -height(x, z)) if kind == "negative" else shuffled(seed)
        warm = earlier(folder, f, seed=100 + seed)
        with_it.append(regrets(campaign("new", n=14, seed=seed, warm_start=warm), folder)[-1])
        (folder / "new.db").unlink()
        without.append(regrets(campaign("new", n=14, seed=seed), folder)[-1])
    assert np.median(with_it) <= np.median(without) + 0.2
