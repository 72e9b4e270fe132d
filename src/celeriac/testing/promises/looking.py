"""Everything that is neither a delivery nor its end: stats, purge, wait, close, an unreachable store."""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import closing
from typing import Any

import pytest

from celeriac.core.broker import Broker, FanOut, QueueStats
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.lease import Eviction, Lease
from celeriac.testing.envelope import message
from celeriac.testing.promises.case import LONG, BrokerCase, counts, later, names, send, take

__all__ = ["Looking"]

#: Seconds a call may take at most that should return soon; no test waits so long unless it fails.
SOON = 10.0

SOME_MESSAGE = message("a", "q")
SOME_LEASE = Lease("1-1", "me", SOME_MESSAGE)

Verb = Callable[[Broker], object]

#: One call of each verb.
VERBS: dict[str, Verb] = {
    "send": lambda broker: broker.send([SOME_MESSAGE]),
    "claim": lambda broker: take(broker),
    "wait": lambda broker: broker.wait(["q"], 0.01),
    "renew": lambda broker: broker.renew(["me"], LONG),
    "ack": lambda broker: broker.ack([SOME_LEASE]),
    "release": lambda broker: broker.release([SOME_LEASE]),
    "delay": lambda broker: broker.delay([(SOME_LEASE, later())]),
    "bury": lambda broker: broker.bury([(SOME_LEASE, "a reason")]),
    "promote_due": lambda broker: broker.promote_due(),
    "reap": lambda broker: broker.reap(max_deliveries=5),
    "evict": lambda broker: broker.evict(Eviction(owner="me"), max_deliveries=5),
    "stats": lambda broker: broker.stats(["q"]),
    "scheduled": lambda broker: broker.scheduled(["q"]),
    "dead_letters": lambda broker: broker.dead_letters(),
    "retry_dead": lambda broker: broker.retry_dead(["1"]),
    "drop_dead": lambda broker: broker.drop_dead(["1"]),
    "purge": lambda broker: broker.purge(["q"]),
}


class Looking(BrokerCase):
    """``stats``, ``purge``, ``wait`` and ``close``."""

    def test_a_broker_satisfies_the_protocols_it_declares(self, broker: Broker) -> None:
        assert isinstance(broker, Broker)
        assert broker.features.fan_out == isinstance(broker, FanOut)

    def test_stats_count_each_queue_by_state(self, broker: Broker) -> None:
        send(broker, "a", "b", "c", "d", "e")
        _, _, late, dead = take(broker, 4)
        broker.delay([(late, later())])
        broker.bury([(dead, "a reason")])
        send(broker, "f", "g", queue="other", priority=3 if broker.features.priorities else 0)
        assert broker.stats(["q", "other", "unused"]) == {
            "q": QueueStats(ready=1, leased=2, delayed=1, dead=1),
            "other": QueueStats(ready=2),
            "unused": QueueStats(),
        }
        assert broker.stats([]) == {}

    def test_purge_drops_what_is_ready_or_delayed(self, broker: Broker) -> None:
        send(broker, "leased", "late", "dead")
        leased, late, dead = take(broker)
        broker.delay([(late, later())])
        broker.bury([(dead, "a reason")])
        send(broker, "a", "b")
        send(broker, "c", priority=3 if broker.features.priorities else 0)
        send(broker, "d", queue="other")
        assert broker.purge(["q", "unused"]) == 4
        assert counts(broker) == QueueStats(leased=1, dead=1)
        assert counts(broker, "other") == QueueStats(ready=1)
        assert broker.purge(["q"]) == 0
        assert broker.promote_due(later(9 * LONG)).count == 0
        assert not broker.ack([leased])

    def test_nothing_is_purged_by_an_empty_batch(self, broker: Broker) -> None:
        send(broker, "a")
        assert broker.purge([]) == 0
        assert counts(broker) == QueueStats(ready=1)

    def test_a_purged_queue_can_be_used_again(self, broker: Broker) -> None:
        send(broker, "old")
        broker.purge(["q"])
        send(broker, "new")
        assert names(take(broker)) == ["new"]

    def test_wait_returns_at_once_when_a_message_is_ready(self, broker: Broker) -> None:
        send(broker, "a", queue="two")
        assert_soon(lambda: broker.wait(["one", "two"], 2 * SOON))

    def test_wait_returns_after_its_timeout(self, broker: Broker) -> None:
        send(broker, "a", queue="elsewhere")
        assert_soon(lambda: broker.wait(["q"], 0.01))
        assert_soon(lambda: broker.wait([], 0.01))
        assert_soon(lambda: broker.wait(["q"], 0))

    def test_wait_is_over_when_its_time_is(self, broker: Broker) -> None:
        for _ in range(20):
            assert_soon(lambda: broker.wait(["q"], 0.001))

    def test_a_broker_may_be_closed_twice(self, broker: Broker) -> None:
        send(broker, "a")
        broker.close()
        broker.close()

    @pytest.mark.usefixtures("broker")
    @pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
    def test_a_store_out_of_reach_is_one_error_of_one_line(self, verb: Verb) -> None:
        unreachable = self.unreachable()
        if unreachable is None:
            pytest.skip("always reachable")
        with closing(unreachable), pytest.raises(BrokerUnavailable, match=r"\A[^\n]+\Z"):
            verb(unreachable)


def assert_soon(call: Callable[[], object]) -> None:
    """Fail unless the call returns within :data:`SOON` seconds."""
    with ThreadPoolExecutor(1) as threads:
        finish_soon([threads.submit(call)])


def finish_soon(calls: Sequence[Future[Any]]) -> None:
    """Fail unless all calls return within :data:`SOON` seconds; raise what they raised."""
    _, late = wait_for(calls, timeout=SOON)
    assert not late, f"still waiting after {SOON:g} s"
    for call in calls:
        call.result()
