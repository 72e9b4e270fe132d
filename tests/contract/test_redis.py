"""RedisBroker keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest
from redis import Redis

from celeriac.brokers.redis import RedisBroker
from celeriac.testing import BrokerContract, CrashContract
from tests.servers import RedisServer, free_port

_numbers = count()


class TestRedis(BrokerContract):
    @pytest.fixture
    def broker(self, redis: RedisServer) -> Iterator[RedisBroker]:
        self.url, self.key_prefix = redis.url, f"test {next(_numbers)}:"
        broker = self.reopen()
        yield broker
        broker.close()

    def reopen(self) -> RedisBroker:
        return RedisBroker(self.url, key_prefix=self.key_prefix)

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
