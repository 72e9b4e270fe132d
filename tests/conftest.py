from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import RedisServer, redis_server
from tests.stage import Stage


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A private Redis server for the whole session; use a key prefix or flush it."""
    with redis_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    """A stage on each broker that workers can share."""
    return Stage(tmp_path, request.getfixturevalue("redis") if request.param == "redis" else None)


@pytest.fixture
def redis_stage(tmp_path: Path, redis: RedisServer) -> Stage:
    """A stage on Redis."""
    return Stage(tmp_path, redis)
