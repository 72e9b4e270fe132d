from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.servers import RedisServer, redis_server


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A private Redis server for the whole session; use a key prefix or flush it."""
    with redis_server() as server:
        yield server
