"""MemoryBroker keeps the contract, and what only it promises: a clock that tests can set."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from celeriac.brokers.memory import MemoryBroker
from celeriac.core.broker import QueueStats
from celeriac.testing import BrokerContract
from celeriac.testing.envelope import message


class TestMemory(BrokerContract):
    @pytest.fixture
    def broker(self) -> MemoryBroker:
        return MemoryBroker()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock) -> MemoryBroker:
    return MemoryBroker(clock=clock)


def test_leases_run_out_by_the_given_clock(broker: MemoryBroker, clock: Clock) -> None:
    broker.send([message("a", "q")])
    broker.claim(["q"], 1, owner="me", lease_for=5)
    clock.now += 4.9
    assert broker.reap(max_deliveries=5).returned == 0
    broker.renew(["me"], 5)
    clock.now += 4.9
    assert broker.reap(max_deliveries=5).returned == 0
    clock.now += 0.1
    assert broker.reap(max_deliveries=1).buried[0].died_at == clock.now


def test_a_message_is_due_by_the_given_clock(broker: MemoryBroker, clock: Clock) -> None:
    broker.send([message("a", "q", due=1010.0)])
    assert not broker.claim(["q"], 1, owner="me", lease_for=5).leases
    clock.now = 1010.0
    broker.wait(["q"], 60)
    assert len(broker.claim(["q"], 1, owner="me", lease_for=5).leases) == 1


def test_a_queue_expires_when_no_claim_touches_it(broker: MemoryBroker, clock: Clock) -> None:
    broker.bind("events", "", "", "q")
    broker.expire_queue("q", 10)
    for _ in range(3):
        clock.now += 9
        broker.claim(["q"], 1, owner="me", lease_for=5)
    assert list(broker.bindings("events")) == [("", "", "q")]
    broker.send([message("a", "q")])
    clock.now += 10
    broker.promote_due()
    assert broker.stats(["q"]) == {"q": QueueStats()}
    assert list(broker.bindings("events")) == []


def test_a_waiting_thread_is_woken_by_whatever_makes_a_message_ready(broker: MemoryBroker) -> None:
    broker.send([message(name, "q") for name in "abcd"])
    back, late, dead, _ = broker.claim(["q"], 4, owner="me", lease_for=5).leases
    broker.delay([(late, 5000.0)])
    broker.bury([(dead, "a reason")])
    with ThreadPoolExecutor(1) as threads:
        for make_ready in (
            lambda: broker.release([back]),
            lambda: broker.promote_due(6000.0),
            lambda: broker.retry_dead([letter.id for letter in broker.dead_letters()]),
            lambda: broker.reap(6000.0, max_deliveries=5),
        ):
            waiting = threads.submit(broker.wait, ["q"], 20)
            make_ready()
            waiting.result(10)
            assert len(broker.claim(["q"], 1, owner="another", lease_for=9000).leases) == 1
