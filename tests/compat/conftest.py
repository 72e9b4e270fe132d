from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.either import ENGINES, Either, start
from tests.servers import RedisServer


@pytest.fixture(scope="module")
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis: RedisServer
) -> Iterator[dict[str, Either]]:
    """The module's MODULE run by both workers with its WORKER options, each with keys of its own."""
    folder = tmp_path_factory.mktemp("both")
    workers = {engine: start(engine, request.module.MODULE, folder, redis) for engine in ENGINES}
    with ExitStack() as stack:
        for either in workers.values():
            stack.enter_context(either.worker(*request.module.WORKER))
        yield workers


@pytest.fixture(params=ENGINES)
def either(request: pytest.FixtureRequest, both: dict[str, Either]) -> Either:
    """Celery's worker, then Celeriac's: what one test expects of both."""
    return both[request.param]
