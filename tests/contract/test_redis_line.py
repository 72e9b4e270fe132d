"""Scripts are called on one kept connection, which is renewed when the server has closed it."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

import pytest
from redis import Redis

from celeriac.brokers.redis import RedisBroker
from celeriac.core.errors import BrokerError, BrokerUnavailable
from celeriac.core.message import Message
from tests.servers import RedisServer, redis_server


def test_one_connection_serves_all_claims(redis: RedisServer) -> None:
    queue, client = uuid4().hex, Redis.from_url(redis.url)
    with closing(RedisBroker(redis.url)) as broker:
        broker.send([Message(queue=queue, payload=b"{%d}" % number) for number in range(6)])
        taken = list(broker.claim([queue], 1, owner="o", lease_for=5).leases)
        before = client.info("stats")["total_connections_received"]  # type: ignore[index]
        for _ in range(5):
            taken += broker.claim([queue], 1, owner="o", lease_for=5, ack=taken[-1:]).leases
        assert client.info("stats")["total_connections_received"] == before  # type: ignore[index]
        assert [lease.message.payload for lease in taken] == [b"{%d}" % number for number in range(6)]


def test_a_server_that_forgot_the_script_is_told_it_again(redis: RedisServer) -> None:
    queue = uuid4().hex
    with closing(RedisBroker(redis.url)) as broker, closing(Redis.from_url(redis.url)) as client:
        broker.send([Message(queue=queue, payload=b"{%d}" % number) for number in range(2)])
        first = broker.claim([queue], 1, owner="o", lease_for=5).leases
        client.script_flush()
        assert len(broker.claim([queue], 1, owner="o", lease_for=5, ack=first).leases) == 1


def test_a_claim_finds_the_server_again_after_it_was_away() -> None:
    with redis_server() as server, closing(RedisBroker(server.url)) as broker:
        broker.claim(["q"], 1, owner="o", lease_for=5)
        server.stop()
        with pytest.raises(BrokerUnavailable):
            broker.claim(["q"], 1, owner="o", lease_for=5)
        server.start()
        broker.send([Message(queue="q", payload=b"{}")])
        assert len(broker.claim(["q"], 1, owner="o", lease_for=5).leases) == 1
        with closing(Redis.from_url(server.url)) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        broker.send([Message(queue="q", payload=b"{}")])
        assert len(broker.claim(["q"], 1, owner="o", lease_for=5).leases) == 1


def test_an_error_of_the_script_is_not_taken_for_the_next_answer(redis: RedisServer) -> None:
    queue = uuid4().hex
    with closing(RedisBroker(redis.url)) as broker, closing(Redis.from_url(redis.url)) as client:
        client.set(queue, "not a list")
        with pytest.raises(BrokerError, match="WRONGTYPE"):
            broker.claim([queue], 1, owner="o", lease_for=5)
        client.delete(queue)
        broker.send([Message(queue=queue, payload=b"{}")])
        assert len(broker.claim([queue], 1, owner="o", lease_for=5).leases) == 1
