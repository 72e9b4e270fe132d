"""Sending and claiming: order, priorities, batches, lease ids."""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

import pytest

from celeriac.core.broker import Broker, QueueStats
from celeriac.core.message import Message
from celeriac.testing.envelope import message
from celeriac.testing.promises.case import LONG, BrokerCase, claim, counts, later, names, send, take

__all__ = ["Claiming"]


class Claiming(BrokerCase):
    """``send`` and ``claim``."""

    def test_messages_are_claimed_in_the_order_they_were_sent(self, broker: Broker) -> None:
        send(broker, "a", "b")
        send(broker, "c")
        assert names(take(broker)) == ["a", "b", "c"]

    def test_one_batch_may_serve_several_queues(self, broker: Broker) -> None:
        broker.send([message(name, queue) for name, queue in (("a", "one"), ("b", "two"), ("c", "one"))])
        assert names(take(broker, queues=["one"])) == ["a", "c"]
        assert names(take(broker, queues=["two"])) == ["b"]

    def test_a_claim_brings_at_most_n_and_the_next_goes_on_from_there(self, broker: Broker) -> None:
        send(broker, "a", "b", "c")
        assert names(take(broker, 2)) == ["a", "b"]
        assert names(take(broker, 2)) == ["c"]
        assert take(broker, 2) == []

    def test_a_message_comes_back_as_it_was_sent(self, broker: Broker) -> None:
        sent = message("a", "q")
        broker.send([sent])
        (lease,) = take(broker, owner="me")
        assert (lease.message.payload, lease.message.queue, lease.message.priority) == (sent.payload, "q", 0)
        assert (lease.owner, lease.deliveries) == ("me", 1)

    def test_payloads_are_opaque(self, broker: Broker) -> None:
        if broker.features.celery_wire:
            pytest.skip("payloads are kombu's envelope here")
        payloads = [b"", b"\x00\xff\xfe", b"'; --", bytes(range(256)) * 50]
        broker.send([Message(queue="q", payload=payload) for payload in payloads])
        assert [lease.message.payload for lease in take(broker)] == payloads

    def test_queue_names_are_opaque(self, broker: Broker) -> None:
        for queue in ("celery@host.pidbox", "müßig", "a b", "q%_*", "o'q\"", "{tag}:1"):
            send(broker, "a", queue=queue)
            (lease,) = take(broker, queues=[queue])
            assert lease.message.queue == queue

    def test_nothing_is_sent_by_an_empty_batch(self, broker: Broker) -> None:
        broker.send([])
        assert counts(broker) == QueueStats()

    def test_a_claim_may_bring_nothing(self, broker: Broker) -> None:
        assert take(broker, queues=["never used"]) == []
        send(broker, "a")
        assert take(broker, 0) == []
        assert take(broker, queues=[]) == []
        assert names(take(broker)) == ["a"]

    def test_only_the_named_queues_are_claimed_from(self, broker: Broker) -> None:
        send(broker, "a", queue="one")
        send(broker, "b", queue="two")
        assert names(take(broker, queues=["two"])) == ["b"]
        assert names(take(broker, queues=["two"])) == []

    def test_a_queue_named_twice_is_served_as_if_named_once(self, broker: Broker) -> None:
        send(broker, "a", "b")
        assert names(take(broker, queues=["q", "q"])) == ["a", "b"]

    def test_the_order_of_queues_goes_before_age(self, broker: Broker) -> None:
        send(broker, "old", queue="second")
        send(broker, "new", queue="first")
        assert names(take(broker, 1, queues=["first", "second"])) == ["new"]
        send(broker, "newer", queue="first")
        assert names(take(broker, queues=["first", "second"])) == ["newer", "old"]

    def test_the_lowest_priority_is_claimed_first(self, broker: Broker) -> None:
        if not broker.features.priorities:
            pytest.skip("no priorities")
        for priority in (9, 3, 0, 6, 3):
            send(broker, f"at {priority}, {counts(broker).ready} before", priority=priority)
        assert names(take(broker, 2)) == ["at 0, 2 before", "at 3, 1 before"]
        assert [lease.message.priority for lease in take(broker)] == [3, 6, 9]

    def test_priority_goes_before_the_order_of_queues(self, broker: Broker) -> None:
        if not broker.features.priorities:
            pytest.skip("no priorities")
        send(broker, "late", queue="first", priority=3)
        send(broker, "early", queue="second", priority=0)
        send(broker, "last", queue="second", priority=3)
        assert names(take(broker, queues=["first", "second"])) == ["early", "late", "last"]

    def test_what_is_leased_is_not_claimed_again(self, broker: Broker) -> None:
        send(broker, "a", "b")
        assert names(take(broker, 1, owner="one")) == ["a"]
        assert names(take(broker, owner="two")) == ["b"]
        assert take(broker, owner="one") == []
        assert counts(broker) == QueueStats(leased=2)

    def test_lease_ids_are_short_and_never_come_twice(self, broker: Broker) -> None:
        send(broker, "a", "b", "c")
        seen: list[str] = []
        for n in (1, 2, 3, 3):
            leases = take(broker, n)
            seen += [lease.id for lease in leases]
            assert not broker.release(leases)
        assert len(set(seen)) == len(seen) == 9
        assert all(lease.isascii() and 0 < len(lease) <= 47 for lease in seen)

    def test_large_batches_keep_their_order(self, broker: Broker) -> None:
        sent = [f"{number:05}" for number in range(2500)]
        send(broker, *sent)
        first = take(broker, 1200)
        rest = take(broker, 1800, ack=first)
        assert names([*first, *rest]) == sent

    def test_a_claim_first_acks(self, broker: Broker) -> None:
        send(broker, "a", "b", "c")
        first = take(broker, 2)
        assert names(take(broker, ack=first)) == ["c"]
        assert counts(broker) == QueueStats(leased=1)
        assert broker.reap(later(), max_deliveries=5).returned == 1
        assert names(take(broker)) == ["c"]

    def test_a_claim_that_brings_nothing_acks_all_the_same(self, broker: Broker) -> None:
        send(broker, "a", "b", "c")
        for n, queues in ((0, ["q"]), (1, []), (1, ["another"])):
            broker.claim(queues, n, owner="me", lease_for=LONG, ack=take(broker, 1))
        assert counts(broker) == QueueStats()

    def test_a_claim_names_the_acked_leases_that_were_lost(self, broker: Broker) -> None:
        send(broker, "a", "b", "c")
        lost, held = take(broker, 2)
        broker.ack([lost])
        claimed = claim(broker, ack=[lost, held])
        assert names(claimed.leases) == ["c"]
        assert list(claimed.lost) == [lost]

    def test_a_suspect_ends_its_batch(self, broker: Broker) -> None:
        send(broker, "a", "b", "c")
        take(broker, 2)
        broker.reap(later(), max_deliveries=5)
        assert names(take(broker)) == ["a"]
        assert names(take(broker)) == ["b"]
        assert names(take(broker)) == ["c"]

    def test_a_suspect_comes_last_in_a_batch_of_fresh_ones(self, broker: Broker) -> None:
        send(broker, "suspect", queue="second")
        take(broker, queues=["second"])
        broker.reap(later(), max_deliveries=5)
        send(broker, "a", "b", queue="first")
        send(broker, "c", queue="second")
        batch = take(broker, queues=["first", "second"])
        assert names(batch) == ["a", "b", "suspect"]
        assert [lease.deliveries for lease in batch] == [1, 1, 2]
        assert names(take(broker, queues=["first", "second"])) == ["c"]
