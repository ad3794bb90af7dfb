"""Ray as we run it: by token, on loopback, quiet, and gone afterwards. The only ``import ray``.

Laws:
    * A Ray that the caller started is used and left running.
    * A Ray that we start listens on loopback only, asks for a token, and leaves no process and no file behind,
      however its driver ends.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Thread, current_thread, main_thread
from typing import Any

import psutil
import ray
import ray.exceptions
import ray.util.scheduling_strategies
from ray._private import ray_constants
from ray._private import worker as ray_worker
from ray._raylet import AuthenticationTokenLoader, Config, GcsClient  # type: ignore[attr-defined]

from ..errors import SourceError
from . import reaper as ray_reaper

__all__ = ["RaySession", "ray", "ray_worker"]

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
        self.vital: dict[str, psutil.Process] = {}  # of a Ray that was started here: its head and its raylet
        self._roots: list[psutil.Process] = []
        self._folder, self._lock = "", -1
        self._is_ours = not ray.is_initialized()
        if not self._is_ours:
            return
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if not address:
            self._prepare()
        _read_environment_again()
        # Ray prints each actor that died to standard output; we answer for it, and our output may be JSON.
        ray_worker.print_to_stdstream = _keep_quiet
        before = set(psutil.Process().children())
        try:
            with _signals_kept():
                _join(address) if address else _start(dict(demand or {}), self._folder)
        except Exception as error:
            self._leave_nothing()
            place = f"the Ray cluster {address} cannot be joined" if address else "Ray cannot be started here"
            raise SourceError(
                f"{place}: {type(error).__name__}: {error}; look at the address and the token "
                "(RAY_AUTH_TOKEN_PATH), or run with the inline executor"
            ) from error
        self._roots = [p for p in psutil.Process().children() if p not in before]
        self.vital = {p.name(): p for p in self._roots if p.name() in ("gcs_server", "raylet")}

    def stop(self, *, is_lost: bool = False) -> None:
        """Leave Ray; where we started it, end it and wait until all its processes are gone.

        Args:
            is_lost: Ray works no more: its processes are ended first, so that nobody waits for them.
        """
        if not self._is_ours:
            return
        self._is_ours = False
        family = [p for root in self._roots if root.is_running() for p in (root, *root.children(recursive=True))]
        if is_lost:
            _end(family)
            leave = Thread(target=ray.shutdown, daemon=True)
            leave.start()
            leave.join(END_S)
        else:
            ray.shutdown()
            _, alive = psutil.wait_procs(family, timeout=END_S)
            _end(alive)
        self._leave_nothing()

    def _prepare(self) -> None:
        """A folder with a token, and a process that cleans up after us should we not come to it."""
        os.environ["RAY_AUTH_MODE"] = "token"  # others on this computer reach its loopback too
        self._folder, self._lock = ray_reaper.new_folder()
        if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
            path = os.path.join(self._folder, "ray_token")
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
            os.environ["RAY_AUTH_TOKEN_PATH"] = path
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        command = [sys.executable, ray_reaper.__file__, self._folder]
        subprocess.Popen(command, start_new_session=True, **quiet).wait(END_S)  # type: ignore[call-overload]

    def _leave_nothing(self) -> None:
        if self._lock < 0:
            return
        if os.environ.get("RAY_AUTH_TOKEN_PATH", "").startswith(self._folder + os.sep):
            del os.environ["RAY_AUTH_TOKEN_PATH"]
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)  # from here on the reaper ends what is left
        self._lock = -1


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray answers SIGTERM by an exit of its own; whoever had an answer already keeps it."""
    if current_thread() is not main_thread():  # then Ray cannot set any
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before):
            signal.signal(signal.SIGTERM, before)


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=END_S)


def _join(address: str) -> None:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("ray://").strip("[]")
    if host and port.isdecimal():  # Ray itself tries for minutes where nobody listens
        socket.create_connection((host, int(port)), timeout=REACH_S).close()
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file() and token.stat().st_uid == os.getuid():
        token.chmod(0o600)  # Ray itself leaves it readable to all
    if address == f"{host}:{port}" and os.environ["RAY_AUTH_MODE"] != "disabled" and not _asks_for_token(address):
        raise PermissionError(
            "it asks for no token, so whoever reaches its ports runs code on all its computers; start it with "
            "RAY_AUTH_MODE=token, or set RAY_AUTH_MODE=disabled here if its network is closed to others"
        )
    with _on_loopback() if host.startswith("127.") or host in ("localhost", "::1") else nullcontext():
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)


def _asks_for_token(address: str) -> bool:
    mode, os.environ["RAY_AUTH_MODE"] = os.environ["RAY_AUTH_MODE"], "disabled"
    _read_environment_again()
    try:
        GcsClient(address=address)
    except ray.exceptions.AuthenticationError:
        return True
    finally:
        os.environ["RAY_AUTH_MODE"] = mode
        _read_environment_again()
    return False


def _start(demand: dict[str, float], folder: str) -> None:
    n_cpus = max(os.cpu_count() or 1, math.ceil(demand.pop("CPU", 0.0)))
    options: dict[str, Any] = {"resources": demand} if demand else {}
    with _on_loopback():
        ray.init(
            num_cpus=n_cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=80_000_000,
            _temp_dir=folder,
            **options,
        )


def _keep_quiet(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    _LOG.debug("%s", data)


def _read_environment_again() -> None:
    # Ray read it at import, and keeps the token it saw first; it refreshes its own changes in this way too.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


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
