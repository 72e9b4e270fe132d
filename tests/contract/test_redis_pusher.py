"""Messages reach Redis by one kept connection, which is renewed when the server has closed it."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest
from redis import Redis

from celeriac.brokers.redis import RedisBroker
from celeriac.core.errors import BrokerError, BrokerUnavailable
from celeriac.core.message import Message
from tests.servers import RedisServer, redis_server


def message(text: bytes, queue: str) -> Message:
    return Message(queue=queue, payload=text)


def test_one_connection_serves_all_messages(redis: RedisServer) -> None:
    queue, client = uuid4().hex, Redis.from_url(redis.url)
    broker = RedisBroker(redis.url)
    broker.send([message(b"0", queue)])
    before = client.info("stats")["total_connections_received"]  # type: ignore[index]
    for number in range(1, 5):
        broker.send([message(b"%d" % number, queue)])
    assert client.info("stats")["total_connections_received"] == before  # type: ignore[index]
    assert client.lrange(queue, 0, -1) == [b"4", b"3", b"2", b"1", b"0"]


def test_a_connection_that_the_server_closed_is_renewed() -> None:
    with redis_server() as server:
        broker = RedisBroker(server.url)
        broker.send([message(b"1", "q")])
        server.stop()
        with pytest.raises(BrokerUnavailable):
            broker.send([message(b"lost", "q")])
        server.start()
        broker.send([message(b"2", "q")])
        Redis.from_url(server.url).client_kill_filter(_type="normal", skipme=True)
        broker.send([message(b"3", "q")])
        assert Redis.from_url(server.url).lrange("q", 0, -1) == [b"3", b"2", b"1"]


def test_an_answer_that_is_an_error_is_not_taken_for_the_next_ones(redis: RedisServer) -> None:
    queue, client = uuid4().hex, Redis.from_url(redis.url)
    broker = RedisBroker(redis.url)
    client.set(f"{queue}-string", "not a list")
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        broker.send([message(b"1", f"{queue}-string")])
    broker.send([message(b"2", queue)])
    assert client.lrange(queue, 0, -1) == [b"2"]


def test_a_forked_child_has_a_connection_of_its_own(redis: RedisServer) -> None:
    queue, client = uuid4().hex, Redis.from_url(redis.url)
    broker = RedisBroker(redis.url)
    broker.send([message(b"parent", queue)])
    pid = os.fork()
    if pid == 0:
        broker.send([message(b"child", queue)])
        broker.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    broker.send([message(b"parent", queue)])
    assert client.lrange(queue, 0, -1) == [b"parent", b"child", b"parent"]
