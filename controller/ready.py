"""What must hold before anything is started, for ``check`` and ``run`` alike: classes are read, no device touched."""

from __future__ import annotations

from collections.abc import Mapping

from .bench import module_of
from .campaign import Campaign
from .errors import CampaignError
from .guard.link import needs_guard, refuse_unsafe
from .secret import check_secrets
from .source import Binding

_BY_PROCESS = ("interlocks", "deadman_s")  # held by the guard's process
_BY_GATE = ("max_rate", "safe_setting")  # held where the driver is called


def check_ready(campaign: Campaign, *, is_here: bool = True) -> None:
    """Refuse what could not be carried out, or not safely.

    Args:
        campaign: resolved.
        is_here: whether its sources run on this computer; elsewhere, the environment is that of the node.

    Raises:
        CampaignError: naming the source or the rule, what is missing and the remedy.
    """
    bindings = campaign.bind()
    for name, binding in bindings.items():
        spec = campaign.sources[name]
        refuse_unsafe(binding)
        if spec.start is not None:
            module_of(spec.start, binding)
        if is_here:
            check_secrets(spec.settings, source=name)
    if campaign.is_of_ledger:  # begun before this was refused; what people and simulators are, no later code changes
        bindings = {n: b for n, b in bindings.items() if b.kind == "instrument" and not b.cls.is_manual}
    for name, binding in bindings.items():
        if campaign.sources[name].guard is not None:
            _refuse_unheld(f"sources.{name}.guard", {name: binding})
    _refuse_unheld("guard", {n: b for n, b in bindings.items() if campaign.sources[n].guard is None})


def _refuse_unheld(where: str, bindings: Mapping[str, Binding]) -> None:
    """Refuse a rule that nothing would hold: people and simulators have no guard beside them."""
    for part in (*_BY_PROCESS, *_BY_GATE):
        asked = {n: b for n, b in bindings.items() if getattr(b.guard, part)}
        if asked and not any(_holds(part, b) for b in asked.values()):
            names = " and ".join(map(repr, asked))
            raise CampaignError(
                f"{where}.{part}: nothing beside {names} holds it ({_why(next(iter(asked.values())))}); leave it out, "
                "or name an instrument whose driver has make_safe"
            )


def _holds(part: str, binding: Binding) -> bool:
    if part in _BY_PROCESS:
        return needs_guard(binding)
    return binding.kind == "instrument" and not binding.cls.is_manual


def _why(binding: Binding) -> str:
    if binding.cls.is_manual:
        return "a person carries its trials out"
    if binding.kind == "simulator":
        return "it is a simulator"
    return "needs_make_safe: false" if binding.needs_make_safe is False else "its class says that it has no device"
