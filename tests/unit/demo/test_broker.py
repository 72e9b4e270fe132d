from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from celeriac.brokers.connect import open_broker
from celeriac.core.errors import ConfigurationError
from celeriac.core.message import Message
from celeriac.demo.broker import DemoBroker, file_url
from tests.servers import RedisServer, free_port


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("redsi://localhost", "did you mean 'redis'"),
        ("localhost:6379", "has no known scheme"),
        ("", "has no known scheme"),
        ("redis://localhost:port/0", "is not a Redis URL"),
        ("sqlite://broker.db", "write sqlite:///file.db"),
        ("memory://", "has no known scheme"),
    ],
)
def test_a_useless_url_is_refused_with_advice(url: str, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice) as refused:
        DemoBroker(url, run="r")
    assert "\n" not in str(refused.value)


def test_a_broker_that_does_not_answer_is_refused_with_advice() -> None:
    url = f"redis://user:secret@127.0.0.1:{free_port()}/0"
    with closing(DemoBroker(url, run="r")) as broker, pytest.raises(ConfigurationError) as refused:
        broker.check()
    assert "leave --broker out" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_file_is_named_so_that_it_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(DemoBroker("sqlite:///a%20b.db?synchronous=FULL", run="r")) as broker:
        assert broker.url == file_url(tmp_path / "a b.db", options="synchronous=FULL")
        broker.check()
    assert (tmp_path / "a b.db").exists()


def test_the_backlog_is_that_of_this_run_alone(tmp_path: Path) -> None:
    url = file_url(tmp_path / "broker.db")
    with closing(DemoBroker(url, run="one")) as one, closing(DemoBroker(url, run="two")) as two:
        with closing(open_broker(url)) as raw:
            raw.send([Message(queue=one.queue, payload=b"{}"), Message(queue=one.queue, payload=b"{}")])
            raw.claim([one.queue], 1, owner="shard", lease_for=60)
        assert (one.backlog(), two.backlog()) == (2, 0)


def test_closing_leaves_a_redis_as_it_was(redis: RedisServer) -> None:
    with Redis.from_url(redis.url) as client:
        client.flushdb()
        client.set("theirs", 1)
        broker = DemoBroker(redis.url, run="r")
        with closing(open_broker(redis.url, {"global_keyprefix": broker.prefix})) as raw:
            raw.send([Message(queue=broker.queue, payload=b"{}")] * 3)
            raw.claim([broker.queue], 1, owner="shard", lease_for=60)
        assert len(client.keys("*")) > 1
        broker.close()
        assert client.keys("*") == [b"theirs"]
