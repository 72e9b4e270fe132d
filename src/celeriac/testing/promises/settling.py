"""Settling leases: ack, release, and what nobody may settle any more."""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from celeriac.core.broker import Broker, QueueStats
from celeriac.core.lease import Eviction, Lease
from celeriac.testing.promises.case import BrokerCase, claim, counts, later, names, send, take

__all__ = ["Settling"]

Settle = Callable[[Broker, Sequence[Lease]], Sequence[Lease]]
TakeBack = Callable[[Broker, Lease], object]

#: Every way to settle leases, each returning those that were no longer held.
SETTLEMENTS: dict[str, Settle] = {
    "ack": lambda broker, leases: broker.ack(leases),
    "ack in a claim": lambda broker, leases: claim(broker, 0, owner="another", ack=leases).lost,
    "release": lambda broker, leases: broker.release(leases),
    "delay": lambda broker, leases: broker.delay([(lease, later()) for lease in leases]),
    "bury": lambda broker, leases: broker.bury([(lease, "a reason") for lease in leases]),
}


def _reap(broker: Broker, _: Lease) -> None:
    broker.reap(later(), max_deliveries=5)


def _evict(broker: Broker, lease: Lease) -> None:
    broker.evict(Eviction(owner=lease.owner), max_deliveries=5)


def _reap_and_claim_again(broker: Broker, lease: Lease) -> None:
    _reap(broker, lease)
    take(broker, owner=lease.owner)


def _reap_and_claim_by_another(broker: Broker, lease: Lease) -> None:
    _reap(broker, lease)
    take(broker, owner="another")


#: Every way to lose a lease whose message is still there.
LOSSES: dict[str, TakeBack] = {
    "reaped": _reap,
    "evicted": _evict,
    "claimed again": _reap_and_claim_again,
    "claimed by another": _reap_and_claim_by_another,
    "released": lambda broker, lease: broker.release([lease]),
    "delayed": lambda broker, lease: broker.delay([(lease, later())]),
    "buried": lambda broker, lease: broker.bury([(lease, "a reason")]),
}

each_settlement = pytest.mark.parametrize("settle", SETTLEMENTS.values(), ids=SETTLEMENTS.keys())
each_loss = pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES.keys())


class Settling(BrokerCase):
    """``ack`` and ``release``; and the fence around all leases that were taken back."""

    def test_an_acked_message_is_gone(self, broker: Broker) -> None:
        send(broker, "a", "b")
        leases = take(broker)
        assert list(broker.ack(leases)) == []
        assert counts(broker) == QueueStats()
        assert broker.reap(later(), max_deliveries=5).returned == 0
        assert take(broker) == []

    def test_equal_messages_are_kept_apart(self, broker: Broker) -> None:
        send(broker, "same", "same")
        send(broker, "same")
        leases = take(broker)
        assert not broker.ack(leases[1:])
        assert counts(broker) == QueueStats(leased=1)
        assert not broker.release(leases[:1])
        assert names(take(broker)) == ["same"]

    def test_released_messages_are_claimed_next_and_in_order(self, broker: Broker) -> None:
        send(broker, "a", "b", "c", "d")
        leases = take(broker, 3)
        assert list(broker.release(leases)) == []
        again = take(broker)
        assert names(again) == ["a", "b", "c", "d"]

    def test_a_release_counts_no_delivery(self, broker: Broker) -> None:
        send(broker, "a")
        broker.release(take(broker))
        (lease,) = take(broker)
        assert lease.deliveries == 1

    def test_a_released_message_keeps_its_place_among_queues_and_priorities(self, broker: Broker) -> None:
        send(broker, "other", queue="first")
        send(broker, "back", queue="second")
        broker.release(take(broker, queues=["second"]))
        assert names(take(broker, queues=["first", "second"])) == ["other", "back"]

    def test_a_batch_may_be_settled_in_any_order_and_parts(self, broker: Broker) -> None:
        send(broker, "a", "b", "c", "d", "e", "f")
        a, b, c, d, e, f = take(broker)
        assert not broker.ack([e, b])
        assert not broker.release([d])
        assert not broker.bury([(a, "a reason")])
        assert not broker.delay([(f, later())])
        assert counts(broker) == QueueStats(ready=1, leased=1, delayed=1, dead=1)
        assert names(take(broker, ack=[c])) == ["d"]
        assert counts(broker) == QueueStats(leased=1, delayed=1, dead=1)

    def test_leases_of_several_claims_may_be_settled_together(self, broker: Broker) -> None:
        send(broker, "a", "b", "c")
        leases = [*take(broker, 1, owner="one"), *take(broker, 1, owner="two"), *take(broker, 1, owner="one")]
        assert not broker.ack(leases)
        assert counts(broker) == QueueStats()

    @each_settlement
    def test_nothing_is_settled_by_an_empty_batch(self, broker: Broker, settle: Settle) -> None:
        send(broker, "a")
        take(broker)
        assert list(settle(broker, [])) == []
        assert counts(broker) == QueueStats(leased=1)

    @each_settlement
    @each_loss
    def test_a_lost_lease_settles_nothing(self, broker: Broker, lose: TakeBack, settle: Settle) -> None:
        send(broker, "a")
        (lease,) = take(broker)
        lose(broker, lease)
        before = counts(broker)
        assert list(settle(broker, [lease])) == [lease]
        assert counts(broker) == before

    @each_settlement
    def test_an_acked_lease_is_lost_afterwards(self, broker: Broker, settle: Settle) -> None:
        send(broker, "a")
        leases = take(broker)
        broker.ack(leases)
        assert list(settle(broker, leases)) == leases
        assert counts(broker) == QueueStats()

    @each_settlement
    def test_lost_leases_do_not_keep_the_others_from_being_settled(
        self, broker: Broker, settle: Settle
    ) -> None:
        send(broker, "a", "b", "c", "d", "e")
        leases = take(broker)
        lost = [leases[1], leases[3]]
        broker.ack(lost)
        assert sorted(names(settle(broker, leases))) == ["b", "d"]
        assert counts(broker).leased == 0

    @each_settlement
    def test_settling_again_leaves_the_rest_of_the_batch_alone(self, broker: Broker, settle: Settle) -> None:
        send(broker, "a", "b", "c")
        a, b, c = take(broker)
        broker.ack([a])
        assert list(settle(broker, [a, b])) == [a]
        assert counts(broker).leased == 1
        assert not broker.ack([c])

    @each_settlement
    def test_a_lease_belongs_to_its_owner(self, broker: Broker, settle: Settle) -> None:
        send(broker, "a")
        (lease,) = take(broker, owner="me")
        stolen = replace(lease, owner="thief")
        assert list(settle(broker, [stolen])) == [stolen]
        assert counts(broker) == QueueStats(leased=1)
