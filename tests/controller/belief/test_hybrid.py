"""The assimilated simulator on a small world whose truth is known: other unknowns, a discrepancy, heat loss, noise."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.objective import GenericMCObjective
from botorch.sampling import IIDNormalSampler, SobolQMCNormalSampler
from botorch.sampling.list_sampler import ListSampler

from closedloop.controller.belief import load_belief, prior_belief
from closedloop.controller.belief.actuation import Actuation
from closedloop.controller.belief.evidence import Evidence, Members, Readings
from closedloop.controller.belief.hybrid import Ensemble, Hybrid
from closedloop.controller.belief.scales import Scales
from closedloop.controller.campaign import Campaign
from closedloop.controller.errors import BeliefError
from closedloop.controller.feasible import find_feasible

RESPONSES = ("yield_", "left")
TRUTH = {"k": 1.4, "e": 2.6, "top": 0.86}
RNG = np.random.default_rng(0)
LOSS = 0.04  # of the temperature's range, at its top


def _campaign(belief="hybrid", **change):
    declared = {
        "name": "small",
        "seed": 5,
        "parameters": {"temperature": {"low": 20, "high": 120}, "time": {"low": 0, "high": 10}},
        "responses": list(RESPONSES),
        "sources": {
            "bench": {"instrument": "a:B", "cost": {"money": 1}},
            "model": {
                "simulator": "a:C",
                "cost": {"money": 0.1},
                "unknowns": {
                    "k": {"lognormal": [0.8, 0.5]},
                    "e": {"normal": [2.0, 0.5]},
                    "top": {"lognormal": [1.0, 0.1]},
                },
            },
        },
        "goal": {"maximize": "yield_", "subject_to": ["left <= 8"]},
        "budget": {"money": 100},
        "belief": belief,
    }
    return Campaign(**{**declared, **change})


CAMPAIGN = _campaign()
X_NEW = find_feasible(CAMPAIGN.space, 60, seed=77)


def simulate(X, unknowns):
    """(n, N, 2) of settings X (n, 2) and unknowns of N values each."""
    k, e, top = (np.atleast_1d(unknowns[n]) for n in ("k", "e", "top"))
    gone = 1.0 - np.exp(-k * np.exp(e * (X[:, :1] - 0.5)) * 3.0 * (X[:, 1:] + 0.05))
    return np.stack([100.0 * top * gone, 20.0 * (1.0 - gone) + 1.0], axis=-1)


def bench(X, *, lack=1.0, noise=0.0, rng=None):
    """(n, 2): the truth at requested settings, and what was achieved."""
    achieved = X - np.array([LOSS, 0.0]) * X
    Y = simulate(achieved, TRUTH)[:, 0]
    Y[:, 0] += lack * 8.0 * np.sin(3.0 * achieved[:, 0]) * achieved[:, 1]
    scatter = np.random.default_rng(3) if rng is None else rng
    return Y + noise * scatter.normal(size=Y.shape) * [1.0, 0.2], achieved


class World:
    """A campaign by hand: runs and readings in any order."""

    def __init__(self, belief, *, lack=1.0, noise=0.5, scale=1.0):
        self.belief, self.lack, self.noise, self.scale = belief, lack, noise, scale
        self.tables = {s: Readings.none(2, 2) for s in ("bench", "model")}
        self.rng = np.random.default_rng(0)
        self.n = 0

    @property
    def evidence(self):
        tables = {k: v.observations for k, v in self.tables.items() if v.n}
        return Evidence(CAMPAIGN.space, RESPONSES, "bench", tables)

    def run(self, X, *, is_corrected=True):
        for x in X:
            unknowns = {k: np.array(v) for k, v in self.belief.unknowns("model").items()}
            Y = self.scale * simulate(x[None], unknowns)[0]
            self._add("model", x, x, Y.mean(axis=0), Members(np.stack(list(unknowns.values()), axis=1), Y))
            if is_corrected:
                self.correct()
        return self

    def read(self, X, *, is_corrected=True):
        for x in X:
            y, achieved = bench(x[None], lack=self.lack, noise=self.noise, rng=self.rng)
            self._add("bench", x, achieved[0], self.scale * y[0], None)
            if is_corrected:
                self.correct()
        return self

    def correct(self):
        self.belief = self.belief.correct(self.evidence, (self.n,), np.random.default_rng(0))
        return self

    def _add(self, source, x_set, x, y, members):
        self.n += 1
        sd = np.full(2, np.nan)
        table = self.tables[source]
        self.tables[source] = table.with_reading(self.n, x_set=x_set, x=x, y=y, sd=sd, members=members)

    def error(self, X=X_NEW):
        """Root mean square error of the forecast of the yield at settings X."""
        forecast = self.belief.predict(self.evidence, "bench", X)
        return float(np.sqrt(np.mean((forecast.mean - self.scale * bench(X, lack=self.lack)[0])[:, 0] ** 2)))


RUNS = find_feasible(CAMPAIGN.space, 40, seed=1)
READS = find_feasible(CAMPAIGN.space, 40, seed=2)


@pytest.fixture(scope="module")
def learned():
    """After 16 runs and 10 readings; not to be changed."""
    return World(Hybrid.prior(CAMPAIGN)).run(RUNS[:16]).read(READS[:10])


def test_the_prior_ensemble_has_the_priors_moments():
    belief = Hybrid.prior(CAMPAIGN)
    samples = belief.unknown_samples()
    assert samples.values.shape == (CAMPAIGN.n_members, 3)
    k, e, _ = samples.values.T
    np.testing.assert_allclose([np.log(k).mean(), np.log(k).std(ddof=1)], [np.log(0.8), 0.5], atol=1e-8)
    np.testing.assert_allclose([e.mean(), e.std(ddof=1)], [2.0, 0.5], atol=1e-8)
    np.testing.assert_array_equal(belief.prior_samples().values, samples.values)
    assert list(belief.unknowns("model")) == ["k", "e", "top"]
    assert belief.unknowns("bench") == {}


def test_few_members_and_many_unknowns_are_drawn_too():
    source = CAMPAIGN.sources["model"].model_dump()
    many = {f"u{k}": {"normal": [0, 1]} for k in range(20)}
    campaign = _campaign(
        n_members=9,
        sources={"bench": {"instrument": "a:B"}, "model": {**source, "unknowns": many}},
        budget={"trials": 9},
    )
    assert Hybrid.prior(campaign).unknown_samples().values.shape == (9, 20)


def test_the_emulator_is_exact_where_it_was_run():
    world = World(Hybrid.prior(CAMPAIGN)).run(RUNS[:12])
    observed = world.evidence.of("model")
    forecast = world.belief.predict(world.evidence, "model", observed.X_set)
    np.testing.assert_allclose(forecast.mean, observed.Y, rtol=2e-3)


def test_the_emulator_forecasts_runs_that_were_not_made():
    world = World(Hybrid.prior(CAMPAIGN)).run(RUNS[:20])
    unknowns = {k: np.array(v) for k, v in world.belief.unknowns("model").items()}
    truth = simulate(X_NEW, unknowns).mean(axis=1)
    forecast = world.belief.predict(world.evidence, "model", X_NEW)
    assert np.sqrt(np.mean((forecast.mean - truth)[:, 0] ** 2)) < 0.1 * truth[:, 0].std()
    assert np.mean(np.abs(forecast.mean - truth) < 3 * forecast.sd) > 0.9


def test_readings_bring_the_forecast_near_the_truth():
    world = World(Hybrid.prior(CAMPAIGN)).run(RUNS[:20])
    errors = [world.error()]
    for k in (0, 4, 8):
        errors.append(world.read(READS[k : k + 4]).error())
    assert errors[-1] < 0.4 * errors[0]
    assert errors[-1] < 3.0  # of 100; the noise is 0.5


def test_intervals_cover_what_they_claim():
    inside = []
    for seed in range(3):
        belief = Hybrid.prior(_campaign(seed=seed))
        world = World(belief).run(RUNS[10 * seed : 10 * seed + 16]).read(READS[8 * seed : 8 * seed + 8])
        forecast = world.belief.predict(world.evidence, "bench", X_NEW)
        inside.append(np.abs(bench(X_NEW, noise=0.5)[0] - forecast.mean) < 1.2816 * forecast.sd)
    assert 0.65 < np.mean(inside) < 0.97


def test_unknowns_move_to_the_truth_where_the_simulator_is_right():
    world = World(Ensemble.prior(_campaign("ensemble")), lack=0.0).run(RUNS[:20]).read(READS[:10])
    samples, prior = world.belief.unknown_samples(), world.belief.prior_samples()
    for k, name in enumerate(samples.names):
        error, before = (abs(s.values[:, k].mean() - TRUTH[name]) for s in (samples, prior))
        assert error < 0.5 * before
        assert samples.values[:, k].std() < 0.5 * prior.values[:, k].std()


def test_the_discrepancy_pays_where_there_is_one(learned):
    alone = World(Ensemble.prior(_campaign("ensemble"))).run(RUNS[:16]).read(READS[:10])
    assert learned.error() < alone.error()
    added = learned.belief.discrepancy_at(learned.evidence, X_NEW)
    assert added.mean.shape == added.sd.shape == (60, 2)
    nothing = alone.belief.discrepancy_at(alone.evidence, X_NEW)
    assert np.abs(nothing.mean[:, 0]).max() < 0.1 < np.abs(added.mean[:, 0]).max()


def test_a_reading_before_any_run_waits():
    world = World(Hybrid.prior(CAMPAIGN)).read(READS[:3])
    assert world.belief.assimilated == ()
    world.run(RUNS[:8])
    assert world.belief.assimilated == (1, 2, 3)
    assert world.belief.predict(world.evidence, "bench", X_NEW) is not None


@pytest.mark.parametrize("kind", ["ensemble", "hybrid"])
def test_without_runs_the_belief_is_the_surrogate_of_the_targets_readings(kind):
    """One broken simulator must not make a campaign worse than one that has none."""
    world = World(prior_belief(_campaign(kind))).read(READS[:9]).run(RUNS[:2])
    bare = _campaign("surrogate", sources={"bench": {"instrument": "a:B", "cost": {"money": 1}}})
    alone = World(prior_belief(bare)).read(READS[:9])
    again = load_belief(json.loads(json.dumps(world.belief.dump())))
    assert again == world.belief
    assert again.kind == kind
    asked = {"bench": X_NEW[:2], "model": X_NEW[2:4], "gone": X_NEW[:1]}
    evidence, same = (replace(w.evidence, pending=asked) for w in (world, alone))
    for one, other in zip(_told(again, evidence), _told(alone.belief, same), strict=True):
        np.testing.assert_allclose(one, other, rtol=0.05, atol=0.05)
    assert again.predict(evidence, "model", X_NEW) is None
    assert not again.influence(evidence, "model", X_NEW, X_NEW).any()


def _told(belief, evidence):
    """All that a decision asks of a belief."""
    forecast = belief.predict(evidence, "bench", X_NEW)
    posterior = belief.target_model(evidence, [0]).posterior(torch.tensor(X_NEW))
    influence = belief.influence(evidence, "bench", X_NEW, X_NEW[:5])
    return [forecast.mean, forecast.sd, posterior.mean.detach().numpy(), influence]


def test_enough_runs_end_the_surrogate_and_old_dumps_load():
    world = World(Hybrid.prior(CAMPAIGN)).read(READS[:1])
    assert world.belief.stand_in is None  # one reading teaches it nothing
    assert world.belief.predict(world.evidence, "bench", X_NEW) is None
    assert world.belief.target_model(world.evidence) is None
    world.read(READS[1:4])
    assert world.belief.stand_in is not None
    world.run(RUNS[:8])
    assert world.belief.stand_in is None
    assert world.belief.assimilated == (1, 2, 3, 4)
    old = world.belief.dump()
    del old["stand_in"]
    assert load_belief(old) == world.belief


def test_runs_beyond_float64_count_as_none():
    world = World(Hybrid.prior(CAMPAIGN), scale=1e200).run(RUNS[:5])
    world.scale = 1.0
    world.read(READS[:6])
    assert world.belief.stand_in is not None
    assert world.error() < 40.0
    world.run(RUNS[:8])
    assert world.belief.assimilated == tuple(range(6, 12))


@pytest.mark.parametrize("n_runs", [0, 8])
@pytest.mark.parametrize(("y", "sd"), [(1e300, np.nan), (-1e300, 1e-300), (50.0, 1e300), (50.0, 1e-300)])
def test_what_leaves_a_belief_is_finite(n_runs, y, sd):
    world = World(Hybrid.prior(CAMPAIGN)).run(RUNS[:n_runs]).read(READS[:5])
    table = world.tables["bench"]
    Y, given = np.array([y, 5.0]), np.array([sd, np.nan])
    world.tables["bench"] = table.with_reading(900, x_set=READS[5], x=READS[5], y=Y, sd=given, members=None)
    try:
        world.correct()
    except BeliefError:
        assert n_runs == 0 and abs(y) > 1e150  # a surrogate cannot square it; the hybrid takes it for far off
    for source in ("bench", "model"):
        forecast = world.belief.predict(world.evidence, source, X_NEW)
        assert forecast is None or (np.isfinite(forecast.mean).all() and np.isfinite(forecast.sd).all())
    assert n_runs == 0 or world.belief.predict(world.evidence, "bench", X_NEW) is not None
    assert n_runs == 0 or 900 in world.belief.assimilated


def test_a_source_that_no_belief_models_changes_nothing(learned):
    other = learned.tables["bench"].observations
    evidence = replace(
        learned.evidence,
        observations={**learned.evidence.observations, "gone": other},
        pending={"gone": X_NEW[:3]},
    )
    for one, two in zip(_told(learned.belief, learned.evidence), _told(learned.belief, evidence), strict=True):
        np.testing.assert_array_equal(one, two)
    assert learned.belief.predict(evidence, "gone", X_NEW) is None
    assert not learned.belief.influence(evidence, "gone", X_NEW, X_NEW).any()
    surrogate = prior_belief(_campaign("surrogate"))
    assert surrogate.correct(replace(evidence, observations={"gone": other}), (), RNG) == surrogate
    surrogate = surrogate.correct(evidence, (), RNG)
    assert surrogate.predict(evidence, "gone", X_NEW) is None
    assert not surrogate.influence(evidence, "gone", X_NEW, X_NEW).any()


@pytest.mark.parametrize("values", [[0.0], [-3.0, 0.0, -1e-300]])
@pytest.mark.parametrize("kind", ["ensemble", "hybrid"])
def test_a_logged_response_takes_readings_that_have_no_logarithm(kind, values):
    """Before the next correction the belief keeps its logarithm, after it has none; both forecast."""
    world = World(prior_belief(_campaign(kind))).run(RUNS[:12]).read(READS[:3])
    belief = replace(world.belief, learned=_with_logs(world))
    for k, y in enumerate(values):
        x, Y = READS[5 + k], np.array([y, y])
        table = world.tables["bench"]
        world.tables["bench"] = table.with_reading(500 + k, x_set=x, x=x, y=Y, sd=np.array([0.1, np.nan]), members=None)
    trials = tuple(500 + k for k in range(len(values)))
    after = belief.correct(world.evidence, trials, RNG)
    assert after.learned.scales.is_log == (False, False)
    known = replace(belief, assimilated=(*belief.assimilated, *trials))  # as if it had been left with its logarithm
    for b in (belief, after, known):
        assert all(np.isfinite(told).all() for told in _told(b, world.evidence))
    waiting = World(prior_belief(_campaign(kind)))
    waiting.tables["bench"], waiting.n = world.tables["bench"], 600
    assert waiting.run(RUNS[:8]).belief.assimilated[-len(trials) :] == trials
    assert all(np.isfinite(told).all() for told in _told(waiting.belief, waiting.evidence))


def test_heat_loss_is_learned():
    world = World(Hybrid.prior(CAMPAIGN)).run(RUNS[:4]).read(READS[:8])
    achieved = world.belief.actuation.achieved(X_NEW)
    np.testing.assert_allclose(achieved, bench(X_NEW)[1], atol=2e-3)
    assert Actuation().achieved(X_NEW) is X_NEW


def test_a_dump_is_plain_and_comes_back_the_same(learned):
    again = load_belief(json.loads(json.dumps(learned.belief.dump())))
    assert again == learned.belief
    first, second = (b.predict(learned.evidence, "bench", X_NEW) for b in (learned.belief, again))
    assert np.array_equal(first.mean, second.mean)
    assert np.array_equal(first.sd, second.sd)
    assert load_belief(prior_belief(CAMPAIGN).dump()) == prior_belief(CAMPAIGN)


def test_correction_is_repeatable_and_leaves_the_old_belief(learned):
    before = learned.belief.dump()
    state = torch.random.get_rng_state()
    world = World(learned.belief)
    world.tables, world.n = dict(learned.tables), learned.n
    table = world.tables["bench"]
    y = np.array([50.0, 8.0])
    world.tables["bench"] = table.with_reading(99, x_set=X_NEW[0], x=X_NEW[0], y=y, sd=np.full(2, np.nan), members=None)
    one, two = (learned.belief.correct(world.evidence, (99,), np.random.default_rng(k)) for k in (1, 2))
    assert one == two
    assert learned.belief.dump() == before
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_model_agrees_with_the_forecast_and_with_its_own_derivative(learned):
    model = learned.belief.target_model(learned.evidence)
    forecast = learned.belief.predict(learned.evidence, "bench", X_NEW)
    X = torch.tensor(X_NEW)
    posterior = model.posterior(X)
    np.testing.assert_allclose(posterior.mean.detach().numpy(), forecast.mean, rtol=1e-8)
    assert (posterior.variance.sqrt().numpy() < forecast.sd).all()
    for part in model.models:
        x = X[:3, None].clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda x, part=part: part.posterior(x).mean, x, eps=1e-6, atol=1e-4)
        assert torch.autograd.gradcheck(lambda x, part=part: part.posterior(x).variance, x, eps=1e-6, atol=1e-4)


def test_rows_shared_by_a_batch_give_what_they_give_apart(learned):
    model = learned.belief.target_model(learned.evidence)
    base, own = torch.tensor(READS[:5]), torch.tensor(X_NEW[:7])[:, None]
    batch = torch.cat([base.expand(7, -1, -1), own, base[:1].expand(7, -1, -1)], dim=1)
    for part in model.models:
        together = part.posterior(batch).distribution
        for k in range(7):
            alone = part.posterior(batch[k]).distribution
            np.testing.assert_allclose(together.mean[k], alone.mean, rtol=1e-9)
            np.testing.assert_allclose(together.covariance_matrix[k], alone.covariance_matrix, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sampler", [SobolQMCNormalSampler, IIDNormalSampler])
def test_an_acquisition_function_can_use_it(learned, sampler):
    model = learned.belief.target_model(learned.evidence)
    acquisition = qLogNoisyExpectedImprovement(
        model,
        torch.tensor(READS[:10]),
        sampler=ListSampler(*(sampler(torch.Size([32]), seed=k) for k in range(2))),
        objective=GenericMCObjective(lambda Y, X=None: Y[..., 0]),
        constraints=[lambda Y: Y[..., 1] - 15.0],
        X_pending=torch.tensor(X_NEW[:2]),
        prune_baseline=True,
        cache_root=False,
    )
    X = torch.tensor(X_NEW[:6])[:, None].requires_grad_()
    value = acquisition(X)
    (slope,) = torch.autograd.grad(value.sum(), X)
    assert value.shape == (6,)
    assert torch.isfinite(value).all()
    assert torch.isfinite(slope).all()


def test_influence_is_what_the_joint_covariance_says(learned):
    model = learned.belief.target_model(learned.evidence)
    X, X_ref = X_NEW[:4], X_NEW[4:9]
    moved = learned.belief.influence(learned.evidence, "bench", X, X_ref)
    assert moved.shape == (4, 5, 2)
    sd = learned.belief.predict(learned.evidence, "bench", X).sd
    for k, part in enumerate(model.models):
        C = part.posterior(torch.tensor(np.concatenate([X, X_ref]))).distribution.covariance_matrix.numpy()
        np.testing.assert_allclose(moved[:, :, k], C[:4, 4:] / sd[:, k][:, None], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("source", ["bench", "model"])
def test_what_is_asked_already_need_not_be_asked_again(learned, source):
    X = X_NEW[:3]
    own = np.arange(3)
    free = np.abs(learned.belief.influence(learned.evidence, source, X, X)[own, own])
    asked = replace(learned.evidence, pending={source: X})
    assert (np.abs(learned.belief.influence(asked, source, X, X)[own, own]) < free).all()
    far = replace(learned.evidence, pending={source: X[1:2]})
    assert (np.abs(learned.belief.influence(far, source, X, X)[own, own])[1] < free[1]).all()


def test_a_run_where_the_emulator_knows_moves_little(learned):
    ran = learned.evidence.of("model").X_set[:4]
    new = X_NEW[:20]
    known, unknown = (np.abs(learned.belief.influence(learned.evidence, "model", X, X_NEW)).mean() for X in (ran, new))
    assert known < 0.5 * unknown


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_unit_of_a_response_does_not_matter(scale):
    one, other = (World(Hybrid.prior(CAMPAIGN), scale=s, noise=0.0).run(RUNS[:8]).read(READS[:4]) for s in (1.0, scale))
    first, second = (w.belief.predict(w.evidence, "bench", X_NEW).mean for w in (one, other))
    np.testing.assert_allclose(second / scale, first, rtol=0.02, atol=0.2)


@pytest.mark.parametrize("trouble", ["constant", "repeats", "one setting", "zero sd", "wild reading"])
def test_bad_data_give_a_forecast(trouble):
    world = World(Hybrid.prior(CAMPAIGN), scale=0.0 if trouble == "constant" else 1.0)
    world.run(np.tile(RUNS[:1], (6, 1)) if trouble == "one setting" else RUNS[:8])
    if trouble == "repeats":
        world.read(np.tile(READS[:1], (150, 1)), is_corrected=False)
    world.read(READS[:2], is_corrected=False)
    if trouble in ("zero sd", "wild reading"):
        y = np.array([1e9, 5.0]) if trouble == "wild reading" else np.array([40.0, 5.0])
        sd = np.zeros(2) if trouble == "zero sd" else np.full(2, np.nan)
        world.tables["bench"] = world.tables["bench"].with_reading(
            500, x_set=READS[5], x=READS[5], y=y, sd=sd, members=None
        )
    world.correct()
    forecast = world.belief.predict(world.evidence, "bench", X_NEW)
    assert np.isfinite(forecast.mean).all()
    assert np.isfinite(forecast.sd).all()
    assert (forecast.sd > 0).all()
    assert np.isfinite(world.belief.unknown_samples().values).all()
    assert world.belief.unknown_samples().values.std(axis=0).min() > 0


def test_runs_of_nominal_values_or_other_unknowns_are_passed_over(learned):
    strange = [None, Members(np.ones((64, 5)), np.ones((64, 2))), Members(np.ones((2, 3)), np.ones((2, 2)))]
    table = learned.tables["model"]
    for k, members in enumerate(strange):
        table = table.with_reading(900 + k, x_set=X_NEW[k], x=X_NEW[k], y=np.ones(2), sd=np.ones(2), members=members)
    evidence = replace(learned.evidence, observations={**learned.evidence.observations, "model": table.observations})
    after = learned.belief.correct(evidence, (900, 901, 902), RNG)
    assert after == learned.belief


def test_a_logarithm_is_given_up_when_a_reading_has_none():
    world = World(Hybrid.prior(CAMPAIGN)).run(RUNS[:12]).read(READS[:3])
    belief = replace(world.belief, learned=_with_logs(world))
    y = np.array([-0.5, 5.0])
    table = world.tables["bench"]
    world.tables["bench"] = table.with_reading(
        500, x_set=READS[5], x=READS[5], y=y, sd=np.full(2, np.nan), members=None
    )
    after = belief.correct(world.evidence, (500,), RNG)
    assert after.learned.scales.is_log[0] is False
    assert np.isfinite(after.predict(world.evidence, "bench", X_NEW).mean).all()


def _with_logs(world):
    answers = [run.Y for run in world.evidence.of("model").members]
    return replace(world.belief.learned, scales=Scales.of(answers, np.array([True, True])))


def test_many_members_cost_no_more_than_their_regression():
    world = World(Hybrid.prior(_campaign(n_members=1024))).run(RUNS[:8]).read(READS[:2])
    assert len(world.belief.unknowns("model")["k"]) == 1024
    assert np.isfinite(world.belief.predict(world.evidence, "bench", X_NEW).mean).all()


@pytest.mark.parametrize("wild", [1e160, -1e300])
def test_a_reading_beyond_float64_leaves_the_forecast_among_the_others(wild):
    world = World(Hybrid.prior(CAMPAIGN)).run(RUNS[:8]).read(READS[:10])
    observed = world.evidence.of("bench")
    Y = observed.Y.copy()
    Y[3, 0] = wild
    evidence = replace(world.evidence, observations={**world.evidence.observations, "bench": replace(observed, Y=Y)})
    belief = Hybrid.prior(CAMPAIGN).correct(evidence, tuple(observed.trials), np.random.default_rng(0))
    assert np.abs(belief.predict(evidence, "bench", X_NEW).mean[:, 0]).max() < 20 * np.abs(observed.Y[:, 0]).max()
