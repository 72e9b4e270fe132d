"""What becomes of a task whose result cannot be stored."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

import pytest
from kombu.exceptions import EncodeError

from celeriac.brokers.connect import open_broker
from tests.either import ENGINES, Either, start
from tests.servers import RedisServer, wait_until

MODULE = "tests.apps.stores"


@pytest.fixture(params=ENGINES)
def either(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> Either:
    return start(request.param, MODULE, tmp_path, redis)


def left(either: Either) -> int:
    """How many messages are in the queue."""
    with either.app.connection_for_read() as connection:
        return int(connection.default_channel.client.llen("celery"))


@pytest.mark.shows("setting", "result_serializer")
@pytest.mark.shows("task option", "acks_late")
def test_a_value_that_cannot_be_serialised_fails_its_task(either: Either) -> None:
    with either.worker("-c", "1") as process:
        for name in ("opaque", "opaque_late"):
            failed = either.task(name).delay()
            with pytest.raises(EncodeError):
                failed.get(timeout=20)
            assert either.ledger.entries(failed.id) == ["ran"]
        assert either.task("plain").delay(5).get(timeout=20) == 5
        assert process.stop() == 0
    assert left(either) == 0


@pytest.mark.shows("task option", "acks_late")
def test_a_store_that_is_gone_loses_results_and_holds_up_no_task(tmp_path: Path, redis: RedisServer) -> None:
    """A store that cannot be tried again: Celery logs the error, and the message is done."""
    folder = tmp_path / "results"
    calls = (("plain", 1), ("plain_late", 2), ("fail_late",), ("plain", 3))
    ran: dict[str, list[str]] = {}
    said: dict[str, str] = {}
    for engine in ENGINES:
        folder.mkdir()
        either = start(engine, MODULE, tmp_path, redis, {"result_backend": f"file://{folder}"})
        with either.worker("-c", "1") as process:
            assert either.task("plain").delay(5).get(timeout=20) == 5
            rmtree(folder)
            unstored = [either.task(name).delay(*args) for name, *args in calls]
            wait_until(lambda either=either: either.ledger.count("ran") == len(calls) + 1)
            assert process.stop() == 0
            said[engine] = process.text
        ran[engine] = [entry for result in unstored for entry in either.ledger.entries(result.id)]
        assert left(either) == 0
        if engine == "celeriac":
            broker = open_broker(redis.url, {"global_keyprefix": either.environment["KEY_PREFIX"]})
            assert broker.dead_letters() == []
    assert ran["celeriac"] == ran["celery"] == ["ran"] * len(calls)
    assert said["celeriac"].count("Task handler raised error: FileNotFoundError") == len(calls)
