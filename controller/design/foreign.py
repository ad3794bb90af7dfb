"""The setting that somebody else's generator names, in place of ours: built anew from the evidence at every decision.

Laws:
    * It is told the target's readings and nothing else, and begins from a seed of the decision: as far as its own code
      is deterministic, the same ledger gives the same setting.
    * Global random generators are as they were when it has spoken.
    * It is asked for one setting more than are in flight, and the first that is free is proposed.
    * What it names outside the space, in flight or not at all is not proposed; ours is, and the decision says why.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..designer import as_result, as_setting, prepared
from ..errors import CampaignError
from .safeguard import fault_of
from .searching import Found

if TYPE_CHECKING:
    from ..belief.evidence import Evidence
    from ..campaign import Campaign
    from ..space import Array


def with_foreign(found: Found, campaign: Campaign, evidence: Evidence, rng: np.random.Generator) -> Found:
    """What was found, with the setting of the campaign's designer first.

    Args:
        found: by our own search, the best first.
        campaign: with a designer.
        evidence: of which the target's readings are told.
        rng: of this decision.
    """
    name = campaign.designer.generator.rpartition(":")[2] if campaign.designer else ""
    try:
        seed = int(rng.integers(2**31))
        with _seeded(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row, refused = _named(campaign, evidence, found.X[0], seed)
    except Exception as error:  # foreign code: whatever it is, the loop goes on and the decision says so
        text = " ".join(str(error).split())[:200]
        return replace(
            found, note=_joined(found.note, f"{name} named no setting: {type(error).__name__}: {text}; ours")
        )
    if row is None:
        return replace(found, note=_joined(found.note, f"the setting of {name} {refused}; ours in its place"))
    X = np.concatenate([row[None], found.X])
    log_values = np.concatenate([[-np.inf], found.log_values])
    return replace(found, X=X, log_values=log_values, note=_joined(found.note, f"the setting of {name}"), fallback=0)


def _named(campaign: Campaign, evidence: Evidence, ours: Array, seed: int) -> tuple[Array | None, str]:
    """The first setting that may be proposed, or what was wrong with the last one."""
    space, fault = evidence.space_of(evidence.target), "is missing"
    contexts = {n: v for n, v in campaign.space.decode(ours).items() if getattr(space.parameters[n], "context", False)}
    for point in _points(campaign, evidence, seed):
        try:
            setting = space.check({**as_setting(campaign, point), **contexts})
        except CampaignError as error:
            fault = f"is refused: {error}"
            continue
        row = space.encode(setting)
        if fault := fault_of(row, evidence, evidence.target):
            continue
        return row, ""
    return None, fault


def _points(campaign: Campaign, evidence: Evidence, seed: int) -> Iterator[Any]:
    """What it names: as many as are in flight and one more, together; one by one where it names no several."""
    n = len(evidence.pending_at(evidence.target)) + 1
    if n > 1:
        with suppress(Exception):  # foreign code: some know no batches; what else is wrong comes up again below
            yield from list(_told(campaign, evidence, seed).suggest(n) or ())
            return
    generator = _told(campaign, evidence, seed)
    for _ in range(n):
        yield from generator.suggest(1) or ()


def _told(campaign: Campaign, evidence: Evidence, seed: int) -> Any:
    """The generator, made anew and told the readings."""
    generator = prepared(campaign, seed=seed)
    if results := list(_results(campaign, evidence)):
        generator.ingest(results)
    return generator


def _results(campaign: Campaign, evidence: Evidence) -> Iterator[dict[str, Any]]:
    own = evidence.of(evidence.target)
    for x, y in zip(own.X, own.Y, strict=True):
        setting = campaign.space.decode(x)
        result = as_result(campaign, setting, dict(zip(evidence.responses, y.tolist(), strict=True)))
        if result is not None:
            yield result


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global generators begin from a seed, and are put back."""
    kept, kept_numpy = random.getstate(), np.random.get_state()  # foreign code may draw from it
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(kept)
            np.random.set_state(kept_numpy)


def _joined(note: str, more: str) -> str:
    return f"{note}; {more}" if note else more
