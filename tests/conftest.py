"""What all tests share: one Ray for the session, started as the product starts it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)  # the first example of a process pays for its imports
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fences and guards of tests keep their files to themselves."""
    folder = tmp_path_factory.mktemp("runtime")
    folder.chmod(0o700)
    os.environ["CLOSEDLOOP_RUNTIME_DIR"] = str(folder)
    yield
    del os.environ["CLOSEDLOOP_RUNTIME_DIR"]


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[Any]:
    from closedloop.controller.actors.session import RaySession

    session = RaySession(demand={"CPU": 8})
    yield session
    session.stop()
