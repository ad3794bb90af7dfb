"""The contract of simulators and instruments, and how a campaign finds them.

A source is found by ``package.module:Name``, by a path to a file (``./my_furnace.py:Furnace``) or by the
name of an entry point in the group ``closedloop.sources``.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal

from .errors import CampaignError
from .records import Cost
from .space import Space

Kind = Literal["instrument", "simulator"]


class Source(ABC):
    """What can answer a trial. Subclass ``Instrument`` or ``Simulator``, not this.

    Class attributes are the defaults of the campaign's entry for the source.
    """

    kind: ClassVar[Kind]
    cost: ClassVar[Cost] = {}
    timeout: ClassVar[float | None] = None  # seconds one trial may take
    parameters: ClassVar[tuple[str, ...] | None] = None  # the names it obeys, checked against the campaign; None: any
    is_manual: ClassVar[bool] = False  # a person or another program answers, through `ingest`

    def connect(self) -> None:
        """Open what is needed. Raise ``SourceError`` with the remedy where it cannot be opened."""

    def close(self) -> None:
        """Let go of what ``connect`` opened."""


def find_source(target: str, *, folder: Path | None = None) -> type[Source]:
    """The class that ``target`` names.

    Args:
        target: ``module:Name``, ``path/to/file.py:Name`` or the name of an entry point.
        folder: where a relative path starts; the current folder if absent.

    Raises:
        CampaignError: if there is no such module, file, name or entry point, or if it is no source.
    """
    where, _, name = target.partition(":")
    if not name:
        found = _from_entry_point(target)
    elif where.endswith(".py") or "/" in where:
        found = _from_module(_load_file(where, target, folder or Path()), name, target)
    else:
        found = _from_module(_load_module(where, target), name, target)
    return _as_source_class(found, target)


def _from_entry_point(target: str) -> Any:
    points = {p.name: p for p in entry_points(group="closedloop.sources")}
    if target not in points:
        known = ", ".join(sorted(points)) or "none"
        raise CampaignError(
            f"source {target!r} is neither 'module:Name', './file.py:Name' nor an installed entry point of "
            f"'closedloop.sources' (known: {known}); correct the name or install the package that has it"
        )
    return points[target].load()


def _load_module(where: str, target: str) -> Any:
    try:
        return importlib.import_module(where)
    except (ImportError, TypeError, ValueError) as error:  # "..f" and "" are no names of modules either
        raise CampaignError(
            f"source {target!r}: module {where!r} cannot be imported ({error}); install it, or give a path "
            f"to its file such as './{where.rsplit('.', 1)[-1]}.py:Name'"
        ) from error


def _load_file(where: str, target: str, folder: Path) -> Any:
    path = (folder / where).resolve()
    if not path.is_file():
        raise CampaignError(f"source {target!r}: there is no file {path}; correct the path")
    # A name of its own, so that a user's `reactor.py` never shadows an installed module.
    module_name = f"closedloop_source_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise CampaignError(f"source {target!r}: {path} is not a Python file; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise CampaignError(
            f"source {target!r}: {path} raised {type(error).__name__}: {error}; run 'python {path}' to see where"
        ) from error
    return module


def _from_module(module: Any, name: str, target: str) -> Any:
    if not hasattr(module, name):
        known = ", ".join(n for n in dir(module) if _is_source(getattr(module, n))) or "none"
        raise CampaignError(f"source {target!r}: {module.__name__} has no {name!r} (sources there: {known})")
    return getattr(module, name)


def _is_source(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Source) and hasattr(thing, "kind")


def _as_source_class(thing: Any, target: str) -> type[Source]:
    if not _is_source(thing):
        raise CampaignError(
            f"source {target!r} is {thing!r}, not a source; subclass closedloop.Instrument or "
            "closedloop.Simulator, or decorate a function with @closedloop.instrument or @closedloop.simulator"
        )
    found: type[Source] = thing
    return found


def parameters_of(function: Callable[..., Any], *, leave_out: Iterable[str] = ()) -> tuple[str, ...] | None:
    """The names that a function takes; None where it takes any."""
    taken = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in taken):
        return None
    return tuple(p.name for p in taken if p.name not in set(leave_out))


def make_source(cls: type[Source], settings: Mapping[str, Any], *, name: str) -> Source:
    """An instance of ``cls`` with the campaign's settings; not yet connected.

    Raises:
        CampaignError: if the constructor does not take these settings.
    """
    try:
        return cls(**settings)
    except TypeError as error:
        raise CampaignError(
            f"source {name!r}: {cls.__name__} does not take settings {dict(settings)!r} ({error}); "
            "compare them with the arguments of its __init__"
        ) from error


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A source as the hands need it: its class, how to make it, and what one trial may take."""

    name: str
    cls: type[Source]
    settings: Mapping[str, Any] = field(default_factory=dict)
    n_slots: int = 1  # trials at a time; an instrument has one
    timeout: float | None = None  # seconds
    resources: Mapping[str, float] = field(default_factory=dict)  # what Ray reserves for it
    responses: tuple[str, ...] = ()  # what each reading must hold
    space: Space | None = None  # what it may say that it achieved

    @property
    def kind(self) -> Kind:
        """Whether it is an instrument or a simulator."""
        return self.cls.kind

    def make(self) -> Source:
        """A new instance; not yet connected."""
        return make_source(self.cls, self.settings, name=self.name)
