"""An anchor: what is kept elsewhere of a ledger's heads, so that nobody can cut or rewrite it unseen.

Laws:
    * A ledger may grow behind an anchor; the row that the anchor saw must still be there, with that hash.
    * An anchor is only as good as the place where it is kept: beside the ledger it proves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, ValidationError

from ..errors import LedgerError
from ..records import Record
from .schema import APPLICATION_ID

_LARGEST = 16 * 2**20  # bytes


class Head(Record):
    """The last row of a chain; its hash covers all rows before it."""

    seq: int = Field(ge=1)
    hash: str = Field(pattern="^[0-9a-f]{64}$")
    time: AwareDatetime

    @classmethod
    def of(cls, seq: int, hash: str, time: str) -> Self | None:
        """The head that a row is; None if no row that was written looks so."""
        try:
            return cls(seq=seq, hash=hash, time=datetime.fromisoformat(time))
        except (ValueError, TypeError):
            return None


class Anchor(Record):
    """The heads of all campaigns of one ledger, at one time."""

    kind: Literal["closedloop anchor"] = "closedloop anchor"
    v: Literal[1] = 1
    application_id: Annotated[int, Field(ge=APPLICATION_ID, le=APPLICATION_ID)] = APPLICATION_ID  # of a ledger
    made: AwareDatetime
    campaigns: dict[str, Head] = Field(min_length=1)

    def only(self, campaigns: Collection[str]) -> Anchor | None:
        """What it holds of these campaigns."""
        kept = {name: head for name, head in self.campaigns.items() if name in campaigns}
        return self.model_copy(update={"campaigns": kept}) if kept else None

    def text(self) -> str:
        """As it stands in a file."""
        return self.model_dump_json(indent=2) + "\n"


def anchor_from(raw: bytes, name: object) -> Anchor:
    """The anchor that a file holds.

    Raises:
        LedgerError: if it holds none.
    """
    try:
        return Anchor.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))[:80]
        raise LedgerError(
            f"{name} is no anchor of a ledger ({where + ': ' if where else ''}{first['msg']}); name a file that "
            "'closedloop verify --anchor' wrote, or one that is not there yet, to write it"
        ) from None


def read_anchor(path: Path) -> Anchor:
    """The anchor of a file.

    Raises:
        LedgerError: if it cannot be read or is none.
    """
    try:
        with path.open("rb") as file:
            return anchor_from(file.read(_LARGEST), path)
    except OSError as error:
        raise LedgerError(f"anchor {path} cannot be read ({error.strerror}); name another file") from error


def write_anchor(path: Path, heads: Mapping[str, Head]) -> Anchor:
    """Write a new anchor; one that is there is never replaced.

    Raises:
        LedgerError: if there is nothing to anchor, or the file cannot be written or is there.
    """
    if not heads:
        raise LedgerError(f"anchor {path}: the ledger holds no campaign yet; begin one first")
    anchor = Anchor(made=datetime.now(UTC), campaigns=dict(heads))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(anchor.text())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise LedgerError(f"anchor {path} cannot be written ({error.strerror}); name another file") from error
    return anchor
