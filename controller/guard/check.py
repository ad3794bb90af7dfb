"""The guard's rules, checked beside the device for every command, whatever the mind says.

Laws:
    * What has no finite margin is refused: a rule that cannot be worked out never lets a command through.
    * Steps and rates are counted from wherever the device may be: the last *commanded* setting, and those before it
      as long as nothing confirmed that it was reached. Before the first command only limits apply.
    * An interlock holds until it is armed again; silence, a missing name and NaN count as tripped.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ..errors import CampaignError
from ..expressions import Constraint
from ..records import Setting
from ..rules import GuardRules, Interlock

SLACK = 1e-9  # of a step or rate, relative: 0.4 - 0.3 is a step of 0.1


@dataclass(frozen=True)
class Refusal:
    """Why a setting is not commanded."""

    rule: str  # which of the rules, e.g. "limits.temperature"; "guard" where the rules themselves are wrong
    reason: str
    wait_s: float | None = None  # after that long it may pass; None: waiting does not help


@dataclass(frozen=True)
class _Last:
    setting: Setting
    at_s: float
    doubted: tuple[Setting, ...] = ()


class Guard:
    """The rules of one source, and its memory of what was commanded last.

    Args:
        rules: as the campaign says.
        name: of the source, for messages.
    """

    def __init__(self, rules: GuardRules, *, name: str) -> None:
        self.rules = rules
        self._name = name
        self._forbidden = tuple(Constraint(text) for text in rules.forbidden)
        self._last: _Last | None = None

    def check_names(self, parameters: Iterable[str]) -> None:
        """Refuse rules that speak of something else than these parameters.

        Raises:
            CampaignError: naming the rule, and the parameter that may be meant.
        """
        known = sorted(parameters)
        for where, name in self._names():
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
                raise CampaignError(f"guard.{where} of {self._name!r}: {name!r} is no parameter; {hint}")

    def refusal(self, setting: Setting, *, now_s: float) -> Refusal | None:
        """The first rule that a setting breaks, were it commanded now; None: it may be commanded."""
        found = (self._not_finite, self._beyond_limits, self._forbidden_here)
        for refusals in (*(f(setting) for f in found), self._too_far(setting), self._too_fast(setting, now_s)):
            for refusal in refusals:
                return refusal
        return None

    def commanded(self, setting: Setting, now_s: float, *, doubted: tuple[Setting, ...] | None = None) -> None:
        """Remember what is commanded, from when on; until ``reached`` the device may also be where it was."""
        before = () if self._last is None else (self._last.setting, *self._last.doubted)
        self._last = _Last(dict(setting), now_s, before if doubted is None else doubted)

    @property
    def last(self) -> Setting | None:
        """What was commanded last."""
        return None if self._last is None else self._last.setting

    @property
    def places(self) -> tuple[Setting, ...]:
        """Where the device may be: what was commanded last, then what may hold instead; empty before the first."""
        return () if self._last is None else (self._last.setting, *self._last.doubted)

    def reached(self) -> None:
        """What was commanded last is where the device is."""
        if self._last is not None:
            self._last = _Last(self._last.setting, self._last.at_s)

    def tripped(self, readings: Mapping[str, Any] | None) -> str:
        """Why interlocks trip at these live readings; empty: none does."""
        return "; ".join(trips(self.rules, readings).values())

    def _names(self) -> Iterator[tuple[str, str]]:
        for part in ("limits", "max_step", "max_rate", "safe_setting"):
            yield from ((part, name) for name in getattr(self.rules, part))
        for constraint in self._forbidden:
            yield from ((f"forbidden {constraint.text!r}", name) for name in sorted(constraint.names))

    def _not_finite(self, setting: Setting) -> Iterator[Refusal]:
        for name, value in setting.items():
            if not isinstance(value, str) and not math.isfinite(_number(value)):
                yield Refusal("finite", f"{name}={_text(value)} is not a finite number and is never sent; correct it")

    def _beyond_limits(self, setting: Setting) -> Iterator[Refusal]:
        for name, (low, high) in self.rules.limits.items():
            where = f"limits.{name}"
            x = _number(setting.get(name))
            if math.isnan(x):
                yield self._wrong(where, name, setting)
            elif x > high:
                yield self._broken(where, f"{name}={_text(x)} is above {self._limit(high)}; lower it")
            elif x < low:
                yield self._broken(where, f"{name}={_text(x)} is below {self._limit(low)}; raise it")

    def _forbidden_here(self, setting: Setting) -> Iterator[Refusal]:
        for constraint in self._forbidden:
            where = f"forbidden.{constraint.text}"
            margin, why = _margin(constraint, setting)
            if why:
                words = f"guard.forbidden {constraint.text!r} of {self._name!r} cannot be worked out ({why})"
                yield Refusal("guard", f"{words}, so nothing is commanded; correct that rule")
            elif margin >= 0:
                shown = ", ".join(f"{n}={_text(setting[n])}" for n in sorted(constraint.names))
                words = f"{shown} lies where {constraint.text!r} holds, which the guard of {self._name!r} forbids"
                yield Refusal(where, f"{words}; leave that region, or change guard.forbidden")

    def _too_far(self, setting: Setting) -> Iterator[Refusal]:
        for name, most in self.rules.max_step.items():
            where = f"max_step.{name}"
            step = self._step(name, setting)
            if math.isnan(step):
                yield self._wrong(where, name, setting)
            elif step > most * (1 + SLACK):
                words = f"{name}={_text(setting[name])} is {step:g} from {self._farthest(name, setting)}"
                yield self._broken(where, f"{words}, more than the guard's {most:g} at once; go there in steps")

    def _too_fast(self, setting: Setting, now_s: float) -> Iterator[Refusal]:
        elapsed = max(0.0, now_s - self._last.at_s) if self._last else math.inf
        for name, most in self.rules.max_rate.items():
            where = f"max_rate.{name}"
            step = self._step(name, setting)
            if math.isnan(step):
                yield self._wrong(where, name, setting)
            elif step > 0 and step > most * elapsed * (1 + SLACK):
                wait_s = step / most - elapsed if most else None
                words = f"is {step:g} from {self._farthest(name, setting)}, {elapsed:.3g} s after the last command"
                remedy = "change it less" if wait_s is None else f"wait {wait_s:.3g} s more or change it less"
                text = f"{name}={_text(setting[name])} {words}, faster than the guard's {most:g} a second; {remedy}"
                yield self._broken(where, text, wait_s=wait_s)

    def _step(self, name: str, setting: Setting) -> float:
        """How far it is at most from where the device may be; 0 before the first, NaN where that cannot be told."""
        x = _number(setting.get(name))
        places = () if self._last is None else (self._last.setting, *self._last.doubted)
        steps = [abs(x - _number(place.get(name, x))) for place in places]
        return math.nan if math.isnan(x) or any(map(math.isnan, steps)) else max(steps, default=0.0)

    def _limit(self, limit: float) -> str:
        return f"the guard's limit {_text(limit)} of {self._name!r}"

    def _farthest(self, name: str, setting: Setting) -> str:
        """The place that the step is counted from, in words."""
        newest, *doubted = self.places
        here = _number(setting.get(name))
        far = max((newest, *doubted), key=lambda place: abs(here - _number(place.get(name, here))))
        said = "the last commanded" if far is newest else "where it may still be, at"
        return f"{said} {_text(far.get(name))}"

    def _broken(self, where: str, text: str, *, wait_s: float | None = None) -> Refusal:
        return Refusal(where, f"{text}, or change guard.{where}", wait_s)

    def _wrong(self, where: str, name: str, setting: Setting) -> Refusal:
        said = f"{name}={_text(setting[name])} is no number" if name in setting else f"the setting has no {name!r}"
        return Refusal(
            "guard", f"guard.{where} of {self._name!r} cannot be worked out: {said}; correct that rule or the setting"
        )


def trips(rules: GuardRules, readings: Mapping[str, Any] | None) -> dict[Interlock, str]:
    """The interlocks that trip at these live readings, and why; ``None`` is silence."""
    found = {interlock: _why_tripped(interlock, readings) for interlock in rules.interlocks}
    return {interlock: why for interlock, why in found.items() if why}


def _why_tripped(interlock: Interlock, readings: Mapping[str, Any] | None) -> str:
    constraint = Constraint(interlock.trip)
    if readings is None:
        return f"interlock {interlock.trip!r}: the device is silent, which counts as tripped"
    margin, why = _margin(constraint, readings)
    if why:
        return f"interlock {interlock.trip!r}: {why}, which counts as tripped"
    shown = ", ".join(f"{name}={_text(readings[name])}" for name in sorted(constraint.names))
    return f"interlock {interlock.trip!r} tripped at {shown}" if margin >= 0 else ""


class Latch:
    """What the interlocks of one device say: one that trips holds the device until it is armed again."""

    def __init__(self, rules: GuardRules) -> None:
        self._rules = rules
        self._held: dict[Interlock, str] = {}
        self._clear_since: float | None = None
        self._is_open = False  # whether one trips at the last readings

    def look(self, readings: Mapping[str, Any] | None, now_s: float, *, why: str = "") -> bool:
        """Take in live readings, or ``None`` for silence and why; whether one trips that did not hold before."""
        now = trips(self._rules, readings)
        said = {interlock: f"{text} ({why})" if why else text for interlock, text in now.items()}
        is_new = bool(said.keys() - self._held.keys()) or (bool(said) and not self._is_open)
        self._held = {**said, **self._held}  # the first reason is the one to tell
        self._is_open = bool(said)
        self._clear_since = None if said else (now_s if self._clear_since is None else self._clear_since)
        return is_new

    @property
    def text(self) -> str:
        """What tripped since it was armed; empty: nothing."""
        return "; ".join(self._held.values())

    def clear_for_s(self, now_s: float) -> float:
        """How long no interlock trips."""
        return 0.0 if self._clear_since is None else max(0.0, now_s - self._clear_since)

    def may_resume(self, now_s: float) -> bool:
        """Whether all that tripped are clear for as long as their rule asks; never where a person must resume."""
        waits = [interlock.resume_after_s for interlock in self._held]
        if not waits or self._is_open or None in waits:
            return False
        return self.clear_for_s(now_s) >= max(w for w in waits if w is not None)

    def arm(self) -> str:
        """Let go of what tripped; why not, if it still trips."""
        if self._is_open:
            return f"{self.text}; it trips still"
        self._held = {}
        return ""


def _margin(constraint: Constraint, values: Mapping[str, Any]) -> tuple[float, str]:
    """How far a comparison is from being broken, or why that cannot be told."""
    numbers = {name: _number(values.get(name)) for name in constraint.names}
    missing = sorted(name for name in constraint.names if name not in values)
    bad = sorted(name for name, x in numbers.items() if not math.isfinite(x))
    if missing:
        return math.nan, f"there is no {missing[0]!r}"
    if bad:
        return math.nan, f"{bad[0]}={_text(values[bad[0]])} is no finite number"
    try:
        margin = constraint.margin(numbers)
    except (ArithmeticError, ValueError, TypeError) as error:
        return math.nan, f"{type(error).__name__}: {error}"
    if not isinstance(margin, float) or not math.isfinite(margin):
        return math.nan, f"its value is {margin}"
    return margin, ""


def _number(value: Any) -> float:
    """The value as a number; NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except (OverflowError, ValueError):
        return math.inf


def _text(value: Any) -> str:
    x = _number(value)
    return repr(x).removesuffix(".0") if math.isfinite(x) else repr(value)[:80]
