"""An instrument that is a person, or another program."""

from __future__ import annotations

from typing import ClassVar, NoReturn

from ..controller.errors import SourceError
from ..controller.records import Setting
from .instrument import Instrument


class Manual(Instrument):
    """Whoever runs the experiment answers through ``closedloop ingest`` or ``Session.ingest``."""

    is_manual: ClassVar[bool] = True
    is_real: ClassVar[bool] = False  # whoever runs the experiment also keeps it safe

    def measure(self, setting: Setting) -> NoReturn:
        """Never answers by itself."""
        raise SourceError(
            f"a person answers {setting}, not the agent; run the experiment and hand its result in with "
            "'closedloop ingest'"
        )
