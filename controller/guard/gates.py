"""How each source of a run gets its gate: the fence of its device, the guard's rules and the guard's process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..source import Binding
from .fence import Fence, Owner, device_key
from .gate import DeviceGate
from .link import GuardLink, needs_guard


def is_fenced(binding: Binding) -> bool:
    """Whether there is a device that another controller could command as well."""
    return binding.kind == "instrument" and not binding.cls.is_manual and bool(getattr(binding.cls, "is_real", True))


@dataclass(frozen=True)
class Gates:
    """Makes the gate of a source in the process that commands it; it travels there whole.

    Args:
        campaign: who commands.
        ledger: its ledger, as ``fence.ledger_key`` names it.
        tokens: by source, the fencing token from the ledger.
    """

    campaign: str
    ledger: str
    tokens: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, binding: Binding) -> DeviceGate:
        """The gate of one source, its device taken and its guard awake.

        Raises:
            SourceError: if another controller has the device, or if its guard cannot be started.
        """
        fence, device = None, ""
        if binding.name in self.tokens:
            owner, device = Owner.here(self.campaign, self.ledger), device_key(binding)
            fence = Fence(device, self.tokens[binding.name], owner, name=binding.name)
            fence.take()
        try:
            link = GuardLink.start(binding, device=device) if needs_guard(binding) else None
        except BaseException:
            if fence is not None:
                fence.release()
            raise
        return DeviceGate(binding, fence=fence, link=link)
