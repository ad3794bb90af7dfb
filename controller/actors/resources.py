"""What sources ask Ray for, and whether a Ray has it: data in, words out.

Laws:
    * What nobody can ever give is said at once and by name, instead of waited for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ..errors import SourceError
from ..source import Binding


def n_actors(binding: Binding) -> int:
    """How many processes a source has: one an instrument, none one that people answer for."""
    return 0 if binding.cls.is_manual else 1 if binding.kind == "instrument" else binding.n_slots


def asked_by(binding: Binding) -> dict[str, float]:
    """What one process asks for; a simulator takes a CPU unless told otherwise, an instrument none.

    Raises:
        SourceError: if an amount is none.
    """
    asked = {k.upper() if k.lower() in ("cpu", "gpu") else k: v for k, v in binding.resources.items()}
    for name, amount in asked.items():
        if not (math.isfinite(amount) and amount >= 0):
            raise SourceError(
                f"source {binding.name!r} asks for {name}={amount:g}; an amount is a finite number and not below 0"
            )
    return {"CPU": 0.0 if binding.kind == "instrument" else 1.0, **asked}


def demand(bindings: Iterable[Binding]) -> dict[str, float]:
    """What all processes together ask for."""
    total: dict[str, float] = {}
    for binding in bindings:
        for name, amount in asked_by(binding).items():
            total[name] = total.get(name, 0.0) + n_actors(binding) * amount
    return total


def check_offer(bindings: Sequence[Binding], nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuse what these nodes can never give, however long one waits.

    Args:
        bindings: who asks.
        nodes: what each computer has in all, by resource.

    Raises:
        SourceError: naming the source, the resource and what there is.
    """
    for binding in bindings:
        asked = {k: v for k, v in asked_by(binding).items() if v} if n_actors(binding) else {}
        for name, amount in asked.items():
            most = max((node.get(name, 0.0) for node in nodes), default=0.0)
            if amount > most:
                known = ", ".join(sorted({k for node in nodes for k in node if ":" not in k})) or "none"
                raise SourceError(
                    f"source {binding.name!r} asks for {name}={amount:g}, and no computer of this Ray has more than "
                    f"{most:g}; start one that offers it, or correct resources.{name} (known here: {known})"
                )
    for name, amount in demand(bindings).items():
        offered = sum(node.get(name, 0.0) for node in nodes)
        if amount > offered:
            raise SourceError(
                f"all sources together ask for {name}={amount:g}, and this Ray has {offered:g}; start another "
                f"computer, or lower 'replicas' or resources.{name} of a source"
            )
