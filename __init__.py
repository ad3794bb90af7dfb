"""closedloop: an experiment-control agent for closed-loop design of experiments.

The public names are loaded when they are first used, so that ``import closedloop`` and writing a driver need
neither torch nor ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from closedloop.controller.campaign import Campaign
    from closedloop.controller.campaign_run import Result, run
    from closedloop.controller.errors import (
        ApprovalNeeded,
        BeliefError,
        CampaignError,
        ClosedLoopError,
        InvalidReading,
        LeaseHeld,
        LedgerError,
        OutcomeUnknown,
        SourceError,
    )
    from closedloop.controller.experiments import Experiment
    from closedloop.controller.interchange.generator import Generator
    from closedloop.controller.predicates import predicate
    from closedloop.controller.records import Forecast, Reading, Setting, Trial
    from closedloop.controller.session import Session
    from closedloop.controller.source import NotStarted, Unknown
    from closedloop.controller.stop import Stop
    from closedloop.instruments.instrument import Instrument, instrument
    from closedloop.simulators.simulator import Simulator, simulator

__version__ = "0.2.0"

_PLACES = {
    "ApprovalNeeded": "controller.errors",
    "BeliefError": "controller.errors",
    "Campaign": "controller.campaign",
    "CampaignError": "controller.errors",
    "ClosedLoopError": "controller.errors",
    "Experiment": "controller.experiments",
    "Forecast": "controller.records",
    "Generator": "controller.interchange.generator",
    "Instrument": "instruments.instrument",
    "InvalidReading": "controller.errors",
    "LeaseHeld": "controller.errors",
    "LedgerError": "controller.errors",
    "NotStarted": "controller.source",
    "OutcomeUnknown": "controller.errors",
    "Reading": "controller.records",
    "Result": "controller.campaign_run",
    "Setting": "controller.records",
    "Session": "controller.session",
    "Simulator": "simulators.simulator",
    "SourceError": "controller.errors",
    "Stop": "controller.stop",
    "Trial": "controller.records",
    "Unknown": "controller.source",
    "instrument": "instruments.instrument",
    "predicate": "controller.predicates",
    "run": "controller.campaign_run",
    "simulator": "simulators.simulator",
}

__all__ = [
    "ApprovalNeeded",
    "BeliefError",
    "Campaign",
    "CampaignError",
    "ClosedLoopError",
    "Experiment",
    "Forecast",
    "Generator",
    "Instrument",
    "InvalidReading",
    "LeaseHeld",
    "LedgerError",
    "NotStarted",
    "OutcomeUnknown",
    "Reading",
    "Result",
    "Session",
    "Setting",
    "Simulator",
    "SourceError",
    "Stop",
    "Trial",
    "Unknown",
    "__version__",
    "instrument",
    "predicate",
    "run",
    "simulator",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'closedloop' has no attribute {name!r}")
    return getattr(import_module(f"closedloop.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
