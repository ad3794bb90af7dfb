"""Every campaign that ships runs to the result that its file states."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from closedloop.controller.campaign_file import find_campaign, read_campaign
from closedloop.controller.campaign_run import run
from closedloop.controller.ledger import reader as ledger_reader
from closedloop.controller.replaying import recompute
from closedloop.instruments.flow_reactor_bench import true_response


def test_reactor(tmp_path: Path) -> None:
    """Within 3 % of the true optimum, limits kept to 1 %, at least 12 experiments and 40 simulations, replayable."""
    result = run(read_campaign(find_campaign("reactor")), ledger=tmp_path / "l.db", executor="inline")
    state = result.state
    assert state.n_readings("reactor") >= 12
    assert state.n_readings("model") >= 40
    assert result.best.is_feasible
    truths = [true_response(t.trial.setting) for t in state.observed("reactor")]
    good = [
        t for t in truths if t["sty"] >= 0.97 * 10829.6 and t["e_factor"] <= 9.8 * 1.01 and t["byproducts"] <= 8 * 1.01
    ]
    assert good
    sources = [state.trials[n].trial.source for n in sorted(state.trials)]
    changes = sum(a != b for a, b in itertools.pairwise(sources))
    assert 4 < changes < len(sources) / 2, "the agent chooses; it does not alternate"
    again = list(recompute(ledger_reader.events(tmp_path / "l.db")))
    assert len(again) > 100
    assert [a for a in again if not a.is_same(1e-9)] == []


@pytest.mark.parametrize(
    "path", sorted(Path(str(find_campaign("reactor"))).parent.glob("*.yaml")), ids=lambda p: p.stem
)
def test_each_campaign_round_trips_and_resolves(path: Path) -> None:
    campaign = read_campaign(path).resolve()
    assert type(campaign)(**campaign.to_dict()) == campaign
