"""What is written down: trials, forecasts, readings, innovations and the events that carry them.

Laws:
    * Every record is frozen and round-trips through JSON exactly: ``load(dump(r)) == r``.
    * A number that is not finite never enters a record; the trial failed instead.
    * A forecast is written before the reading that it forecasts.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

Value = float | int | str
Setting = dict[str, Value]


def _finite(x: float) -> float:
    if not math.isfinite(x):
        raise ValueError(f"{x} is not finite; a reading must be a finite number, or the trial failed")
    return x


Finite = Annotated[float, AfterValidator(_finite)]
Amount = Annotated[Finite, Field(ge=0)]
Cost = dict[str, Amount]  # by resource; time in seconds
Cause = Literal["error", "invalid", "timeout", "crashed", "unknown", "cancelled"]


class Record(BaseModel):
    """A frozen value that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Forecast(Record):
    """What the belief expects of one trial, per response; empty where nothing is known yet.

    ``sd`` is the standard deviation of the *reading*: belief, model error and noise together.
    """

    mean: dict[str, Finite] = {}
    sd: dict[str, Finite] = {}
    basis: str = "none"  # the belief that spoke, e.g. "hybrid"


class Alternative(Record):
    """An action that was weighed and not taken."""

    source: str
    setting: Setting
    gain: Finite  # expected gain towards the goal, in units of the objective
    cost: Finite  # fraction of the budget
    note: str = ""


class Why(Record):
    """The reason of a decision, in words and figures."""

    text: str
    gain: Finite | None = None
    cost: Finite | None = None
    figures: dict[str, Finite] = {}


class Trial(Record):
    """One experiment or simulation to be run: at most once on an instrument."""

    number: int
    source: str
    setting: Setting
    forecast: Forecast = Forecast()
    cost: Cost = {}
    why: Why = Why(text="")
    alternatives: tuple[Alternative, ...] = ()
    key: str = ""  # of its campaign: with the number a name that a device can remember the trial by
    unknowns: dict[str, tuple[Finite, ...]] = {}  # a simulator's unknowns, one value a member


class Reading(Record):
    """What a source answered.

    ``achieved`` holds what the source really did where that differs from the setting; the model is
    told this. ``members`` holds a simulator's response per ensemble member.
    """

    values: dict[str, Finite]
    sd: dict[str, Amount] = {}
    achieved: Setting = {}
    members: dict[str, tuple[Finite, ...]] = {}
    cost: Cost = {}  # what it really cost, where that differs from what was declared
    info: dict[str, Any] = {}  # device time, identity, raw replies: kept, not modelled


class Innovation(Record):
    """Reading minus forecast, per response; ``z`` in standard deviations of the forecast."""

    trial: int
    source: str
    difference: dict[str, Finite]
    z: dict[str, Finite]


class Event(Record):
    """One line of the ledger. ``seq`` and ``time`` are stamped by ``Ledger.append``."""

    v: Literal[1] = 1
    seq: int = 0
    time: datetime | None = None
    letter: int | None = None  # the inbox message it came by; ``append`` marks that one as taken


class Started(Event):
    """The campaign begins; the whole declaration stands here."""

    kind: Literal["started"] = "started"
    campaign: dict[str, Any]
    provenance: dict[str, str] = {}
    key: str = ""  # tells this run of the campaign from any other, on a device that remembers runs


class Recollection(Record):
    """A reading of an earlier campaign: what was achieved there, and what was read."""

    trial: int  # its number there
    setting: Setting
    values: dict[str, Finite]
    sd: dict[str, Amount] = {}


class Recalled(Event):
    """The readings of an earlier campaign, from which this one learns; its ledger is not needed any more."""

    kind: Literal["recalled"] = "recalled"
    name: str  # as the key ``warm_start`` calls it
    campaign: str  # its own name
    ledger: str = ""
    readings: tuple[Recollection, ...]
    notes: tuple[str, ...] = ()  # what differs between the two


class Proposed(Event):
    """The next trial. It is approved with this, unless ``asks`` says why a person must approve it first."""

    kind: Literal["proposed"] = "proposed"
    trial: Trial
    by: Literal["agent", "session", "person"] = "agent"
    asks: str = ""


class Approved(Event):
    """A person lets a trial go ahead, perhaps at another setting."""

    kind: Literal["approved"] = "approved"
    trial: int
    by: str
    setting: Setting = {}  # what the person changed of it
    forecast: Forecast | None = None  # of the changed setting


class Refused(Event):
    """A trial does not go ahead: a person, the agent or the guard of its source says no. It was never begun."""

    kind: Literal["refused"] = "refused"
    trial: int
    by: str
    reason: str
    rule: str = ""  # the guard's rule that the setting breaks: it is learned as a constraint
    places: tuple[Setting, ...] = ()  # where the device may be, as its guard knows, newest first; empty: not said


class Acting(Event):
    """The source is about to be commanded. Without an answer to this, the outcome is unknown."""

    kind: Literal["acting"] = "acting"
    trial: int
    attempt: int = 1


class Observed(Event):
    """A source answered a trial."""

    kind: Literal["observed"] = "observed"
    trial: int
    reading: Reading


class Failed(Event):
    """A trial gave no usable reading."""

    kind: Literal["failed"] = "failed"
    trial: int
    cause: Cause
    message: str
    cost: Cost | None = None  # what it really cost; None: what was declared
    is_in_doubt: bool = False  # it may have been carried out all the same, and may not be repeated blindly
    is_held: bool = False  # it was taken back: its guard lets no command through now
    info: dict[str, Any] = {}  # what the device said, where no reading could be made of it


class Settled(Event):
    """What becomes of a trial whose outcome was unknown.

    The driver was asked (``not_started``: it may run; ``unknown``: it cannot tell), then the campaign's rule or
    a person decides (``rerun``, ``abandoned``; ``asked``: a person's word is waited for).
    """

    kind: Literal["settled"] = "settled"
    trial: int
    outcome: Literal["not_started", "unknown", "rerun", "abandoned", "asked"]
    by: str
    text: str = ""


class Quarantined(Event):
    """A reading is kept from the belief; it stays in the ledger."""

    kind: Literal["quarantined"] = "quarantined"
    trial: int
    by: str
    reason: str


class Restored(Event):
    """A reading that was quarantined counts again."""

    kind: Literal["restored"] = "restored"
    trial: int
    by: str
    reason: str = ""


class Assimilated(Event):
    """The belief was corrected by fresh readings; its numbers stand here, so replay refits nothing."""

    kind: Literal["assimilated"] = "assimilated"
    trials: tuple[int, ...]
    innovations: tuple[Innovation, ...] = ()
    belief: dict[str, Any]
    note: str = ""  # what kept the belief from being corrected, if anything did


class Noted(Event):
    """Something that a person should know and no decision uses."""

    kind: Literal["noted"] = "noted"
    text: str
    rests: str = ""  # a source that is left alone from now on, until somebody resumes
    unsafe: str = ""  # an instrument that could not be made safe: a person must see to it


class Paused(Event):
    """No trial begins until ``Resumed``; what runs goes on."""

    kind: Literal["paused"] = "paused"
    by: str
    reason: str
    is_temporary: bool = False  # a guard that resumes by itself, once what tripped is clear


class Resumed(Event):
    """Trials begin again; sources that failed in a row get another chance."""

    kind: Literal["resumed"] = "resumed"
    by: str
    reason: str = ""


class Ending(Event):
    """The campaign is to end: when what runs has ended, or (``abort``) now, with every instrument made safe."""

    kind: Literal["ending"] = "ending"
    by: str
    mode: Literal["stop", "abort"] = "stop"
    reason: str = ""


class Amended(Event):
    """The declaration changes in mid-campaign; the readings so far are kept."""

    kind: Literal["amended"] = "amended"
    by: str
    changes: dict[str, Any]  # by dotted key, e.g. {"budget.money": 400}
    campaign: dict[str, Any] = {}  # the declaration from now on
    reason: str = ""


class Preferred(Event):
    """A person likes what one trial gave better than what another one gave."""

    kind: Literal["preferred"] = "preferred"
    better: int
    worse: int
    by: str


class Stopped(Event):
    """The campaign is over, and why."""

    kind: Literal["stopped"] = "stopped"
    reason: str
    figures: dict[str, Finite] = {}


AnyEvent = Annotated[
    Started
    | Recalled
    | Proposed
    | Approved
    | Refused
    | Acting
    | Observed
    | Failed
    | Settled
    | Quarantined
    | Restored
    | Assimilated
    | Paused
    | Resumed
    | Ending
    | Amended
    | Preferred
    | Noted
    | Stopped,
    Field(discriminator="kind"),
]
Answer = Observed | Failed | Refused | Settled  # what the hands may say of a trial
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
_STAMPS = {"seq", "time", "letter"}


def dump_event(event: Event) -> str:
    """The event as canonical JSON, without its stamps, which the ledger keeps in columns."""
    return event.__pydantic_serializer__.to_json(event, exclude=_STAMPS).decode()


def load_event(payload: str, *, seq: int, time: datetime) -> AnyEvent:
    """The inverse of ``dump_event``."""
    return EVENT.validate_json(payload).model_copy(update={"seq": seq, "time": time})
