"""The assimilated simulator: an ensemble of its unknowns, corrected by readings; and its discrepancy.

Kennedy and O'Hagan, J. R. Stat. Soc. B 2001, 63, 425: a reading is simulator(setting, unknowns) plus
discrepancy(setting) plus noise. Runs of the simulator teach the emulator; readings correct the unknowns and
teach the discrepancy.

Laws:
    * Runs are not called for here: what the simulator was not asked, the emulator must guess, with its error.
    * A reading that comes before any run waits, and is assimilated when there are runs.
    * While there are too few runs, say of a simulator that is broken, a surrogate of the target's own readings
      stands in: the campaign then is as good as one without the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
import torch

from ..errors import BeliefError
from . import (
    Prediction,
    discrepancy,
    emulator,
    one_thread,  # noqa: F401 - before any tensor is worked on
)
from .actuation import Actuation
from .assembly import Assembly, Readings, Runs, rows_of
from .correction import learn_discrepancy, take_all_in, take_in
from .emulator import Learned
from .failures import as_belief_errors
from .influence import simulated_influence, target_influence
from .joint import Joint
from .kriging import as_tensor
from .standardised import tamed
from .unknown import Unknowns

if TYPE_CHECKING:
    from botorch.models.model import Model

    from ..campaign import Campaign
    from ..space import Array
    from .evidence import Evidence
    from .surrogate import Surrogate

MIN_RUNS = 3  # with fewer the emulator says nothing

B = TypeVar("B", bound="Ensemble")
Numbers = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class UnknownSamples:
    """Members in physical units."""

    names: tuple[str, ...]
    values: Array  # (N, p)


@dataclass(frozen=True)
class Ensemble:
    """The assimilated simulator alone; what it lacks is taken for noise."""

    kind: ClassVar[str] = "ensemble"
    expect: ClassVar[discrepancy.Expectation] = discrepancy.NONE

    simulator: str
    priors: Unknowns
    seed: int
    members: Numbers  # (N, p) z
    assimilated: tuple[int, ...] = ()  # trials of the target
    learned: Learned | None = None
    theta: discrepancy.Theta = ()
    actuation: Actuation = field(default_factory=Actuation)
    inflation: float = 1.0
    stand_in: Surrogate | None = None  # of the target alone; only while there are too few runs

    @classmethod
    def prior(cls, campaign: Campaign) -> Self:
        """Before any reading.

        Raises:
            BeliefError: if no simulator of the campaign has unknowns.
        """
        name = campaign.mechanistic
        if name is None:
            raise BeliefError(f"belief {cls.kind!r} needs a simulator with unknowns; give one unknowns with priors")
        priors = Unknowns.of(campaign.sources[name].unknowns)
        Z = priors.draw(campaign.n_members, seed=campaign.seed)
        return cls(simulator=name, priors=priors, seed=campaign.seed, members=discrepancy.rows(Z))

    @classmethod
    def load(cls, dump: Mapping[str, Any]) -> Self:
        """The inverse of ``dump``."""
        return cls(
            simulator=dump["simulator"],
            priors=Unknowns.load(dump["priors"]),
            seed=dump["seed"],
            members=_numbers(dump["members"]),
            assimilated=tuple(dump["assimilated"]),
            learned=Learned.load(dump["learned"]) if dump["learned"] else None,
            theta=_numbers(dump["theta"]),
            actuation=Actuation.load(dump["actuation"]),
            inflation=dump["inflation"],
            stand_in=_surrogate(dump.get("stand_in")),
        )

    def dump(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kind": self.kind,
            "simulator": self.simulator,
            "priors": self.priors.dump(),
            "seed": self.seed,
            "members": [list(z) for z in self.members],
            "assimilated": list(self.assimilated),
            "learned": self.learned.dump() if self.learned else None,
            "theta": [list(row) for row in self.theta],
            "actuation": self.actuation.dump(),
            "inflation": self.inflation,
            "stand_in": self.stand_in.dump() if self.stand_in else None,
        }

    @as_belief_errors("the correction of the simulator")
    def correct(self, evidence: Evidence, fresh: tuple[int, ...], rng: np.random.Generator) -> Self:
        """Emulator, then each waiting reading against its forecast, then discrepancy.

        Raises:
            BeliefError: where no finite fit exists.
        """
        evidence = tamed(evidence)
        belief = replace(self, actuation=Actuation.learn(evidence.space, evidence.of(evidence.target)))
        runs = Runs.of(evidence.of(self.simulator), len(self.priors.names))
        if len(runs) < MIN_RUNS:
            stand_in = self._standing_in(evidence).correct(evidence, fresh, rng)
            return replace(belief, stand_in=stand_in if stand_in.numbers else None)
        belief = replace(belief, stand_in=None)
        answers, readings = [run.Y for run in runs.members], evidence.of(evidence.target).Y
        last = belief.learned
        is_due = last is None or last.is_due(len(runs)) or not last.still_fits(answers, readings)
        if is_due:
            belief = _relearned(belief, evidence, runs)
        known = set(belief.assimilated)
        waiting = [t for t in evidence.of(evidence.target).trials if t not in known]
        if belief.learned is None or not (waiting or is_due):
            return belief
        assembly = Assembly(runs, belief.priors, belief.learned, belief.theta)
        for trial in waiting:
            belief = _corrected(belief, evidence, assembly, trial)
        return _with_discrepancy(belief, evidence, assembly)

    def predict(self, evidence: Evidence, source: str, X: Array) -> Prediction | None:
        """Of the target, all parts and noise together; of the simulator, the mean of a run's members."""
        if source not in (evidence.target, self.simulator):
            return None
        evidence = tamed(evidence)
        assembly = self._assembly(evidence)
        if assembly is None:
            return self._standing_in(evidence).predict(evidence, source, X)
        prediction = self._predict_simulator if source == self.simulator else self._predict_target
        try:
            with as_belief_errors("the forecast"):
                return prediction(evidence, assembly, X).if_finite()
        except BeliefError:  # ``target_model`` raises it again, where a decision can say why
            return None

    def _predict_target(self, evidence: Evidence, assembly: Assembly, X: Array) -> Prediction:
        readings = _known(self, evidence, assembly.learned)
        joint = self._joint(assembly, readings)
        point = joint.at(as_tensor(self.actuation.achieved(X)))
        variance = joint.variance(point).numpy().T + assembly.next_noise(readings)
        mean = assembly.learned.scales.backward(point.mean.numpy().T)
        return Prediction(mean, assembly.learned.scales.slope(mean) * np.sqrt(variance))

    def unknowns(self, source: str) -> dict[str, tuple[float, ...]]:
        """Each member's value, for the simulator."""
        if source != self.simulator:
            return {}
        return {k: tuple(v) for k, v in zip(self.priors.names, self.unknown_samples().values.T.tolist(), strict=True)}

    def target_model(self, evidence: Evidence, responses: Sequence[int] | None = None) -> Model | None:
        """Of the noise-free responses; see ``target_model.ResponseModel``."""
        evidence = tamed(evidence)
        assembly = self._assembly(evidence)
        if assembly is None:
            return self._standing_in(evidence).target_model(evidence, responses)
        from .target_model import target_model

        joint = self._joint(assembly, _known(self, evidence, assembly.learned))
        wanted = range(len(evidence.responses)) if responses is None else responses
        return target_model(joint, wanted, scales=assembly.learned.scales, actuation=self.actuation)

    def influence(self, evidence: Evidence, source: str, X: Array, X_ref: Array) -> Array:
        """A reading moves all parts of the forecast, a run only the emulator's error."""
        evidence = tamed(evidence)
        assembly = self._assembly(evidence)
        if assembly is None:
            return self._standing_in(evidence).influence(evidence, source, X, X_ref)
        if source not in (evidence.target, self.simulator):
            return np.zeros((len(X), len(X_ref), len(evidence.responses)))
        readings = _known(self, evidence, assembly.learned)
        runs = assembly.emulator(self.Z).with_pending(evidence.pending_at(self.simulator))
        joint = assembly.joint(runs, readings)
        noise = as_tensor(assembly.next_noise(readings))
        reference = joint.at(as_tensor(self.actuation.achieved(X_ref)))
        pending = joint.at(as_tensor(self.actuation.achieved(evidence.pending_at(evidence.target))))
        if source == self.simulator:
            moved = simulated_influence(joint, joint.at(as_tensor(X)), reference, pending=pending, noise=noise)
        else:
            point = joint.at(as_tensor(self.actuation.achieved(X)))
            moved = target_influence(joint, point, reference, pending=pending, noise=noise)
        slope = assembly.learned.scales.slope(assembly.learned.scales.backward(reference.mean.numpy().T))  # (r, m)
        return np.asarray(moved.permute(1, 2, 0).numpy() * slope)

    def unknown_samples(self) -> UnknownSamples:
        """Today's members."""
        return UnknownSamples(self.priors.names, self.priors.to_physical(self.Z))

    def prior_samples(self) -> UnknownSamples:
        """The members before any reading."""
        return UnknownSamples(self.priors.names, self.priors.to_physical(self.prior_Z))

    def discrepancy_at(self, evidence: Evidence, X: Array) -> Prediction | None:
        """What is added to the simulator at requested settings X (n, c), in the units of the responses."""
        evidence = tamed(evidence)
        assembly = self._assembly(evidence)
        if assembly is None:
            return None
        joint = self._joint(assembly, _known(self, evidence, assembly.learned))
        point = joint.at(as_tensor(self.actuation.achieved(X)))
        added = joint.discrepancy(point)
        scales = assembly.learned.scales
        whole = scales.backward(point.mean.numpy().T)
        without = scales.backward((point.mean - added.mean).numpy().T)
        return Prediction(whole - without, scales.slope(whole) * added.sd.numpy().T)

    @property
    def Z(self) -> Array:  # noqa: N802 - the paper's letter
        """(N, p) members in standard deviations of the prior."""
        return np.array(self.members)

    @property
    def prior_Z(self) -> Array:  # noqa: N802
        """(N, p) those before any reading."""
        return self.priors.draw(len(self.members), seed=self.seed)

    def _assembly(self, evidence: Evidence) -> Assembly | None:
        """None while too little was simulated."""
        runs = Runs.of(evidence.of(self.simulator), len(self.priors.names))
        if self.learned is None or len(runs) < MIN_RUNS:
            return None
        return Assembly(runs, self.priors, self.learned, self.theta)

    def _joint(self, assembly: Assembly, readings: Readings) -> Joint:
        return assembly.joint(assembly.emulator(self.Z), readings)

    def _standing_in(self, evidence: Evidence) -> Surrogate:
        """Of the target alone: runs too few for the emulator are too few for a source's bias as well."""
        from .surrogate import Surrogate

        return self.stand_in or Surrogate(sources=(evidence.target,), instruments=(evidence.target,))

    def _predict_simulator(self, evidence: Evidence, assembly: Assembly, X: Array) -> Prediction:
        """The mean over members of a run at X, and the emulator's error."""
        del evidence
        emulated = assembly.emulator(self.Z)
        settings, scales = as_tensor(X), assembly.learned.scales
        answers = emulated.members(settings).permute(1, 2, 0).numpy()  # (n, N, m)
        mean = scales.backward(answers).mean(axis=1)
        variance = emulated.variance(settings) + emulated.noise.mean(-1, keepdim=True)
        return Prediction(mean, scales.slope(mean) * torch.sqrt(variance).numpy().T)


@dataclass(frozen=True)
class Hybrid(Ensemble):
    """The assimilated simulator with a discrepancy that readings teach."""

    kind: ClassVar[str] = "hybrid"
    expect: ClassVar[discrepancy.Expectation] = discrepancy.Expectation()


def _known(belief: Ensemble, evidence: Evidence, learned: Learned) -> Readings:
    """The readings that the members know."""
    rows = rows_of(evidence, belief.assimilated)
    return Readings.of(evidence.of(evidence.target), rows, learned.scales)


def _relearned(belief: B, evidence: Evidence, runs: Runs) -> B:
    """With the emulator's hyperparameters fitted to all runs, and the past readings weighed by it."""
    readings = evidence.of(evidence.target).Y
    learned = emulator.learn(runs.X, runs.members, belief.Z, readings, unknowns=belief.priors, last=belief.learned)
    theta = belief.theta or belief.expect.start(len(evidence.responses), evidence.space.n_columns)
    belief = replace(belief, learned=learned, theta=theta)
    if not belief.assimilated:
        return belief
    assembly = Assembly(runs, belief.priors, learned, theta)
    Z = take_all_in(assembly, belief.Z, belief.prior_Z, _known(belief, evidence, learned))
    return replace(belief, members=discrepancy.rows(Z))


def _corrected(belief: B, evidence: Evidence, assembly: Assembly, trial: int) -> B:
    """With one more reading."""
    observed = evidence.of(evidence.target)
    corrected = take_in(
        assembly,
        belief.Z,
        belief.prior_Z,
        past=_known(belief, evidence, assembly.learned),
        new=Readings.of(observed, [list(observed.trials).index(trial)], assembly.learned.scales),
        inflation=belief.inflation,
    )
    members, known = discrepancy.rows(corrected.Z), (*belief.assimilated, trial)
    return replace(belief, members=members, assimilated=known, inflation=corrected.inflation)


def _with_discrepancy(belief: B, evidence: Evidence, assembly: Assembly) -> B:
    """With its hyperparameters fitted to all readings."""
    if not belief.assimilated:
        return belief
    readings = _known(belief, evidence, assembly.learned)
    theta = learn_discrepancy(assembly, belief.Z, readings, expect=belief.expect)
    return replace(belief, theta=theta)


def _surrogate(dump: Mapping[str, Any] | None) -> Surrogate | None:
    if dump is None:
        return None
    from .surrogate import Surrogate

    return Surrogate.load(dump)


def _numbers(rows: Any) -> Numbers:
    return tuple(tuple(row) for row in rows)
