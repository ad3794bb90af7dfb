"""One trial on one source: whatever a driver does becomes exactly one answer.

Laws:
    * A driver that raises, exits or returns nonsense gives ``Failed``, never an exception.
    * Only what may be repeated is tried again; a command is sent only where the gate beside the device lets it.
    * A reading that leaves here is finite, complete and can be written as JSON.
"""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import PurePath
from typing import Any, Protocol, TypeGuard

from pydantic import ValidationError

from .errors import CampaignError, ClosedLoopError, InvalidReading, OutcomeUnknown, SourceError
from .reading import MAX_TEXT, clean, plain, problems_of, reading_of, short
from .records import Answer, Cause, Failed, Noted, Observed, Reading, Refused, Settled, Trial, dump_event
from .secret import mask
from .source import Binding, NotStarted, Source, Unknown

CANCELLED = "cancelled by the controller"
UNBELIEVED = "reading"  # in ``Failed.info``: what was read and is not believed
INTERRUPTED = "interrupted to make the instrument safe; whether it was carried out is unknown"


class Gate(Protocol):
    """What stands between a trial and its device, whatever the mind says."""

    def refuse(self, trial: Trial) -> Refused | None:
        """Why the command is not sent; asked immediately before it, and remembers the setting if it is.

        Raises:
            SourceError: if this controller may not command the device at all.
        """

    def doubt(self, trial: Trial) -> str:
        """Why the driver's answer to the command is not to be believed; empty: it is."""

    def reached(self) -> None:
        """The driver gave a reading that is believed: the device is where it was told to be."""


def perform(source: Source, trial: Trial, binding: Binding, *, gate: Gate | None = None) -> Answer:
    """Run one trial: whatever the driver does becomes exactly one answer."""
    if binding.is_repeatable and binding.on_failure.retries:
        return _retried(source, trial, binding, gate)
    return _once(source, trial, binding, gate)


def _retried(source: Source, trial: Trial, binding: Binding, gate: Gate | None) -> Answer:
    """Again after an error, with growing pauses: only for what may be repeated."""
    import tenacity

    policy = binding.on_failure
    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(policy.retries + 1),
        wait=tenacity.wait_exponential(multiplier=policy.backoff_s, max=60.0),
        retry=tenacity.retry_if_result(lambda a: isinstance(a, Failed) and a.cause == "error"),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    answer: Answer = attempts(_once, source, trial, binding, gate)
    return answer


def _once(source: Source, trial: Trial, binding: Binding, gate: Gate | None) -> Answer:
    """One command, if the gate lets it through."""
    try:
        refused = gate.refuse(trial) if gate else None
    except ClosedLoopError as error:
        return held(trial, mask(str(error)), binding)
    if refused is not None:
        return refused
    answer = _commanded(source, trial, binding)
    why = gate.doubt(trial) if gate else ""
    if why:
        return _doubted(answer, trial, why)
    if gate and isinstance(answer, Observed):
        with suppress(ClosedLoopError):  # taken from us meanwhile: whoever has it counts from both places
            gate.reached()
    return answer


def _doubted(answer: Observed | Failed, trial: Trial, why: str) -> Failed:
    """What came of a command that was interfered with: kept, and not believed."""
    words = f"{why}, so its answer is not believed; whether it was carried out is unknown"
    if isinstance(answer, Observed):
        info: dict[str, Any] = {UNBELIEVED: dict(answer.reading.values)}
    else:
        words, info = f"{words}; it said: {answer.message}", answer.info
    return Failed(trial=trial.number, cause="unknown", message=words, is_in_doubt=True, info=info)


def held(trial: Trial, why: str, binding: Binding) -> Failed:
    """The answer of a trial that cannot begin now: an instrument's is taken back, a simulator's has failed."""
    if binding.kind == "simulator":
        return never_begun(failed(trial, "error", why, binding=binding))
    return never_begun(Failed(trial=trial.number, cause="cancelled", message=clean(why), is_held=True))


def is_held(answer: object) -> TypeGuard[Failed]:
    """Whether a trial was taken back because nothing may be commanded now: no fault of its setting or its source."""
    return isinstance(answer, Failed) and answer.is_held


def unsafe(name: str, fault: str) -> Noted:
    """An instrument that could not be made safe."""
    return Noted(text=f"{name!r} may not be safe: {fault}; see to it by hand", unsafe=name)


def _commanded(source: Source, trial: Trial, binding: Binding) -> Observed | Failed:
    try:
        answer = _command(source, trial, binding)
    except KeyboardInterrupt:
        raise
    except OutcomeUnknown as error:
        return failed(trial, "unknown", text_of(error), binding=binding)
    except InvalidReading as error:
        return _invalid(trial, error, binding)
    except BaseException as error:  # a driver may even call sys.exit
        if isinstance(error, ValidationError) and error.title == Reading.__name__:
            words = clean(f"{binding.name!r} made no Reading: {problems_of(error)}")
            return failed(trial, "invalid", words, binding=binding)
        return failed(trial, "unknown" if _is_cut_link(error, binding) else "error", text_of(error), binding=binding)
    return _answered(answer, trial, binding)


def _is_cut_link(error: BaseException, binding: Binding) -> bool:
    """Whether a driver's connection went away in the middle; one that was refused had carried nothing."""
    is_cut = isinstance(error, ConnectionError | TimeoutError | EOFError)
    return binding.kind == "instrument" and is_cut and not isinstance(error, ConnectionRefusedError)


def _invalid(trial: Trial, error: InvalidReading, binding: Binding) -> Failed:
    info = {clean(str(k)): plain(v) for k, v in error.info.items()}
    return failed(trial, "invalid", text_of(error), binding=binding).model_copy(update={"info": info})


def _answered(answer: object, trial: Trial, binding: Binding) -> Observed | Failed:
    try:
        reading = reading_of(answer, binding.responses, what=repr(binding.name), space=binding.space)
        observed = Observed(trial=trial.number, reading=reading)
        dump_event(observed)  # what cannot be written must not get as far as the ledger
    except (CampaignError, ValueError) as error:
        raw = {"answer": short(answer)}  # kept, so that a person can see what the device said
        return failed(trial, "invalid", clean(str(error)), binding=binding).model_copy(update={"info": raw})
    return observed


def recovered(source: Any, trial: Trial, binding: Binding) -> Observed | Failed | Settled:
    """What the driver says of a trial in doubt; it asks the device and commands nothing."""
    try:
        answer = source.recover(trial)
    except KeyboardInterrupt:
        raise
    except InvalidReading as error:
        return _invalid(trial, error, binding)
    except BaseException as error:
        answer = Unknown(f"'recover' failed: {text_of(error)}")
    if isinstance(answer, NotStarted):
        return Settled(trial=trial.number, outcome="not_started", by="driver", text=clean(answer.text))
    if isinstance(answer, Unknown):
        return cannot_tell(trial, answer.text)
    return _answered(answer, trial, binding)


def cannot_tell(trial: Trial, text: str) -> Settled:
    """The driver does not know what became of a trial."""
    return Settled(trial=trial.number, outcome="unknown", by="driver", text=clean(text))


def _command(source: Any, trial: Trial, binding: Binding) -> object:
    setting = dict(trial.setting)  # a driver may change what it is given
    if binding.kind == "instrument":
        source.begin(trial)
        return source.measure(setting)
    return source.run(setting, trial.unknowns)


def text_of(error: BaseException) -> str:
    """What an exception says and where it was raised, short enough for the ledger."""
    try:
        said = mask(str(error))
    except Exception:
        said = "its message cannot be printed"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({PurePath(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    name = "" if isinstance(error, ClosedLoopError) else f"{type(error).__name__}: "
    return clean(f"{name}{said[: MAX_TEXT - 200]}{where}")


def failed(trial: Trial, cause: Cause, message: str, *, binding: Binding) -> Failed:
    """The answer of a trial that gave no reading; in doubt, where an action was cut off that may not be repeated."""
    is_cut_off = cause in ("timeout", "crashed", "unknown")
    return Failed(
        trial=trial.number, cause=cause, message=message, is_in_doubt=is_cut_off and not binding.is_repeatable
    )


def timed_out(trial: Trial, binding: Binding) -> Failed:
    """The answer of a trial that took too long."""
    rule = f"no answer within {binding.timeout:g} s, the timeout of source {binding.name!r}"
    return failed(trial, "timeout", f"{rule}; look why it hangs, or raise its timeout", binding=binding)


def never_begun(answer: Failed) -> Failed:
    """The same where the source was certainly never commanded: it cost nothing."""
    return answer.model_copy(update={"cost": {}})


def cancelled(number: int) -> Failed:
    """The answer of a trial that was given up."""
    return Failed(trial=number, cause="cancelled", message=CANCELLED)


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
            f"settings {short(dict(binding.settings))}"
        ) from error
    return source
