"""What all tests share: one Ray for the session, started as the product starts it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[Any]:
    from closedloop.controller.ray_session import RaySession

    session = RaySession(demand={"CPU": 8})
    yield session
    session.stop()
