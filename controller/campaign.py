"""The campaign: what may be set, what is measured, who can answer, what is wanted, what may be spent.

Validated whole, at birth; it round-trips through a dict, JSON and YAML exactly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from .candidate_table import Candidates
from .declared_space import functions_in, in_full, space_of
from .designer import Designer
from .errors import CampaignError
from .explain import explain
from .expressions import Constraint
from .goal import Goal, Risk
from .method import Method
from .mixtures import Mixture
from .parameters import PARAMETER_KINDS, Parameter
from .predicates import Allows, Predicate
from .rules import Approval, GuardRules, Interlock, OnFailure, OnUnknown
from .source import Binding, Source, find_source
from .source_spec import Declared, Response, SourceSpec, amount_of, without_truth_values
from .space import Space
from .stop import StopText
from .units import is_trusted, to_seconds, trusted
from .warm_start import WarmStart

BeliefKind = Literal["climatology", "surrogate", "ensemble", "hybrid"]


class Campaign(Declared):
    """A campaign, from Python, a dict, JSON or a file.

    Args and keys: see the README and ``closedloop schema``.

    Raises:
        CampaignError: at birth, naming the key, the value, the rule and the remedy.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63)
    parameters: dict[str, Parameter] = Field(min_length=1)
    constraints: tuple[str, ...] = ()
    mixtures: dict[str, Mixture] = Field(default={})
    candidates: Candidates | None = None  # the only settings that may be proposed
    predicates: tuple[str, ...] = ()  # where the user's own constraints are; ``constraints`` may hold them too
    responses: dict[str, Response] = Field(min_length=1)
    sources: dict[str, SourceSpec] = Field(min_length=1)
    goal: Goal
    budget: dict[str, float | str] = Field(min_length=1)
    stop: StopText | None = None  # rules beside the budget, such as 'target_reached(60) | converged(15)'
    designer: Designer | None = None  # a generator of somebody else's that names the target's settings; None: ours
    method: Method = Method()  # of how decisions are made: what is settled here is not chosen
    belief: BeliefKind | None = None  # None: chosen from what the sources offer
    n_initial: int | None = Field(default=None, ge=1)  # measurements before the belief decides
    n_members: int = Field(default=64, ge=8, le=4096)  # of the ensemble
    guard: GuardRules = GuardRules()  # of every source that has none of its own

    warm_start: dict[str, WarmStart] = Field(default={})  # earlier campaigns that are recalled, by a name for each

    _classes: dict[str, type[Source]] = PrivateAttr(default_factory=dict)
    _functions: dict[str, Allows] = PrivateAttr(default_factory=dict)  # of predicates, by where they are
    _folder: Path | None = PrivateAttr(default=None)
    _is_of_ledger: bool = PrivateAttr(default_factory=is_trusted)

    def __init__(self, **declared: Any) -> None:
        sources = declared.get("sources")
        try:
            super().__init__(**in_full(declared))
        except ValidationError as error:
            raise explain(error, _keys_of) from None
        except RecursionError:
            raise CampaignError("the campaign is nested too deeply; flatten it") from None
        self._classes.update(_classes_in(sources))
        if functions := functions_in(declared):
            self.with_functions(functions)

    @classmethod
    def trusted(cls, declared: Mapping[str, Any]) -> Campaign:
        """From the ledger, where it was checked before: units are not looked up again."""
        with trusted():
            return cls(**declared)

    @field_validator("responses", mode="before")
    @classmethod
    def _names_of_responses(cls, declared: Any) -> Any:
        """``[yield, byproduct]`` stands for responses without a unit."""
        if isinstance(declared, str):
            declared = [declared]
        if isinstance(declared, list | tuple):
            if len(set(map(str, declared))) != len(declared):
                raise ValueError(f"responses {declared} repeat a name; name each once")
            return {str(name): {} for name in declared}
        return {k: {} if v is None else v for k, v in declared.items()} if isinstance(declared, dict) else declared

    @field_validator("budget", mode="before")
    @classmethod
    def _no_truth_values(cls, declared: Any) -> Any:
        return without_truth_values(declared)

    @model_validator(mode="after")
    def _fits(self) -> Campaign:
        from .check import check_campaign  # the rules that look at more than one key

        check_campaign(self)
        return self

    @cached_property
    def space(self) -> Space:
        """Parameters and all that settings must keep."""
        predicates = [Predicate(t, self._folder, self._functions.get(t)) for t in self.predicates]
        return space_of(
            self.parameters,
            self.constraints,
            mixtures=self.mixtures,
            candidates=self.candidates,
            predicates=predicates,
        )

    @cached_property
    def spaces(self) -> dict[str, Space]:
        """By source: the space, less what its guard forbids; the same cube for all."""
        return {name: self._less(self.guard_of(name)) for name in self.sources}

    def guard_of(self, source: str) -> GuardRules:
        """The rules that hold for a source: its own, else the campaign's."""
        own = self.sources[source].guard
        return self.guard if own is None else own

    def _less(self, rules: GuardRules) -> Space:
        if not rules.limits and not rules.forbidden:
            return self.space
        return self.space.within(rules.limits, tuple(Constraint(text) for text in rules.forbidden))

    @cached_property
    def budget_amounts(self) -> dict[str, float]:
        """The budget, time in seconds."""
        return {name: amount_of(name, amount) for name, amount in self.budget.items()}

    def cost_of(self, source: str) -> dict[str, float]:
        """What one trial of a source is declared to cost, time in seconds; every trial is one of ``trials``."""
        spec = self.sources[source]
        return {"trials": 1.0, **{name: amount_of(name, amount) for name, amount in (spec.cost or {}).items()}}

    def n_affordable(self, source: str) -> int:
        """How many trials of a source the whole budget holds, at the declared cost."""
        cost = self.cost_of(source)
        return int(min((b / cost[r] for r, b in self.budget_amounts.items() if cost.get(r, 0.0) > 0), default=10**9))

    @property
    def instruments(self) -> tuple[str, ...]:
        """Names of the sources that act on the world."""
        return tuple(n for n, s in self.sources.items() if s.kind == "instrument")

    @property
    def simulators(self) -> tuple[str, ...]:
        """Names of the sources that can be run again."""
        return tuple(n for n, s in self.sources.items() if s.kind == "simulator")

    @property
    def target(self) -> str:
        """The source at which the goal is to be reached: the first instrument, else the first source."""
        return (self.instruments or tuple(self.sources))[0]

    @property
    def mechanistic(self) -> str | None:
        """The simulator whose unknowns are corrected by readings, if there is one."""
        return next((n for n in self.simulators if self.sources[n].unknowns), None)

    @cached_property
    def belief_kind(self) -> BeliefKind:
        """The belief: as declared, else hybrid for an instrument and a simulator with unknowns, else surrogate."""
        if self.belief is not None:
            return self.belief
        is_pair = self.mechanistic is not None and set(self.sources) == {self.target, self.mechanistic}
        return "hybrid" if is_pair and self.instruments else "surrogate"

    def is_repeatable(self, source: str) -> bool:
        """Whether a trial of it may be carried out twice."""
        spec = self.sources[source]
        return spec.kind == "simulator" if spec.repeatable is None else spec.repeatable

    def on_unknown(self, source: str) -> OnUnknown:
        """What becomes of a trial in doubt of which the driver knows nothing."""
        return self.sources[source].on_unknown or ("rerun" if self.is_repeatable(source) else "ask")

    def n_slots(self, source: str) -> int:
        """How many trials of a source may run at once."""
        return self.sources[source].replicas

    def bind(self) -> dict[str, Binding]:
        """The sources with their classes; imports the users' code.

        Raises:
            CampaignError: if a class is not found or is of the other kind.
        """
        return {name: self._bind(name, spec) for name, spec in self.sources.items()}

    def _bind(self, name: str, spec: SourceSpec) -> Binding:
        cls = self._classes.get(name) or find_source(spec.target, folder=self._folder)
        if cls.kind != spec.kind:
            raise CampaignError(
                f"sources.{name}: {spec.target} is of kind {cls.kind}; write '{cls.kind}: {spec.target}'"
            )
        self._classes[name] = cls
        timeout = spec.timeout if spec.timeout is not None else cls.timeout
        return Binding(
            name=name,
            cls=cls,
            settings=spec.settings,
            n_slots=spec.replicas,
            timeout=None if timeout is None else to_seconds(timeout),
            resources=spec.resources,
            responses=tuple(self.responses),
            space=self.space.bare,
            is_repeatable=self.is_repeatable(name) if spec.repeatable is not None else cls.is_repeatable,
            on_failure=spec.on_failure,
            guard=self.guard_of(name),
            needs_make_safe=spec.needs_make_safe,
            device=spec.device,
        )

    def resolve(self) -> Campaign:
        """The campaign with what its classes say filled in, so that a ledger needs no code to be read.

        Raises:
            CampaignError: as ``bind``; or if a source does not know a parameter or an unknown.
        """
        from .check import check_source
        from .designer import prepared

        if self.designer is not None:
            prepared(self)
        specs = {}
        self._functions.update({p.target: p.function or p.load() for p in self.space.predicates})
        for name, binding in self.bind().items():
            spec = self.sources[name]
            check_source(self, name, binding.cls)
            cost = dict(spec.cost if spec.cost is not None else binding.cls.cost)
            filled = {"cost": cost, "timeout": binding.timeout, "repeatable": binding.is_repeatable}
            specs[name] = {**spec.model_dump(), **filled}
        declared = {**self.to_dict(), "sources": specs}
        resolved = Campaign.trusted(declared) if self.is_of_ledger else Campaign(**declared)
        return resolved.with_sources(self._classes, folder=self._folder).with_functions(self._functions)

    @property
    def folder(self) -> Path | None:
        """Where relative paths of sources start, if the campaign came from a file."""
        return self._folder

    @property
    def is_of_ledger(self) -> bool:
        """Whether it stands in a ledger, begun perhaps when a rule was not there that a new one must keep."""
        return self._is_of_ledger

    def with_sources(self, classes: Mapping[str, type[Source]], *, folder: Path | None = None) -> Campaign:
        """The same campaign, told which classes its sources are and where relative paths start."""
        self._classes.update(classes)
        self._folder = folder if folder is not None else self._folder
        self._forget_spaces()
        return self

    def with_functions(self, functions: Mapping[str, Allows]) -> Campaign:
        """The same campaign, told what its predicates are; those that are known must leave settings."""
        from .check_space import check_feasible

        self._functions.update(functions)
        self._forget_spaces()
        if functions and self.predicates:
            try:
                check_feasible(self)
            except ValueError as error:
                raise CampaignError(str(error)) from None
        return self

    def _forget_spaces(self) -> None:
        for name in ("space", "spaces") if self.predicates else ():
            self.__dict__.pop(name, None)

    def standing_for(self, other: Campaign) -> Campaign:
        """The other declaration with this one's classes and folder: an amendment changes no code."""
        other._functions.update(self._functions)
        return other.with_sources(self._classes, folder=self._folder)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: ``Campaign(**c.to_dict()) == c``."""
        return json.loads(self.model_dump_json(exclude_defaults=False))  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Campaign) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the declaration."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def _classes_in(sources: Any) -> dict[str, type[Source]]:
    """The classes that stand in a declaration, by the name of their source."""
    found: dict[str, type[Source]] = {}
    for name, declared in sources.items() if isinstance(sources, dict) else ():
        options = declared.values() if isinstance(declared, dict) else (declared,)
        found.update((name, o) for o in options if isinstance(o, type) and issubclass(o, Source))
    return found


def _keys_of(path: tuple[str | int, ...]) -> list[str]:
    """The keys that are allowed at a place of the declaration."""
    models: dict[str, tuple[type[BaseModel], ...]] = {
        "": (Campaign,),
        "parameters": tuple(PARAMETER_KINDS.values()),
        "responses": (Response,),
        "sources": (SourceSpec,),
        "goal": (Goal,),
        "mixtures": (Mixture,),
        "designer": (Designer,),
        "method": (Method,),
        "warm_start": (WarmStart,),
    }
    if "unknowns" in path:
        return ["normal", "lognormal"]
    nested: dict[str, type[BaseModel]] = {
        "guard": GuardRules,
        "interlocks": Interlock,
        "approval": Approval,
        "on_failure": OnFailure,
        "risk": Risk,
    }
    inner = [nested[str(part)] for part in path if part in nested]
    if inner:
        return sorted(inner[-1].model_fields)
    return sorted({k for m in models.get(str(path[0]) if path else "", ()) for k in m.model_fields if k != "n_columns"})
