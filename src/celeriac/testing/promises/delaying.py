"""Messages that wait for a time: delay, promote_due, scheduled, and send with ``due``.

``promote_due`` counts the messages that it made ready itself. A broker may also make ready what is
due when somebody claims; so times here lie far ahead, and only ``now`` arguments reach them.
"""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from celeriac.core.broker import Broker, Promoted, QueueStats
from celeriac.core.lease import Scheduled
from celeriac.testing.envelope import message, name_of
from celeriac.testing.promises.case import LONG, BrokerCase, counts, later, names, send, take

__all__ = ["Delaying"]


def delay(broker: Broker, *dues: tuple[str, float], queue: str = "q") -> None:
    """Send, claim and delay one message for each name and time."""
    send(broker, *(name for name, _ in dues), queue=queue)
    leases = take(broker, len(dues), queues=[queue])
    assert not broker.delay([(lease, due) for lease, (_, due) in zip(leases, dues, strict=True)])


def assert_promoted(promoted: Promoted, count: int, next_due: float) -> None:
    assert promoted.count == count
    assert promoted.next_due == pytest.approx(next_due, abs=0.001)


def waiting(scheduled: Sequence[Scheduled]) -> list[str]:
    return [name_of(entry.message.payload) for entry in scheduled]


class Delaying(BrokerCase):
    """``delay``, ``promote_due`` and ``scheduled``."""

    def test_a_delayed_message_waits_until_it_is_due(self, broker: Broker) -> None:
        due = later(LONG)
        delay(broker, ("a", due))
        assert counts(broker) == QueueStats(delayed=1)
        assert take(broker) == []
        assert_promoted(broker.promote_due(due - 1), 0, due)
        assert take(broker) == []
        assert broker.promote_due(due + 1) == Promoted(1, None)
        assert names(take(broker)) == ["a"]

    def test_the_time_of_a_promotion_is_by_default_the_brokers(self, broker: Broker) -> None:
        delay(broker, ("late", later(LONG)), ("past", time.time() - 1))
        broker.promote_due()
        assert names(take(broker)) == ["past"]
        assert counts(broker) == QueueStats(leased=1, delayed=1)

    def test_a_delayed_message_keeps_its_bytes_queue_and_priority(self, broker: Broker) -> None:
        priority = 3 if broker.features.priorities else 0
        send(broker, "a", queue="another", priority=priority)
        (before,) = take(broker, queues=["another"])
        broker.delay([(before, later())])
        broker.promote_due(later(3 * LONG))
        (after,) = take(broker, queues=["another"])
        assert after.message.payload == before.message.payload
        assert (after.message.queue, after.message.priority, after.deliveries) == ("another", priority, 1)

    def test_promoted_messages_are_claimed_in_the_order_they_were_due(self, broker: Broker) -> None:
        start = later(LONG)
        delay(broker, ("third", start + 3), ("first", start + 1), ("second", start + 2))
        assert broker.promote_due(start + 9).count == 3
        assert names(take(broker)) == ["first", "second", "third"]

    def test_a_promotion_is_limited_and_says_when_to_come_back(self, broker: Broker) -> None:
        start = later(LONG)
        delay(broker, *((f"{number}", start + number) for number in range(5)))
        assert_promoted(broker.promote_due(start + 9, limit=2), 2, start + 2)
        assert counts(broker) == QueueStats(ready=2, delayed=3)
        assert_promoted(broker.promote_due(start + 3.5), 2, start + 4)
        assert broker.promote_due(start + 9) == Promoted(1, None)
        assert broker.promote_due(start + 9) == Promoted(0, None)

    def test_promotion_serves_all_queues(self, broker: Broker) -> None:
        start = later(LONG)
        delay(broker, ("a", start + 1), queue="one")
        delay(broker, ("b", start), queue="two")
        assert_promoted(broker.promote_due(start - 1), 0, start)
        assert broker.promote_due(start + 2).count == 2
        assert names(take(broker, queues=["one", "two"])) == ["a", "b"]

    def test_a_message_may_be_delayed_again_and_again(self, broker: Broker) -> None:
        send(broker, "a")
        for turn in range(1, 4):
            due = later(LONG * turn)
            broker.delay([(lease, due) for lease in take(broker)])
            assert broker.promote_due(due + 1) == Promoted(1, None)
        assert [lease.deliveries for lease in take(broker)] == [1]

    def test_equal_messages_with_equal_times_are_kept_apart(self, broker: Broker) -> None:
        due = later(LONG)
        delay(broker, ("same", due), ("same", due))
        assert counts(broker) == QueueStats(delayed=2)
        assert broker.promote_due(due + 1).count == 2
        assert names(take(broker)) == ["same", "same"]

    def test_a_message_sent_with_a_time_waits_for_it_where_the_broker_can(self, broker: Broker) -> None:
        due = later(LONG)
        send(broker, "a", due=due)
        if not broker.features.native_delay:
            assert names(take(broker)) == ["a"], "whoever claims it early delays it"
            return
        assert take(broker) == []
        assert counts(broker) == QueueStats(delayed=1)
        assert waiting(broker.scheduled(["q"])) == ["a"]
        assert_promoted(broker.promote_due(due - 1), 0, due)
        assert broker.promote_due(due + 1).count == 1
        assert names(take(broker)) == ["a"]

    def test_a_message_sent_with_a_time_that_has_passed_is_ready(self, broker: Broker) -> None:
        send(broker, "a", due=time.time() - 1)
        assert counts(broker) == QueueStats(ready=1)
        assert names(take(broker)) == ["a"]

    def test_the_schedule_lists_the_earliest_due_first(self, broker: Broker) -> None:
        start = later(LONG)
        delay(broker, ("third", start + 3), ("first", start + 1), queue="one")
        delay(broker, ("second", start + 2), queue="two")
        delay(broker, ("elsewhere", start), queue="three")
        schedule = broker.scheduled(["one", "two"])
        assert waiting(schedule) == ["first", "second", "third"]
        assert [entry.due for entry in schedule] == pytest.approx(
            [start + 1, start + 2, start + 3], abs=0.001
        )
        assert [entry.message.queue for entry in schedule] == ["one", "two", "one"]
        assert schedule[0].message.payload == message("first", "one").payload

    def test_the_schedule_has_pages(self, broker: Broker) -> None:
        start = later(LONG)
        delay(broker, *((f"{number}", start + number) for number in range(5)))
        assert waiting(broker.scheduled(["q"], 0, 2)) == ["0", "1"]
        assert waiting(broker.scheduled(["q"], 3, 2)) == ["3", "4"]
        assert waiting(broker.scheduled(["q"], limit=1)) == ["0"]
        assert waiting(broker.scheduled(["q"], offset=5)) == []
        assert waiting(broker.scheduled(["q"], limit=0)) == []

    def test_a_schedule_may_be_empty(self, broker: Broker) -> None:
        delay(broker, ("a", later(LONG)))
        assert list(broker.scheduled([])) == []
        assert list(broker.scheduled(["another"])) == []
