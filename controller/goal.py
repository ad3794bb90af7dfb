"""What the scientist wants: to optimise one expression or several, to learn a response, to map a region, to please."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .aim import Aim
from .expressions import Constraint, Expression
from .records import Finite

Kind = Literal["optimise", "trade_off", "learn", "map", "prefer"]
Names = str | tuple[str, ...] | None
LISTS = ("maximize", "minimize", "learn", "map", "prefer")
MAX_OBJECTIVES = 6  # the boxes that a front leaves free grow beyond count


class Risk(BaseModel):
    """How the objective of a setting is judged when the setting itself is noisy.

    ``over`` gives the standard deviation of each parameter's noise in the parameter's own unit. ``cvar`` is the mean
    over the worst share 1 - level, ``quantile`` what is kept with probability level, ``worst`` the worst case within
    two standard deviations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Literal["cvar", "quantile", "worst"] = "cvar"
    level: Annotated[Finite, Field(ge=0.5, le=0.99)] = 0.9
    over: dict[str, Annotated[Finite, Field(gt=0)]] = Field(min_length=1)

    @property
    def words(self) -> str:
        """As in ``90 % CVaR under noise of temperature 2``."""
        measure = {"cvar": "mean of the worst", "quantile": "quantile that holds for", "worst": "worst case"}
        share = {"cvar": f" {100 * (1 - self.level):g} %", "quantile": f" {100 * self.level:g} %", "worst": ""}
        noise = ", ".join(f"{name} ± {sd:g}" for name, sd in self.over.items())
        return f"{measure[self.measure]}{share[self.measure]} under {noise}"


class Goal(BaseModel):
    """What is wanted: one of five kinds.

    ``maximize``, ``minimize`` and ``target`` (with ``value`` or ``range``) name expressions over responses; more than
    one of them make a trade-off, of which the Pareto front is looked for. ``learn`` names responses to be known
    everywhere, ``map`` conditions whose region is to be known, ``prefer`` responses of which a person says what is
    liked. ``subject_to`` are outcome constraints such as ``"byproduct <= 5"``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    maximize: Names = None
    minimize: Names = None
    target: str | None = None
    value: Finite | None = None
    range: tuple[Finite, Finite] | None = None
    subject_to: tuple[str, ...] = ()
    thresholds: dict[str, Finite] = {}
    learn: Names = None
    map: Names = None
    prefer: Names = None
    risk: Risk | None = None

    @field_validator("subject_to", mode="before")
    @classmethod
    def _one_constraint(cls, declared: Any) -> Any:
        return [declared] if isinstance(declared, str) else declared

    @field_validator(*LISTS, mode="before")
    @classmethod
    def _texts(cls, declared: Any) -> Any:
        """A text stands for itself, and so does a list of one."""
        if not isinstance(declared, list | tuple):
            if declared is None or isinstance(declared, str):
                return declared
            raise ValueError(f"{str(declared)[:80]!r} is neither an expression nor a list of them; write [a, b]")
        if not declared or not all(isinstance(text, str) for text in declared):
            raise ValueError(f"{list(declared)!r} must be a list of expressions, such as [yield, purity]")
        return declared[0] if len(declared) == 1 else tuple(declared)

    @field_validator("range", mode="before")
    @classmethod
    def _two_ends(cls, declared: Any) -> Any:
        if declared is None or (isinstance(declared, list | tuple) and len(declared) == 2):
            return declared
        raise ValueError(f"{declared!r} is no range; write both ends, such as [6.8, 7.2]")

    @model_validator(mode="after")
    def _whole(self) -> Goal:
        optimises = any(getattr(self, k) is not None for k in ("maximize", "minimize", "target"))
        kinds = [k for k in ("learn", "map", "prefer") if getattr(self, k) is not None]
        if optimises + len(kinds) != 1:
            found = [*(["maximize, minimize or target"] if optimises else []), *kinds]
            raise ValueError(
                "a goal has exactly one of maximize/minimize/target (several of these make a trade-off), learn, map "
                f"and prefer, not {' and '.join(found) or 'none'}"
            )
        if (self.target is None) != (self.value is None and self.range is None):
            raise ValueError(
                "target and value go together, or target and range: {target: ph, value: 7.0} or "
                "{target: ph, range: [6.8, 7.2]}"
            )
        if self.value is not None and self.range is not None:
            raise ValueError(f"value {self.value:g} and range {list(self.range)} are two aims for one target; keep one")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range {list(self.range)}: its low end must be below its high end")
        self._check_options()
        _ = self.names  # parsed at birth
        return self

    def _check_options(self) -> None:
        """Keys that belong to some kinds of goals only."""
        if strange := sorted(set(self.thresholds) - {a.text for a in self.aims}):
            known = ", ".join(a.text for a in self.aims) or "none"
            raise ValueError(f"thresholds.{strange[0]}: is no objective of this goal; its objectives: {known}")
        if self.thresholds and self.kind != "trade_off":
            raise ValueError(
                f"thresholds {self.thresholds}: belong to a trade-off of several objectives; for one write "
                "subject_to: ['...']"
            )
        if self.kind in ("learn", "map") and self.subject_to:
            raise ValueError(
                f"subject_to {list(self.subject_to)}: has no meaning for a goal to {self.kind}; "
                + ("add the conditions to map" if self.kind == "map" else "leave it out")
            )
        if self.risk is not None and self.kind != "optimise":
            raise ValueError("risk: is for a goal with one of maximize, minimize and target; leave it out")
        if len(self.aims) > MAX_OBJECTIVES:
            raise ValueError(
                f"{len(self.aims)} objectives are more than {MAX_OBJECTIVES}; join some in one expression, like a + b"
            )

    @cached_property
    def aims(self) -> tuple[Aim, ...]:
        """The objectives; none where the goal is to learn, to map or to please."""
        found = [Aim("maximize", text) for text in _texts(self.maximize)]
        found += [Aim("minimize", text) for text in _texts(self.minimize)]
        if self.target is not None:
            found.append(Aim("target" if self.range is None else "range", self.target, self.value, self.range))
        return tuple(found)

    @cached_property
    def kind(self) -> Kind:
        """Which of the five it is."""
        for kind in ("learn", "map", "prefer"):
            if getattr(self, kind) is not None:
                return kind
        return "optimise" if len(self.aims) == 1 else "trade_off"

    @property
    def aim(self) -> Aim:
        """The one objective."""
        (aim,) = self.aims
        return aim

    @property
    def expression(self) -> Expression:
        """What is maximised, minimised or driven to the value."""
        return self.aim.expression

    @cached_property
    def conditions(self) -> tuple[Constraint, ...]:
        """What holds in the region that is to be mapped."""
        return tuple(Constraint(text) for text in _texts(self.map))

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """The responses to be learned, or of which a person says what is liked."""
        return _texts(self.learn) or _texts(self.prefer)

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """The outcome constraints."""
        return tuple(Constraint(text) for text in self.subject_to)

    @cached_property
    def names(self) -> frozenset[str]:
        """The responses that it uses."""
        parsed: list[Expression | Constraint] = [a.expression for a in self.aims]
        parsed += [*self.conditions, *self.constraints]
        return frozenset(self.wanted).union(*(p.names for p in parsed))

    def objective(self, values: Mapping[str, Any], *, lib: Any = math) -> Any:
        """The one quantity to be maximised: the expression, its negative, or minus the distance to what is wanted."""
        return self.aim.objective(values, lib=lib)

    def objectives(self, values: Mapping[str, Any], *, lib: Any = math) -> list[Any]:
        """The same of each aim."""
        return [aim.objective(values, lib=lib) for aim in self.aims]

    def in_words(self, objective: float) -> float:
        """The objective as the scientist reads it: the expression's own value, or the distance to the target."""
        return self.aim.in_words(objective)

    def margins(self, values: Mapping[str, Any], *, lib: Any = math) -> list[Any]:
        """Each outcome constraint's margin, >= 0 where it holds."""
        return [c.margin(values, lib=lib) for c in self.constraints]

    def is_feasible(self, values: Mapping[str, float]) -> bool:
        """Whether one reading keeps every outcome constraint."""
        return all(m >= 0 for m in self.margins(values))

    @property
    def words(self) -> str:
        """In one line, such as ``maximize yield, minimize cost subject to byproduct <= 5``."""
        match self.kind:
            case "learn":
                text = f"learn {', '.join(self.wanted)} everywhere"
            case "map":
                text = f"map where {' and '.join(_texts(self.map))}"
            case "prefer":
                text = f"find the {', '.join(self.wanted)} that is liked best"
            case _:
                text = ", ".join(a.words for a in self.aims)
        risk = f", {self.risk.words}" if self.risk else ""
        return text + risk + (f" subject to {', '.join(self.subject_to)}" if self.subject_to else "")


def _texts(declared: Names) -> tuple[str, ...]:
    return () if declared is None else (declared,) if isinstance(declared, str) else declared
