"""One trial on one source: whatever a driver does becomes exactly one answer.

Laws:
    * A driver that raises, exits or returns nonsense gives ``Failed``, never an exception.
    * A reading that leaves here is finite, complete and can be written as JSON.
"""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Mapping
from numbers import Real
from pathlib import PurePath
from typing import Any, Literal

from pydantic import ValidationError

from .errors import CampaignError, ClosedLoopError, OutcomeUnknown, SourceError
from .records import Failed, Observed, Reading, Trial, dump_event
from .source import Binding, Source
from .space import Space

Answer = Observed | Failed
MAX_TEXT = 2000  # characters of a driver's message that are kept


def perform(source: Source, trial: Trial, binding: Binding) -> Answer:
    """Run one trial: whatever the driver does becomes exactly one answer."""
    try:
        answer = _command(source, trial, binding)
    except KeyboardInterrupt:
        raise
    except OutcomeUnknown as error:
        return failed(trial, "unknown", text_of(error))
    except BaseException as error:  # a driver may even call sys.exit
        if isinstance(error, ValidationError) and error.title == Reading.__name__:
            return failed(trial, "invalid", _clean(f"{binding.name!r} made no Reading: {_problems(error)}"))
        return failed(trial, "error", text_of(error))
    try:
        reading = reading_of(answer, binding.responses, what=repr(binding.name), space=binding.space)
        observed = Observed(trial=trial.number, reading=reading)
        dump_event(observed)  # what cannot be written must not get as far as the ledger
    except (CampaignError, ValueError) as error:
        return failed(trial, "invalid", _clean(str(error)))
    return observed


def _command(source: Any, trial: Trial, binding: Binding) -> object:
    setting = dict(trial.setting)  # a driver may change what it is given
    if binding.kind == "instrument":
        return source.measure(setting)
    return source.run(setting, trial.unknowns)


def reading_of(answer: object, responses: tuple[str, ...], *, what: str, space: Space | None = None) -> Reading:
    """The reading that a driver or a person means; keys that are no responses are kept as ``info``.

    Args:
        answer: a dict of responses, or a ``Reading``.
        responses: what the reading must hold; empty: all that it holds.
        what: who answered, for the message.
        space: what may be said to have been achieved; anything if absent.

    Raises:
        CampaignError: if it is neither, if a response is missing, or if a number is not a finite number; if the
            achieved setting is none of the space.
    """
    if isinstance(answer, Reading):
        values, info = dict(answer.values), dict(answer.info)
    elif isinstance(answer, Mapping):
        values, info = dict(answer), {}
    else:
        raise CampaignError(f"{what} returned {_short(answer)}; return a dict of responses or a Reading")
    wanted = responses or tuple(values)
    missing = [r for r in wanted if r not in values]
    if missing:
        raise CampaignError(f"{what} returned {sorted(map(str, values))} without {missing}; return each response")
    clean = {str(r): _number(values.pop(r), what, f"{r}") for r in wanted}
    info = {_clean(str(k)): _plain(v) for k, v in {**values, **info}.items()}
    if not isinstance(answer, Reading):
        return Reading(values=clean, info=info)
    for part, numbers in (("sd", answer.sd), ("achieved", answer.achieved), ("cost", answer.cost)):
        for key, x in numbers.items():
            if isinstance(x, float):
                _number(x, what, f"{part} of {key}")
    try:
        achieved = dict(answer.achieved) if space is None else space.check_achieved(answer.achieved)
    except CampaignError as error:
        raise CampaignError(f"{what}: {error}") from error
    return answer.model_copy(update={"values": clean, "info": info, "achieved": achieved})


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, e['loc']))}={_short(e['input'])}: {e['msg']}" for e in found[:5])


def _number(value: Any, what: str, name: str) -> float:
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # NumPy and torch
    if isinstance(value, bool) or not isinstance(value, Real):
        raise CampaignError(f"{what} returned {name}={_short(value)}; a response is one number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CampaignError(f"{what} returned {name}={_short(value)}, which is not finite; raise an error instead")
    return number


def _plain(value: Any) -> Any:
    """The value as JSON keeps it, or its text: what is not modelled must not spoil the ledger."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    try:
        return json.loads(_sound(json.dumps(plain, allow_nan=False, ensure_ascii=False)))
    except (TypeError, ValueError, RecursionError):
        return _short(value)


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        text = "a value that cannot be printed"
    return _clean(f"{text[:200]} ({type(value).__name__})")


def _clean(text: str) -> str:
    return _sound(text)[:MAX_TEXT]


def _sound(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written down


def text_of(error: BaseException) -> str:
    """What an exception says and where it was raised, short enough for the ledger."""
    try:
        said = str(error)
    except Exception:
        said = "its message cannot be printed"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({PurePath(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    name = "" if isinstance(error, ClosedLoopError) else f"{type(error).__name__}: "
    return _clean(f"{name}{said[: MAX_TEXT - 200]}{where}")


def failed(trial: Trial, cause: Literal["error", "invalid", "timeout", "crashed", "unknown"], message: str) -> Failed:
    """The answer of a trial that gave no reading."""
    return Failed(trial=trial.number, cause=cause, message=message)


def timed_out(trial: Trial, binding: Binding) -> Failed:
    """The answer of a trial that took too long."""
    rule = f"no answer within {binding.timeout:g} s, the timeout of source {binding.name!r}"
    return failed(trial, "timeout", f"{rule}; look why it hangs, or raise its timeout")


def never_begun(answer: Failed) -> Failed:
    """The same where the source was certainly never commanded: it cost nothing."""
    return answer.model_copy(update={"cost": {}})


def cancelled(trial: Trial) -> Failed:
    """The answer of a trial that was given up."""
    return failed(trial, "error", "cancelled by the controller")


def connected(binding: Binding) -> Source:
    """A new source of this binding, connected.

    Raises:
        SourceError: if it cannot be connected.
    """
    source = binding.make()
    try:
        source.connect()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(
            f"source {binding.name!r} cannot be connected: {text_of(error)}; check that it is there and its "
            f"settings {_short(dict(binding.settings))}"
        ) from error
    return source
