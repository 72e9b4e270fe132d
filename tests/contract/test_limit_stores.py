"""The stores of locks and gates keep their contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.core.errors import ConfigurationError
from celeriac.limits.connect import has_store, open_store
from celeriac.limits.memory_store import MemoryStore
from celeriac.limits.redis_store import RedisStore
from celeriac.limits.sqlite_store import SqliteStore
from celeriac.limits.store import LimitStore
from tests.contract.limit_store import LimitStoreContract, fresh, lock
from tests.servers import RedisServer, free_port, redis_server


class TestMemoryStore(LimitStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


class TestSqliteStore(LimitStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[LimitStore]:
        self.path = tmp_path / "limits.db"
        store = SqliteStore(self.path)
        yield store
        store.close()

    def reopen(self) -> LimitStore:
        return SqliteStore(self.path)

    def unreachable(self) -> LimitStore:
        return SqliteStore(Path("/nowhere/limits.db"))


class TestRedisStore(LimitStoreContract):
    @pytest.fixture
    def store(self, redis: RedisServer) -> Iterator[LimitStore]:
        self.url, self.prefix = redis.url, fresh("store:")
        store = self.reopen()
        yield store
        store.close()

    def reopen(self) -> LimitStore:
        return RedisStore(self.url, key_prefix=self.prefix)

    def unreachable(self) -> LimitStore:
        return RedisStore(f"redis://127.0.0.1:{free_port()}/0")


def test_a_restarted_server_is_found_again() -> None:
    with redis_server() as server:
        store = RedisStore(server.url)
        lock(store, "before", "a", 60)
        server.stop()
        server.start()
        assert lock(store, "after", "a", 60) == "a"


def test_a_url_names_a_store(tmp_path: Path) -> None:
    assert isinstance(open_store("memory://"), MemoryStore)
    assert isinstance(open_store(f"sqlite:///{tmp_path}/queue.db"), SqliteStore)
    assert isinstance(open_store("redis+socket:///nowhere/redis.sock?virtual_host=1"), RedisStore)
    assert isinstance(open_store("sentinel://one;sentinel://two", {"master_name": "m"}), RedisStore)
    assert not has_store("amqp://")
    assert not has_store("redis://one;redis://two")
    with pytest.raises(ConfigurationError, match=r"'amqp://broker' is none: set limits_url to a redis://"):
        open_store("amqp://broker")


def test_the_store_beside_a_broker_is_a_file_of_its_own(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/queue.db")
    lock(store, "key", "a", 60)
    store.close()
    assert (tmp_path / "queue.db.limits").exists()
    assert not (tmp_path / "queue.db").exists()
