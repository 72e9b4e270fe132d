"""Brokers that can be looked at from outside do so alike."""

from __future__ import annotations

from collections.abc import Iterator

import celery
import pytest
import redis as redis_py

from celeriac.core.broker import Broker
from celeriac.core.message import Message
from celeriac.core.watch import InMemory, Watchable
from tests.servers import wait_until
from tests.stage import Stage


@pytest.fixture
def broker(stage: Stage) -> Iterator[Broker]:
    broker = stage.broker()
    yield broker
    broker.close()


def watched(broker: Broker) -> Watchable:
    assert isinstance(broker, Watchable)
    return broker


def test_the_oldest_is_what_is_claimed_next_of_each_priority(broker: Broker) -> None:
    def oldest() -> set[tuple[str, int, bytes]]:
        return {(m.queue, m.priority, m.payload) for m in watched(broker).oldest(["one", "two", "empty"])}

    assert oldest() == set()
    for queue, priority in (("one", 0), ("one", 9), ("two", 3)):
        broker.send(
            [Message(queue=queue, payload=b'{"n":"%d"}' % n, priority=priority) for n in (1, 2)],
        )
    first = {("one", 0, b'{"n":"1"}'), ("one", 9, b'{"n":"1"}'), ("two", 3, b'{"n":"1"}')}
    assert oldest() == first
    claimed = broker.claim(["one"], 1, owner="me", lease_for=60).leases
    assert oldest() == first - {("one", 0, b'{"n":"1"}')} | {("one", 0, b'{"n":"2"}')}
    broker.release(claimed)
    assert oldest() == first


def test_a_message_delivered_before_is_told_as_it_was_sent(broker: Broker) -> None:
    broker.send([Message(queue="q", payload=b'{"n":"1"}')])
    broker.claim(["q"], 1, owner="dead", lease_for=0.001)
    wait_until(lambda: broker.reap(max_deliveries=3).returned, what="the lease taken back")
    assert [m.payload for m in watched(broker).oldest(["q"])] == [b'{"n":"1"}']


def test_what_is_posted_is_told_to_others_until_its_time_is_up(broker: Broker, stage: Stage) -> None:
    other = stage.broker()
    assert watched(other).posted() == {}
    watched(broker).post("one", b"\x00first", 60)
    watched(broker).post("one", b"\x00second", 60)
    watched(broker).post("two", b"brief", 0.3)
    assert watched(other).posted()["one"] == b"\x00second"
    wait_until(lambda: watched(other).posted() == {"one": b"\x00second"}, what="the brief one gone")
    assert broker.stats(["one"])["one"].ready == 0
    other.close()


def test_all_lists_of_a_stock_producers_priorities_are_counted_and_what_is_leased_is_not(
    redis_stage: Stage,
) -> None:
    stage = redis_stage
    stock = celery.Celery("stock", broker=stage.url, set_as_current=False)
    stock.conf.broker_transport_options = {
        "global_keyprefix": stage.prefix,
        "queue_order_strategy": "priority",
    }
    for priority in range(10):
        stock.send_task("t", priority=priority)
    broker, client = stage.broker(), redis_py.Redis.from_url(stage.url)

    def waiting() -> int:
        steps = ("", "\x06\x163", "\x06\x166", "\x06\x169")
        return sum(int(client.llen(f"{stage.prefix}celery{step}")) for step in steps)  # type: ignore[arg-type]

    numbers = broker.stats(["celery"])["celery"]
    assert (numbers.ready, numbers.leased, waiting()) == (10, 0, 10)
    assert sorted(message.priority for message in watched(broker).oldest(["celery"])) == [0, 3, 6, 9]
    broker.claim(["celery"], 4, owner="one", lease_for=60)
    numbers = broker.stats(["celery"])["celery"]
    assert (numbers.ready, numbers.leased, waiting()) == (6, 4, 6)
    broker.close()
    client.close()


def test_redis_says_how_much_memory_it_takes(redis_stage: Stage) -> None:
    broker = redis_stage.broker()
    assert isinstance(broker, InMemory)
    before = broker.memory()
    assert (before.most_bytes, before.evicted_keys) == (None, 0)
    broker.send([Message(queue="q", payload=b"x" * 5_000_000)])
    assert broker.memory().used_bytes > before.used_bytes + 4_000_000
    broker.close()
