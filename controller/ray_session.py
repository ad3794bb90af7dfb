"""Ray as we run it: by token, on loopback, quiet, and gone afterwards. The only ``import ray``.

Laws:
    * A Ray that the caller started is used and left running.
    * A Ray that we start listens on loopback only, asks for a token, and leaves no process behind.
"""

from __future__ import annotations

import atexit
import functools
import logging
import math
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
import ray.exceptions
from ray._private import ray_constants
from ray._private import worker as ray_worker
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

from .errors import SourceError

__all__ = ["RaySession", "ray"]

_LOG = logging.getLogger(__name__)
REACH_S = 5.0  # how long a cluster's head may take to be reached
END_S = 10.0  # how long Ray's processes may take to end by themselves
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray binds 127.0.0.1, on every system
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 starves the actors of a busy computer
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class RaySession:
    """A Ray that runs from here to ``stop``: ours, a cluster's, or the caller's own.

    Args:
        address: a cluster to join; without it Ray is started here.
        demand: what all actors together will ask for; a Ray that is started here offers at least that.

    Raises:
        SourceError: if Ray cannot be started or joined.
    """

    def __init__(self, address: str | None = None, *, demand: Mapping[str, float] | None = None) -> None:
        self._roots: list[psutil.Process] = []
        self._is_ours = not ray.is_initialized()
        if not self._is_ours:
            return
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if not address and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
            os.environ["RAY_AUTH_TOKEN_PATH"] = _token_file()
        _read_environment_again()
        # Ray prints each actor that died to standard output; we answer for it, and our output may be JSON.
        ray_worker.print_to_stdstream = _keep_quiet
        before = set(psutil.Process().children())
        try:
            _join(address) if address else _start(dict(demand or {}))
        except Exception as error:
            place = f"the Ray cluster {address} cannot be joined" if address else "Ray cannot be started here"
            raise SourceError(
                f"{place}: {type(error).__name__}: {error}; look at the address and the token "
                "(RAY_AUTH_TOKEN_PATH), or run with the inline executor"
            ) from error
        finally:
            self._roots = [p for p in psutil.Process().children() if p not in before]

    def stop(self) -> None:
        """Leave Ray; where we started it, end it and wait until all its processes are gone."""
        if not self._is_ours:
            return
        self._is_ours = False
        family = [p for root in self._roots if root.is_running() for p in (root, *root.children(recursive=True))]
        ray.shutdown()
        _, alive = psutil.wait_procs(family, timeout=END_S)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=END_S)


def _join(address: str) -> None:
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():  # Ray itself tries for minutes where nobody listens
        socket.create_connection((host.removeprefix("ray://").strip("[]"), int(port)), timeout=REACH_S).close()
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file() and token.stat().st_uid == os.getuid():
        token.chmod(0o600)  # Ray itself leaves it readable to all
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)


def _start(demand: dict[str, float]) -> None:
    n_cpus = max(os.cpu_count() or 1, math.ceil(demand.pop("CPU", 0.0)))
    options: dict[str, Any] = {"resources": demand} if demand else {}
    with _on_loopback():
        ray.init(
            num_cpus=n_cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=80_000_000,
            **options,
        )


def _keep_quiet(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    _LOG.debug("%s", data)


def _read_environment_again() -> None:
    # Ray read it at import, and keeps the token it saw first; it refreshes its own changes in this way too.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@functools.cache
def _token_file() -> str:
    folder = tempfile.mkdtemp(prefix="closedloop-")  # mode 0700
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = os.path.join(folder, "ray_token")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return path


@contextmanager
def _on_loopback() -> Iterator[None]:
    # `_node_ip_address` alone leaves Ray on all interfaces; this switch is read at import, by children too.
    had = os.environ.get(_LOOPBACK)
    was = ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_LOOPBACK], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = was
        os.environ.pop(_LOOPBACK)
        if had is not None:
            os.environ[_LOOPBACK] = had
