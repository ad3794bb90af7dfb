"""The rivals by name; a package is imported only in the process that runs it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rivals.rival import Rival


@dataclass(frozen=True)
class Place:
    """Where a rival is. ``revision`` counts the changes of its adapter that ask for new results."""

    title: str
    module: str
    cls: str
    package: str
    revision: int = 1


PLACES = {
    "closedloop": Place("closedloop", "rivals.ours", "ClosedLoop", "closedloop"),
    "sobol": Place("Sobol", "rivals.sobol", "Sobol", "scipy"),
    "optuna_tpe": Place("Optuna TPE", "rivals.optuna_rivals", "OptunaTPE", "optuna"),
    "optuna_gp": Place("Optuna GP", "rivals.optuna_rivals", "OptunaGP", "optuna"),
    "ax": Place("Ax", "rivals.ax_rival", "Ax", "ax-platform"),
    "baybe": Place("BayBE", "rivals.baybe_rival", "BayBE", "baybe"),
    "xopt": Place("Xopt", "rivals.xopt_rival", "Xopt", "xopt"),
    "botorch": Place("BoTorch loop", "rivals.botorch_loop", "BoTorchLoop", "botorch"),
    "botorch_mfkg": Place("BoTorch MFKG", "rivals.botorch_mfkg", "BoTorchMFKG", "botorch"),
}


def find(name: str) -> type[Rival]:
    """The class of a rival.

    Raises:
        ImportError: if its package is not installed.
    """
    place = PLACES[name]
    return getattr(import_module(place.module), place.cls)  # type: ignore[no-any-return]


def version_of(name: str) -> str:
    """What the cache knows a rival by; empty if its package is not installed. Imports no package but our own."""
    place = PLACES[name]
    try:
        found = version(place.package)
    except PackageNotFoundError:
        return ""
    if name == "closedloop":  # what was measured before a change is not taken for what is there now
        import closedloop

        code = sorted((Path(closedloop.__file__).parent / "controller").rglob("*.py"))
        found += "+" + hashlib.sha256(b"".join(p.read_bytes() for p in code)).hexdigest()[:8]
    return f"{found} r{place.revision}"
