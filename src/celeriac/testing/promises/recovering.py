"""Recovery after a worker's death: deadlines and their renewal, reaping, evicting, the crash count."""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

from celeriac.core.broker import Broker, QueueStats
from celeriac.core.lease import Eviction, Reaped
from celeriac.testing.envelope import name_of
from celeriac.testing.promises.case import LONG, BrokerCase, counts, later, names, send, take

__all__ = ["Evicting", "Reaping"]


def assert_nothing(reaped: Reaped) -> None:
    assert (reaped.returned, list(reaped.buried)) == (0, [])


class Reaping(BrokerCase):
    """``reap`` and ``renew``: a node that stopped renewing."""

    def test_nothing_is_taken_back_before_the_deadline(self, broker: Broker) -> None:
        send(broker, "a")
        leases = take(broker)
        assert_nothing(broker.reap(max_deliveries=5))
        assert_nothing(broker.reap(later(LONG / 2), max_deliveries=5))
        assert not broker.ack(leases)

    def test_everything_is_taken_back_after_the_deadline(self, broker: Broker) -> None:
        send(broker, "a", "b", "c", "waiting")
        take(broker, 1)
        take(broker, 2)
        reaped = broker.reap(later(), max_deliveries=5)
        assert (reaped.returned, list(reaped.buried)) == (3, [])
        assert counts(broker) == QueueStats(ready=4)

    def test_what_was_taken_back_is_claimed_next_in_its_old_order(self, broker: Broker) -> None:
        send(broker, "a", "b", "c", "waiting")
        take(broker, 1)
        take(broker, 2)
        broker.reap(later(), max_deliveries=5)
        batches = [take(broker) for _ in range(4)]
        assert [names(batch) for batch in batches] == [["a"], ["b"], ["c"], ["waiting"]]
        assert [lease.deliveries for batch in batches for lease in batch] == [2, 2, 2, 1]

    def test_what_was_taken_back_keeps_its_bytes_queue_and_priority(self, broker: Broker) -> None:
        priority = 6 if broker.features.priorities else 0
        send(broker, "a", queue="another", priority=priority)
        (before,) = take(broker, queues=["another"])
        broker.reap(later(), max_deliveries=5)
        (after,) = take(broker, queues=["another"])
        assert after.message == before.message

    def test_settled_messages_do_not_come_back(self, broker: Broker) -> None:
        send(broker, "done", "back", "held", "dead", "late")
        done, back, _, dead, late = take(broker)
        broker.ack([done])
        broker.release([back])
        broker.bury([(dead, "a reason")])
        broker.delay([(late, later(LONG * 9))])
        assert broker.reap(later(), max_deliveries=5).returned == 1
        assert counts(broker) == QueueStats(ready=2, delayed=1, dead=1)

    def test_only_owners_past_their_deadline_lose_their_leases(self, broker: Broker) -> None:
        send(broker, "short", "long")
        broker.claim(["q"], 1, owner="one", lease_for=10, ack=())
        leases = take(broker, owner="two")
        assert broker.reap(later(LONG / 2), max_deliveries=5).returned == 1
        assert not broker.ack(leases)
        assert names(take(broker, owner="two")) == ["short"]

    def test_a_message_is_buried_when_its_last_delivery_dies_too(self, broker: Broker) -> None:
        send(broker, "poison")
        for delivery in (1, 2):
            assert [lease.deliveries for lease in take(broker)] == [delivery]
            assert broker.reap(later(), max_deliveries=3).returned == 1
        take(broker)
        reaped = broker.reap(later(), max_deliveries=3)
        assert reaped.returned == 0
        (letter,) = reaped.buried
        assert name_of(letter.message.payload) == "poison"
        assert letter.deliveries == 3
        assert "worker died 3 times" in letter.reason
        assert list(broker.dead_letters()) == [letter]
        assert counts(broker) == QueueStats(dead=1)

    def test_one_delivery_may_be_all_a_message_gets(self, broker: Broker) -> None:
        send(broker, "a", "b")
        take(broker)
        reaped = broker.reap(later(), max_deliveries=1)
        assert sorted(name_of(letter.message.payload) for letter in reaped.buried) == ["a", "b"]
        assert "worker died" in reaped.buried[0].reason
        assert counts(broker) == QueueStats(dead=2)

    def test_the_crash_count_outlives_release_and_delay(self, broker: Broker) -> None:
        send(broker, "a")
        take(broker)
        broker.reap(later(), max_deliveries=5)
        broker.release(take(broker))
        (lease,) = take(broker)
        assert lease.deliveries == 2
        broker.delay([(lease, later(LONG))])
        broker.promote_due(later(3 * LONG))
        assert [lease.deliveries for lease in take(broker)] == [2]

    def test_an_owner_may_have_nothing(self, broker: Broker) -> None:
        take(broker, owner="idle")
        assert_nothing(broker.reap(later(), max_deliveries=5))
        assert_nothing(broker.reap(later(), max_deliveries=5))

    def test_an_owner_that_was_taken_for_dead_may_claim_again(self, broker: Broker) -> None:
        send(broker, "a")
        take(broker)
        broker.reap(later(), max_deliveries=5)
        leases = take(broker)
        assert_nothing(broker.reap(later(LONG / 2), max_deliveries=5))
        assert not broker.ack(leases)

    def test_renewed_leases_are_kept(self, broker: Broker) -> None:
        send(broker, "a", "b")
        leases = take(broker, 1, owner="one")
        take(broker, 1, owner="two")
        broker.renew(iter(["one"]), 5 * LONG)
        assert broker.reap(later(), max_deliveries=5).returned == 1
        assert not broker.ack(leases)

    def test_renewing_sets_the_deadline_anew(self, broker: Broker) -> None:
        send(broker, "a")
        take(broker)
        broker.renew(["me"], 1)
        assert broker.reap(later(LONG / 2), max_deliveries=5).returned == 1

    def test_a_claim_renews_the_leases_of_earlier_claims(self, broker: Broker) -> None:
        send(broker, "a", "b")
        broker.claim(["q"], 1, owner="me", lease_for=1, ack=())
        take(broker)
        assert_nothing(broker.reap(later(LONG / 2), max_deliveries=5))
        assert counts(broker) == QueueStats(leased=2)

    def test_a_claim_that_brings_nothing_renews_too(self, broker: Broker) -> None:
        send(broker, "a")
        broker.claim(["q"], 1, owner="me", lease_for=1, ack=())
        assert take(broker, 0, queues=[]) == []
        assert_nothing(broker.reap(later(LONG / 2), max_deliveries=5))

    def test_renewing_brings_no_lease_back(self, broker: Broker) -> None:
        send(broker, "a")
        leases = take(broker)
        broker.reap(later(), max_deliveries=5)
        broker.renew(["me", "never seen"], LONG)
        assert list(broker.ack(leases)) == leases
        assert_nothing(broker.reap(later(), max_deliveries=5))
        assert counts(broker) == QueueStats(ready=1)

    def test_nobody_is_renewed_by_an_empty_batch(self, broker: Broker) -> None:
        send(broker, "a")
        take(broker)
        broker.renew([], 9 * LONG)
        assert broker.reap(later(), max_deliveries=5).returned == 1


class Evicting(BrokerCase):
    """``evict``: one owner known to be dead, and what is known of its leases."""

    def test_leases_go_where_the_eviction_says(self, broker: Broker) -> None:
        send(broker, "finished", "interrupted", "forfeited", "not started", "waiting")
        finished, interrupted, forfeited, _ = take(broker, 4)
        reaped = broker.evict(
            Eviction(
                owner="me",
                finished=frozenset({finished.id}),
                interrupted=frozenset({interrupted.id}),
                forfeited={forfeited.id: "must not run twice"},
            ),
            max_deliveries=5,
        )
        assert reaped.returned == 2
        (letter,) = reaped.buried
        assert (name_of(letter.message.payload), letter.reason) == ("forfeited", "must not run twice")
        assert letter.deliveries == 1
        assert list(broker.dead_letters()) == [letter]
        assert counts(broker) == QueueStats(ready=3, dead=1)
        leases = [lease for _ in range(3) for lease in take(broker)]
        assert {name: lease.deliveries for name, lease in zip(names(leases), leases, strict=True)} == {
            "interrupted": 2,
            "not started": 1,
            "waiting": 1,
        }

    def test_what_was_not_started_is_claimed_next_in_its_old_order(self, broker: Broker) -> None:
        send(broker, "a", "b", "c", "d", "waiting")
        running = take(broker, 1)[0]
        take(broker, 3)
        evicted = broker.evict(Eviction(owner="me", finished=frozenset({running.id})), max_deliveries=5)
        assert evicted.returned == 3
        assert names(take(broker)) == ["b", "c", "d", "waiting"]

    def test_an_interrupted_message_is_claimed_next(self, broker: Broker) -> None:
        send(broker, "a", "waiting")
        (lease,) = take(broker, 1)
        broker.evict(Eviction(owner="me", interrupted=frozenset({lease.id})), max_deliveries=5)
        assert names(take(broker)) == ["a"]

    def test_an_interrupted_message_is_buried_when_its_last_delivery_dies_too(self, broker: Broker) -> None:
        send(broker, "poison", "beside")
        (first,) = take(broker, 1)
        broker.evict(Eviction(owner="me", interrupted=frozenset({first.id})), max_deliveries=2)
        (second,) = take(broker, 1)
        take(broker, 1)
        reaped = broker.evict(Eviction(owner="me", interrupted=frozenset({second.id})), max_deliveries=2)
        assert reaped.returned == 1
        (letter,) = reaped.buried
        assert (name_of(letter.message.payload), letter.deliveries) == ("poison", 2)
        assert "worker died 2 times" in letter.reason
        assert names(take(broker)) == ["beside"]

    def test_what_was_not_started_is_never_buried(self, broker: Broker) -> None:
        send(broker, "a")
        for _ in range(3):
            assert [lease.deliveries for lease in take(broker)] == [1]
            assert broker.evict(Eviction(owner="me"), max_deliveries=1).returned == 1
        assert counts(broker) == QueueStats(ready=1)

    def test_a_forfeited_message_is_buried_at_any_count(self, broker: Broker) -> None:
        send(broker, "a")
        (lease,) = take(broker)
        reaped = broker.evict(Eviction(owner="me", forfeited={lease.id: "Zoë said “no”"}), max_deliveries=9)
        assert [letter.reason for letter in reaped.buried] == ["Zoë said “no”"]

    def test_leases_it_no_longer_holds_are_left_alone(self, broker: Broker) -> None:
        send(broker, "a", "b", "c")
        a, b, c = take(broker)
        broker.ack([a])
        broker.release([b])
        broker.bury([(c, "a reason")])
        eviction = Eviction(
            owner="me",
            finished=frozenset({b.id, "no such lease"}),
            interrupted=frozenset({c.id}),
            forfeited={a.id: "another reason"},
        )
        assert_nothing(broker.evict(eviction, max_deliveries=1))
        assert counts(broker) == QueueStats(ready=1, dead=1)
        assert [letter.reason for letter in broker.dead_letters()] == ["a reason"]

    def test_other_owners_keep_their_leases(self, broker: Broker) -> None:
        send(broker, "a", "b")
        kept = take(broker, 1, owner="one")
        take(broker, 1, owner="two")
        finished = frozenset(lease.id for lease in kept)
        assert (
            broker.evict(Eviction(owner="two", finished=finished - finished), max_deliveries=5).returned == 1
        )
        assert not broker.ack(kept)

    def test_an_owner_may_have_nothing_or_be_unknown(self, broker: Broker) -> None:
        take(broker, owner="idle")
        assert_nothing(broker.evict(Eviction(owner="idle"), max_deliveries=5))
        assert_nothing(broker.evict(Eviction(owner="idle"), max_deliveries=5))
        assert_nothing(broker.evict(Eviction(owner="never seen"), max_deliveries=5))

    def test_an_evicted_owner_may_claim_again(self, broker: Broker) -> None:
        send(broker, "a")
        old = take(broker)
        broker.evict(Eviction(owner="me"), max_deliveries=5)
        new = take(broker)
        assert list(broker.ack(old)) == old
        assert not broker.ack(new)
