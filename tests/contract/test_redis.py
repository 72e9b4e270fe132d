"""RedisBroker keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest
from redis import Redis

from celeriac.brokers.redis import RedisBroker
from celeriac.core.broker import QueueStats
from celeriac.core.errors import BrokerError
from celeriac.core.message import Message
from celeriac.testing import BrokerContract, CrashContract
from tests.servers import RedisServer, free_port

_numbers = count()


class AlwaysLarge(RedisBroker):
    """Claims every message as if it were a large one."""

    large_from = 0.0


class TestRedis(BrokerContract):
    broker_type: type[RedisBroker] = RedisBroker

    @pytest.fixture
    def broker(self, redis: RedisServer) -> Iterator[RedisBroker]:
        self.url, self.key_prefix = redis.url, f"test {next(_numbers)}:"
        broker = self.reopen()
        yield broker
        broker.close()

    def reopen(self) -> RedisBroker:
        return self.broker_type(self.url, key_prefix=self.key_prefix)

    def unreachable(self) -> RedisBroker:
        return RedisBroker(f"redis://127.0.0.1:{free_port()}/0")


class TestRedisCrashes(CrashContract):
    factory = "celeriac.brokers.redis:RedisBroker"

    @pytest.fixture
    def address(self, redis: RedisServer) -> str:
        url = f"{redis.url.removesuffix('/0')}/1"
        with closing(Redis.from_url(url)) as client:
            client.flushdb()
        return url


class TestLargeClaims(TestRedis):
    broker_type = AlwaysLarge

    def test_a_server_that_forgot_the_script_is_told_it_again(self, broker: RedisBroker) -> None:
        broker.send([Message(queue="q", payload=b"{}")])
        with closing(Redis.from_url(self.url)) as client:
            client.script_flush()
        [lease] = broker.claim(["q"], 2, owner="o", lease_for=5).leases
        assert lease.message.payload == b"{}"
        assert broker.stats(["q"])["q"] == QueueStats(leased=1)

    def test_no_list_is_left_behind_by_a_claim(self, broker: RedisBroker) -> None:
        broker.send([Message(queue="q", payload=b"{%d}" % number) for number in range(3)])
        with closing(Redis.from_url(self.url)) as client:
            first = broker.claim(["none", "q"], 2, owner="o", lease_for=5)
            assert not list(client.scan_iter("*claiming*"))
            last = broker.claim(["none", "q"], 2, owner="o", lease_for=5, ack=first.leases)
            broker.claim(["none", "q"], 2, owner="o", lease_for=5, ack=last.leases)
            assert [*client.scan_iter(f"{self.key_prefix}*", _type="list")] == []
            assert [*client.scan_iter(f"{self.key_prefix}celeriac:leases:*")] == []

    def test_what_is_not_a_list_is_left_alone(self, broker: RedisBroker) -> None:
        with closing(Redis.from_url(self.url)) as client:
            client.hset(f"{self.key_prefix}q", "field", "value")
            with pytest.raises(BrokerError):
                broker.claim(["q"], 1, owner="o", lease_for=5)
            assert client.hgetall(f"{self.key_prefix}q") == {b"field": b"value"}


class TestLargeClaimsCrashes(TestRedisCrashes):
    factory = "tests.contract.test_redis:AlwaysLarge"


def test_large_messages_are_claimed_a_few_at_a_time_from_the_first_claim_on(redis: RedisServer) -> None:
    with closing(RedisBroker(redis.url, key_prefix="large:")) as broker:
        broker.send([Message(queue="q", payload=b"{%s}" % (b"x" * 300_000)) for _ in range(20)])
        taken = [broker.claim(["q"], 256, owner="o", lease_for=5).leases for _ in range(2)]
        assert [len(leases) for leases in taken] == [3, 3]
        broker.send([Message(queue="small", payload=b"{}")] * 300)
        broker.ack([lease for leases in taken for lease in leases])
        broker.purge(["q"])
        assert len(broker.claim(["q", "small"], 256, owner="o", lease_for=5).leases) == 3
        assert len(broker.claim(["q", "small"], 256, owner="o", lease_for=5).leases) == 256
