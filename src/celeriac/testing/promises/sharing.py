"""Several users of one store: instances, threads, and the races between them."""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from threading import Barrier

import pytest

from celeriac.core.broker import Broker, QueueStats
from celeriac.core.lease import Eviction, Lease
from celeriac.testing.promises.case import LONG, BrokerCase, counts, later, names, send, take
from celeriac.testing.promises.looking import SOON, finish_soon

__all__ = ["Sharing"]


class Sharing(BrokerCase):
    """What one instance does, all others see; no two ever hold the same message.

    A broker that is not shared between processes is used from two threads here instead, since
    whoever waits on it must be woken by somebody.
    """

    @contextmanager
    def another(self, broker: Broker) -> Iterator[Broker]:
        """A second instance on the same store, or the same instance where there is only one."""
        if not broker.features.shared:
            yield broker
            return
        with closing(self.reopen()) as instance:
            yield instance

    def test_wait_returns_when_another_sends(self, broker: Broker) -> None:
        with self.another(broker) as sender, ThreadPoolExecutor(1) as threads:
            for name in ("a", "b", "c"):
                waiting = threads.submit(broker.wait, ["q"], 2 * SOON)
                send(sender, name)
                finish_soon([waiting])
                assert names(take(broker)) == [name]

    def test_wait_returns_when_another_gives_back(self, broker: Broker) -> None:
        with self.another(broker) as other, ThreadPoolExecutor(1) as threads:
            send(other, "a")
            leases = take(other, owner="other")
            waiting = threads.submit(broker.wait, ["q"], 2 * SOON)
            other.release(leases)
            finish_soon([waiting])
            assert names(take(broker)) == ["a"]

    def test_instances_see_what_the_others_did(self, broker: Broker) -> None:
        with self.another(broker) as other:
            send(broker, "a", "b")
            a, b = take(other, owner="other")
            assert counts(broker) == QueueStats(leased=2)
            assert not broker.ack([a])
            assert broker.evict(Eviction(owner="other"), max_deliveries=5).returned == 1
            assert sorted(names(other.release([a, b]))) == ["a", "b"]
            assert names(take(broker)) == ["b"]

    def test_leases_stay_as_they_are_when_their_instance_is_closed(self, broker: Broker) -> None:
        with self.another(broker) as other:
            send(broker, "a", "b")
            a, b = take(other, owner="other")
            other.close()
            assert counts(broker) == QueueStats(leased=2)
            assert not broker.ack([a])
            assert broker.reap(later(), max_deliveries=5).returned == 1
            assert list(broker.ack([b])) == [b]

    def test_messages_outlive_the_instance_that_sent_them(self, broker: Broker) -> None:
        if not (broker.features.persistent and broker.features.shared):
            pytest.skip("messages live as long as their broker")
        send(broker, "a")
        broker.close()
        with closing(self.reopen()) as other:
            assert names(take(other)) == ["a"]

    def test_no_two_claims_share_a_message(self, broker: Broker) -> None:
        sent = [f"{number}" for number in range(400)]
        send(broker, *sent)
        with ExitStack() as stack:
            others = [stack.enter_context(self.another(broker)) for _ in range(4)]
            start = Barrier(len(others))
            threads = stack.enter_context(ThreadPoolExecutor(len(others)))
            done = [threads.submit(_drain, other, f"owner {n}", start) for n, other in enumerate(others)]
            seen = Counter(name for future in done for name in names(future.result(timeout=SOON)))
        assert seen == Counter(sent)
        assert counts(broker) == QueueStats()

    def test_either_the_ack_or_the_eviction_wins(self, broker: Broker) -> None:
        """A paused worker acks at the moment its supervisor takes its leases back."""
        with self.another(broker) as worker, ThreadPoolExecutor(2) as threads:
            for turn in range(20):
                owner = f"owner {turn}"
                send(broker, *(f"{turn} {number}" for number in range(4)))
                leases = take(worker, owner=owner)
                start = Barrier(2)
                settling = threads.submit(_ack_one_by_one, worker, leases, start)
                start.wait()
                returned = broker.evict(Eviction(owner=owner), max_deliveries=5).returned
                lost = settling.result(timeout=SOON)
                assert len(lost) == returned
                assert names(take(broker, ack=())) == names(lost)
                broker.evict(Eviction(owner="me"), max_deliveries=5)
                broker.purge(["q"])

    def test_of_two_reapers_each_message_goes_back_once(self, broker: Broker) -> None:
        with self.another(broker) as other, ThreadPoolExecutor(1) as threads:
            for turn in range(10):
                send(broker, "a", "b", "c")
                take(broker, owner=f"owner {turn}")
                start = Barrier(2)
                theirs = threads.submit(_reap, other, start)
                ours = _reap(broker, start)
                assert ours + theirs.result(timeout=SOON) == 3
                assert counts(broker) == QueueStats(ready=3)
                broker.purge(["q"])


def _drain(broker: Broker, owner: str, start: Barrier) -> list[Lease]:
    """Claim and ack small batches until nothing is left; return all leases."""
    start.wait()
    seen: list[Lease] = []
    batch: list[Lease] = []
    for n in count(1):
        claimed = broker.claim(["q"], n % 7 + 1, owner=owner, lease_for=LONG, ack=batch)
        assert not claimed.lost
        batch = list(claimed.leases)
        seen += batch
        if not batch:
            break
    return seen


def _ack_one_by_one(broker: Broker, leases: list[Lease], start: Barrier) -> list[Lease]:
    start.wait()
    return [lease for each in leases for lease in broker.ack([each])]


def _reap(broker: Broker, start: Barrier) -> int:
    start.wait()
    return broker.reap(later(), max_deliveries=5).returned
