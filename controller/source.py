"""The contract of simulators and instruments, and how a campaign finds them.

A source is found by ``package.module:Name``, by a path to a file (``./my_furnace.py:Furnace``) or by the
name of an entry point in the group ``closedloop.sources``. A campaign may come from anybody: no code runs because
of it that is not installed, under the current folder, or allowed by its reader.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from abc import ABC
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal

from .errors import CampaignError, ClosedLoopError, SourceError
from .preview import file_of, leads_to_source
from .records import Cost, Setting
from .rules import GuardRules, OnFailure
from .secret import mask, reveal, variables
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
    is_repeatable: ClassVar[bool] = False  # whether a trial may be carried out twice

    def connect(self) -> None:
        """Open what is needed. Raise ``SourceError`` with the remedy where it cannot be opened."""

    def close(self) -> None:
        """Let go of what ``connect`` opened."""


@dataclass(frozen=True)
class NotStarted:
    """The device certainly never began the trial."""

    text: str = ""


@dataclass(frozen=True)
class Unknown:
    """The device cannot tell what became of the trial."""

    text: str = ""


def find_source(target: str, *, folder: Path | None = None, allow_code: bool = False) -> type[Source]:
    """The class that ``target`` names. Code runs only if it is the user's: installed, or under the current folder.

    Args:
        target: ``module:Name``, ``path/to/file.py:Name`` or the name of an entry point.
        folder: where a relative path starts; the current folder if absent.
        allow_code: run the file also where it is not under the current folder.

    Raises:
        CampaignError: if there is no such module, file, name or entry point, if it is no source, or if its file may
            not be run.
    """
    where, _, name = target.partition(":")
    if not name:
        found = _from_entry_point(target)
    elif is_file(target):
        found = _from_module(_load_file(where, target, folder or Path(), allow_code=allow_code), name, target)
    else:
        found = _from_module(_load_module(where, name, target), name, target)
    return _as_source_class(found, target)


def find_function(target: str, *, folder: Path | None = None, allow_code: bool = False) -> Any:
    """What ``module:name`` or ``path/to/file.py:name`` names, found as sources are and under the same rules.

    Raises:
        CampaignError: as ``find_source``.
    """
    where, _, name = target.partition(":")
    if not name:
        raise CampaignError(f"predicate {target!r} is neither 'module:name' nor './file.py:name'; write one of them")
    if is_file(target):
        return _from_module(_load_file(where, target, folder or Path(), allow_code=allow_code), name, target)
    return _from_module(_load_module(where, name, target), name, target)


def is_file(target: str) -> bool:
    """Whether it names a source by the path of its file."""
    where, _, name = target.partition(":")
    return bool(name) and (where.endswith(".py") or "/" in where)


def _from_entry_point(target: str) -> Any:
    points = {p.name: p for p in entry_points(group="closedloop.sources")}
    if target not in points:
        known = ", ".join(sorted(points)) or "none"
        raise CampaignError(
            f"source {target!r} is neither 'module:Name', './file.py:Name' nor an installed entry point of "
            f"'closedloop.sources' (known: {known}); correct the name or install the package that has it"
        )
    with _said_of(target, f"entry point {points[target].value!r}"):
        return points[target].load()


def _load_module(where: str, name: str, target: str) -> Any:
    """The module, imported only if its text shows that the name is a source: importing runs its code."""
    if where.partition(".")[0] in sys.stdlib_module_names:
        raise CampaignError(
            f"source {target!r}: {where!r} is a part of Python, not a source, and is not imported; name a class that "
            "derives from closedloop.Instrument or closedloop.Simulator"
        )
    if where not in sys.modules and not leads_to_source(where, name):
        raise CampaignError(_why_not_imported(where, name, target))
    with _said_of(target, f"module {where!r}"):
        return importlib.import_module(where)


def _why_not_imported(where: str, name: str, target: str) -> str:
    file = file_of(where)
    if file is None:
        return (
            f"source {target!r}: module {where!r} cannot be imported: this environment has no text of it; install it, "
            f"or give a path to its file such as './{where.rsplit('.', 1)[-1]}.py:Name'"
        )
    return (
        f"source {target!r}: {file} does not show that {name!r} is a source, and it is not run to find out; derive it "
        "from closedloop.Instrument or closedloop.Simulator, decorate it with @closedloop.instrument or "
        "@closedloop.simulator, or let its package name it as an entry point of 'closedloop.sources'"
    )


@contextmanager
def _said_of(target: str, what: str) -> Iterator[None]:
    """Whatever the user's code raises at import, it may even call sys.exit, is said of its source."""
    try:
        yield
    except (Exception, SystemExit) as error:
        missing = isinstance(error, ImportError)
        remedy = "install what it needs" if missing else "import it in Python to see where"
        verb = "cannot be imported" if missing else "raised"
        raise CampaignError(f"source {target!r}: {what} {verb}: {type(error).__name__}: {error}; {remedy}") from error


def _load_file(where: str, target: str, folder: Path, *, allow_code: bool) -> Any:
    path = (folder / where).resolve()  # links and .. are followed before it is looked where it lies
    if not path.is_file():
        raise CampaignError(f"source {target!r}: there is no file {path}; correct the path")
    if not allow_code and not path.is_relative_to(Path.cwd().resolve()):
        raise CampaignError(
            f"source {target!r}: {path} is not under the current folder, and such code is run only if you say so; "
            "read it, then add --allow-code (in Python: read_campaign(path, allow_code=True)), or go to its folder"
        )
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
        with _said_of(target, str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
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


def known_to(source: Source, setting: Setting) -> Setting:
    """What a source takes of a setting; it need not know what is fixed, derived or measured."""
    names = source.parameters
    return dict(setting) if names is None else {n: v for n, v in setting.items() if n in names}


def make_source(cls: type[Source], settings: Mapping[str, Any], *, name: str) -> Source:
    """An instance of ``cls`` with the campaign's settings, its secrets looked up here; not yet connected.

    Raises:
        CampaignError: if a secret is not set, or if the constructor does not take these settings.
        SourceError: if the constructor raises anything else.
    """
    given = reveal(settings, source=name)
    has_secrets = bool(variables(settings))
    try:
        return cls(**given)
    except ClosedLoopError as error:
        error.args = (mask(str(error)), *error.args[1:])
        raise
    except TypeError as error:
        made: ClosedLoopError = CampaignError(
            f"source {name!r}: {cls.__name__} does not take settings {dict(settings)!r} ({mask(str(error))}); "
            "compare them with the arguments of its __init__"
        )
        cause: Exception = error
    except Exception as error:
        made = SourceError(
            f"source {name!r}: {cls.__name__} cannot be made: {type(error).__name__}: {mask(str(error))}; look at its "
            f"__init__ and its settings {dict(settings)!r}"
        )
        cause = error
    raise made from (None if has_secrets else cause)  # a traceback would say what the message masks


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
    is_repeatable: bool = False  # whether a trial may be carried out twice
    on_failure: OnFailure = field(default_factory=OnFailure)
    guard: GuardRules = field(default_factory=GuardRules)  # what holds beside the device
    needs_make_safe: bool = True
    device: str = ""  # names the device, where several drivers or settings mean the same one

    @property
    def kind(self) -> Kind:
        """Whether it is an instrument or a simulator."""
        return self.cls.kind

    def make(self) -> Source:
        """A new instance; not yet connected."""
        return make_source(self.cls, self.settings, name=self.name)
