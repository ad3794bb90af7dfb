"""A designer of somebody else's: a generator of gest-api that names the target's settings, as a campaign declares it.

The campaign is handed to it as a VOCS; logarithmic parameters as their decimal logarithms, so that it sees the scale.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from .errors import CampaignError
from .parameters import Categorical, Continuous, Fixed, Ordinal
from .source_spec import Declared

if TYPE_CHECKING:
    from .aim import Way
    from .campaign import Campaign

NAME = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
SEED = "$seed"
INSTALL = "pip install 'closedloop[gest]'"


class Designer(Declared):
    """Where the generator's class is, and the arguments that it takes beside the VOCS.

    ``$seed`` as an argument stands for a seed of the decision, for a generator that has a random generator of its own:
    it is made anew at every decision, and would draw the same numbers each time.
    """

    generator: str = Field(max_length=300)
    settings: dict[str, Any] = Field(default_factory=dict)

    @field_validator("generator")
    @classmethod
    def _place(cls, place: str) -> str:
        import re

        if not re.match(NAME, place):
            raise ValueError("is no place of a class; write 'package.module:ClassName'")
        return place


def check_designer(c: Campaign) -> None:
    """Whether the declaration can be said as a VOCS; the generator itself is made by ``prepared``.

    Raises:
        ValueError: naming what a generator knows nothing of.
    """
    if c.designer is None:
        return
    unknown = {
        "goal.risk": c.goal.risk is not None,
        f"a goal to {c.goal.kind}": c.goal.kind in ("map", "prefer"),
        "mixtures": bool(c.mixtures),
        "candidates": c.candidates is not None,
        "equality constraints": bool(c.space.equalities),
        "parameters that are not always active (when)": any(getattr(p, "when", None) for p in c.parameters.values()),
    }
    for what, is_there in unknown.items():
        if is_there:
            raise ValueError(
                f"designer.generator = {c.designer.generator!r}: a generator knows nothing of {what}; leave that or "
                "the designer out"
            )
    if c.belief_kind == "climatology":
        raise ValueError(
            f"designer.generator = {c.designer.generator!r}: belief: climatology cannot say what its settings are "
            "worth; use another belief"
        )


def prepared(c: Campaign, *, seed: int = 0) -> Any:
    """A new generator for a campaign, told nothing yet.

    Raises:
        CampaignError: if gest-api or the class is not there, or if it does not take the campaign or the settings.
    """
    spec = c.designer
    if spec is None:
        raise CampaignError("designer: the campaign has none")
    cls, where = _class(spec.generator), f"designer.generator = {spec.generator!r}"
    fault: Exception | None = None
    for is_relaxed in (False, True):  # many know no discrete variables: then numbers between are rounded
        vocs = vocs_of(c, is_relaxed=is_relaxed)
        if vocs is None:
            continue
        try:
            settings = deepcopy(spec.settings)  # some take the dicts that they are given apart
            return cls(vocs=vocs, **{k: seed if v == SEED else v for k, v in settings.items()})
        except Exception as error:
            fault = fault or error
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    said = " ".join(lines[:3])[:300]
    raise CampaignError(f"{where}: does not take this campaign with settings {spec.settings}: {said}") from fault


def _class(place: str) -> Any:
    module, _, name = place.partition(":")
    where = f"designer.generator = {place!r}"
    try:
        base = import_module("gest_api.generator").Generator
    except ImportError as error:
        raise CampaignError(f"{where}: needs the package 'gest-api'; install it with: {INSTALL}") from error
    try:
        cls = getattr(import_module(module), name)
    except Exception as error:
        raise CampaignError(
            f"{where}: cannot be imported ({type(error).__name__}: {error}); install its package, or correct the name"
        ) from error
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        raise CampaignError(f"{where}: is no gest_api Generator; name a class that is one")
    if inspect.isabstract(cls):
        raise CampaignError(f"{where}: is an abstract class; name one that can be made")
    return cls


def vocs_of(c: Campaign, *, is_relaxed: bool = False) -> Any:
    """The campaign as a VOCS; ``is_relaxed``: numeric parameters with few values as continuous ones.

    Returns:
        None where nothing would be relaxed, or where a parameter cannot be.
    """
    kinds = import_module("gest_api.vocs")
    variables = {}
    is_other = False
    for name, p in c.parameters.items():
        if getattr(p, "n_columns", 0) == 0:
            continue
        if isinstance(p, Continuous):
            domain = [_seen(p, p.low), _seen(p, p.high)]
            kind = kinds.ContextualVariable if p.context else kinds.ContinuousVariable
            variables[name] = kind(domain=domain)
        elif is_relaxed and not isinstance(p, Categorical) and _numbers(p):
            is_other = True
            variables[name] = kinds.ContinuousVariable(domain=[float(min(_numbers(p))), float(max(_numbers(p)))])
        elif is_relaxed:
            return None
        else:
            variables[name] = kinds.DiscreteVariable(values=set(_values(p)))
    if is_relaxed and not is_other:
        return None
    constants = {n: p.value for n, p in c.parameters.items() if isinstance(p, Fixed)}
    objectives = dict.fromkeys(c.goal.wanted, "EXPLORE") if c.goal.kind == "learn" else {}
    objectives |= {name: "MAXIMIZE" if way == "maximize" else "MINIMIZE" for name, way in _aims(c)}
    constraints = {f"margin_{k}": ["GREATER_THAN", 0.0] for k in range(len(c.goal.constraints))}
    return kinds.VOCS(variables=variables, objectives=objectives, constraints=constraints, constants=constants)


def as_result(c: Campaign, setting: Mapping[str, Any], values: Mapping[str, float]) -> dict[str, Any] | None:
    """A reading as the generator is told of it; None where the goal has no value there."""
    row: dict[str, Any] = {n: _seen(c.parameters[n], setting[n]) for n in c.space.varied if n in setting}
    row |= {n: p.value for n, p in c.parameters.items() if isinstance(p, Fixed)}
    try:
        for (name, _), aim in zip(_aims(c), c.goal.aims, strict=True):
            row[name] = float(aim.in_words(aim.objective(values)))
        for k, margin in enumerate(c.goal.margins(values)):
            row[f"margin_{k}"] = float(margin)
    except (ArithmeticError, ValueError, TypeError):
        return None
    row |= {name: float(values[name]) for name in c.goal.wanted}
    return row if all(math.isfinite(x) for x in row.values() if isinstance(x, float)) else None


def as_setting(c: Campaign, point: Mapping[str, Any]) -> dict[str, Any]:
    """The setting that a generator names; contexts are not its to say.

    Raises:
        CampaignError: if it lacks a parameter, or gives a number that is none.
    """
    found = {}
    for name, p in c.space.varied.items():
        if getattr(p, "context", False):
            continue
        if name not in point:
            raise CampaignError(f"it lacks {name!r}")
        x = point[name]
        x = x.item() if getattr(x, "shape", None) == () or hasattr(x, "item") else x
        found[name] = _meant(p, name, x)
    return found


def _meant(p: Any, name: str, x: Any) -> Any:
    if isinstance(p, Categorical) or (isinstance(p, Ordinal) and not _numbers(p)):
        return x
    if isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x):
        raise CampaignError(f"{name} = {x!r} is no finite number")
    if not isinstance(p, Continuous):
        near = min(_numbers(p), key=lambda v: abs(v - x))
        low, high = min(_numbers(p)), max(_numbers(p))
        return near if low <= x <= high else x  # what lies outside is refused by the space, in words
    y = 10.0**x if p.scale == "log" else float(x)
    width = 1e-9 * (p.high - p.low)
    return min(max(y, p.low), p.high) if p.low - width <= y <= p.high + width else y


def _seen(p: Any, x: Any) -> Any:
    """A value as the generator sees it."""
    if isinstance(p, Continuous):
        return math.log10(max(float(x), 1e-300)) if p.scale == "log" else float(x)
    return x


def _values(p: Any) -> list[Any]:
    if isinstance(p, Categorical):
        return list(p.choices)
    if isinstance(p, Ordinal):
        return list(p.levels)
    return [p.decode([k / (p.n_values - 1)]) for k in range(p.n_values)]


def _numbers(p: Any) -> list[float]:
    """The values of a parameter whose values are numbers; none otherwise."""
    values = _values(p)
    return values if all(isinstance(v, int | float) for v in values) else []


def _aims(c: Campaign) -> list[tuple[str, Way]]:
    """The objectives' names and ways: a response's own name where the aim is one response as it is."""
    found = []
    for k, aim in enumerate(c.goal.aims):
        is_response = aim.text.strip() in c.responses and aim.way in ("maximize", "minimize")
        found.append((aim.text.strip() if is_response else f"objective_{k}", aim.way))
    return found
