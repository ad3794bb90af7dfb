"""What a ledger's declaration says, as far as a reader needs it.

It was checked before it was written, so here it is only read: no unit is looked up, and no constraint is worked out
but those of a declaration that was amended. With that neither pint nor, mostly, NumPy is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..aim import Aim
from ..errors import CampaignError, LedgerError
from ..goal import Goal
from ..records import Amended, AnyEvent, Started
from ..space import Space

SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_DURATION = re.compile(r"\s*([0-9.eE+-]+)\s*([a-z]*)\s*")


@dataclass(frozen=True)
class DeclaredSource:
    """One source."""

    kind: str  # instrument or simulator
    code: str  # where its class is
    cost: dict[str, float]  # of a trial, time in seconds
    n_slots: int
    unknowns: dict[str, Any]
    people: tuple[str, ...] = ()  # who may approve its trials; empty: anybody


@dataclass(frozen=True)
class Declaration:
    """A campaign as its ledger has it; units by name."""

    name: str
    description: str
    goal: Goal
    parameters: dict[str, str]
    responses: dict[str, str]
    sources: dict[str, DeclaredSource]
    budget: dict[str, float]
    belief: str
    raw: Mapping[str, Any] = field(repr=False)
    is_amended: bool = False  # so that what was measured may lie outside its space

    @classmethod
    def of(cls, raw: Mapping[str, Any], *, is_amended: bool = False) -> Declaration:
        """From the event ``started``, or ``amended``.

        Raises:
            LedgerError: if it holds a name that no campaign can have, so that it was not written by closedloop.
        """
        _check_names(raw)
        sources = {name: _source(s) for name, s in raw["sources"].items()}
        return cls(
            name=raw["name"],
            description=raw.get("description", ""),
            goal=Goal(**raw["goal"]),
            parameters={k: v.get("unit", "") for k, v in raw["parameters"].items()},
            responses={k: v.get("unit", "") for k, v in raw["responses"].items()},
            sources=sources,
            budget=_amounts(raw["budget"]),
            belief=raw.get("belief") or _usual_belief(sources),
            raw=raw,
            is_amended=is_amended,
        )

    def has(self, setting: Mapping[str, Any]) -> bool:
        """Whether a setting that was proposed lies in the space, as it was amended."""
        if not self.is_amended or self._space is None:
            return True
        try:
            self._space.check(setting)
        except CampaignError:
            return False
        return True

    @cached_property
    def _space(self) -> Space | None:
        """None where this closedloop cannot read it."""
        from pydantic import TypeAdapter

        from ..candidate_table import Candidates
        from ..declared_space import space_of
        from ..mixtures import Mixture
        from ..parameters import Parameter
        from ..units import trusted

        try:
            with trusted():
                parameters = TypeAdapter(dict[str, Parameter]).validate_python(self.raw["parameters"])
            mixtures = {k: Mixture(**m) for k, m in (self.raw.get("mixtures") or {}).items()}
            table = self.raw.get("candidates")
            candidates = None if table is None else Candidates(**table)
            return space_of(parameters, self.raw.get("constraints", ()), mixtures=mixtures, candidates=candidates)
        except ValueError:
            return None

    @cached_property
    def instruments(self) -> frozenset[str]:
        """Names of the sources that act on the world."""
        return frozenset(n for n, s in self.sources.items() if s.kind == "instrument")

    @cached_property
    def target(self) -> str:
        """The source at which the goal is to be reached."""
        return next((n for n in self.sources if n in self.instruments), next(iter(self.sources)))

    @cached_property
    def objective_unit(self) -> str:
        """The unit of the goal's one expression, known where it is one response."""
        return self.unit_of(self.goal.aim) if self.goal.kind == "optimise" else ""

    def unit_of(self, aim: Aim) -> str:
        """The unit of an objective, known where it is one response."""
        return self.responses.get(aim.text.strip(), "")

    @cached_property
    def stop_words(self) -> str:
        """When it is to stop beside its budget; empty where nothing is declared."""
        from ..stop import Stop

        text = self.raw.get("stop")
        return Stop(text).words() if text else ""

    @cached_property
    def main_resource(self) -> str:
        """The resource that a course is drawn against: the first of the budget that is more than a count."""
        return next((r for r in self.budget if r != "trials"), next(iter(self.budget)))


def declaration_of(event: AnyEvent) -> Declaration:
    """The declaration that an event holds.

    Raises:
        LedgerError: if it holds none.
    """
    if not isinstance(event, Started | Amended):
        raise LedgerError(f"event {event.seq} is {event.kind!r} and holds no declaration; run 'closedloop verify'")
    return Declaration.of(event.campaign, is_amended=isinstance(event, Amended))


def _check_names(raw: Mapping[str, Any]) -> None:
    names = [raw["name"], *raw["parameters"], *raw["responses"], *raw["sources"]]
    if strange := [name for name in names if not _NAME.fullmatch(name)]:
        raise LedgerError(
            f"the ledger names something {strange[0]!r}, as no campaign can: letters, digits and _ . - only; it was "
            "not written by closedloop, or was altered: take it from a backup"
        )


def _source(declared: Mapping[str, Any]) -> DeclaredSource:
    return DeclaredSource(
        kind="instrument" if declared.get("instrument") else "simulator",
        code=declared.get("instrument") or declared.get("simulator") or "",
        cost={"trials": 1.0, **_amounts(declared.get("cost") or {})},
        n_slots=declared.get("replicas", 1),
        unknowns=declared.get("unknowns") or {},
        people=tuple((declared.get("approval") or {}).get("people") or ()),
    )


def _amounts(declared: Mapping[str, Any]) -> dict[str, float]:
    return {k: _seconds(v) if isinstance(v, str) else float(v) for k, v in declared.items()}


def _seconds(text: str) -> float:
    """A duration; what the small table does not know is asked of pint."""
    found = _DURATION.fullmatch(text)
    if found and (found[2] or "s") in SECONDS:
        try:
            return float(found[1]) * SECONDS[found[2] or "s"]
        except ValueError:
            pass
    from ..units import to_seconds

    return to_seconds(text)


def _usual_belief(sources: Mapping[str, DeclaredSource]) -> str:
    is_mechanistic = any(s.unknowns for s in sources.values() if s.kind == "simulator")
    return "hybrid" if is_mechanistic and any(s.kind == "instrument" for s in sources.values()) else "surrogate"
