"""Benches: device processes that belong to a driver and live as long as the run (``start: bench``).

A bench prints one line of JSON, the settings that its driver needs, and ends when its standard input closes:
so it dies with whoever started it, however that ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from .campaign import Campaign
from .errors import CampaignError, SourceError
from .source import Binding

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 3.0


@contextmanager
def benches(campaign: Campaign, *, beside: Path) -> Iterator[dict[str, Binding]]:
    """The campaign's bindings, with each bench that it asks for started and its settings filled in.

    Args:
        campaign: whose sources say ``start: NAME``.
        beside: the ledger: a bench keeps its record next to it, so that it remembers its runs as a device would.
    """
    with ExitStack() as stack:
        bindings = campaign.bind()
        for name, spec in campaign.sources.items():
            if spec.start is not None:
                settings = stack.enter_context(_bench(name, spec.start, bindings[name], beside))
                merged = {**bindings[name].settings, **settings}
                bindings[name] = replace(bindings[name], settings=merged)
        yield bindings


def module_of(name: str, binding: Binding) -> str:
    """The module that runs a bench of a driver.

    Raises:
        CampaignError: if the driver has none of that name.
    """
    known: Mapping[str, str] = getattr(binding.cls, "benches", {})
    if name not in known:
        raise CampaignError(
            f"sources.{binding.name}.start = {name!r}: {binding.cls.__name__} has no such bench; it has "
            f"{', '.join(sorted(known)) or 'none'}"
        )
    return known[name]


@contextmanager
def _bench(source: str, name: str, binding: Binding, beside: Path) -> Iterator[Mapping[str, Any]]:
    module = module_of(name, binding)
    record = beside.with_name(f"{beside.name}.{source}.record")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, "--port", "0", "--quiet", "--record", str(record)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C in the terminal is for the controller, which makes the bench safe first
    )
    try:
        yield _first_line(process, source, module)
    finally:
        _stop(process)


def _first_line(process: subprocess.Popen[str], source: str, module: str) -> Mapping[str, Any]:
    import select

    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    line = process.stdout.readline() if ready else ""
    try:
        settings = json.loads(line)
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise SourceError(
            f"source {source!r}: its bench {module} did not start within {START_TIMEOUT_S:g} s (it said {line!r}); "
            f"run 'python -m {module}' to see why"
        )
    return settings


def _stop(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
