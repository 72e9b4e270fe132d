"""Dead letters: bury, list, retry byte for byte, drop."""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

import time

import pytest

from celeriac.core.broker import Broker, QueueStats
from celeriac.core.lease import DeadLetter
from celeriac.testing.envelope import message, name_of
from celeriac.testing.promises.case import BrokerCase, counts, later, names, send, take

__all__ = ["Burying"]


def bury(broker: Broker, *ids: str, queue: str = "q", reason: str = "a reason") -> list[DeadLetter]:
    """Bury one message for each name, one after the other; return their letters in that order."""
    for name in ids:
        send(broker, name, queue=queue)
        assert not broker.bury([(lease, reason) for lease in take(broker, 1, queues=[queue])])
    letters = {name_of(letter.message.payload): letter for letter in broker.dead_letters()}
    return [letters[name] for name in ids]


class Burying(BrokerCase):
    """``bury``, ``dead_letters``, ``retry_dead`` and ``drop_dead``."""

    def test_a_buried_message_is_a_dead_letter(self, broker: Broker) -> None:
        priority = 6 if broker.features.priorities else 0
        send(broker, "a", priority=priority)
        broker.bury([(lease, 'Zoë said: "no"\nand went') for lease in take(broker)])
        (letter,) = broker.dead_letters()
        assert letter.message == message("a", "q", priority=priority)
        assert letter.reason == 'Zoë said: "no"\nand went'
        assert letter.died_at == pytest.approx(time.time(), abs=600)
        assert letter.deliveries == 1
        assert counts(broker) == QueueStats(dead=1)

    def test_a_dead_message_is_not_delivered(self, broker: Broker) -> None:
        bury(broker, "a")
        assert take(broker) == []
        assert broker.reap(later(), max_deliveries=5).returned == 0
        assert broker.promote_due(later()).count == 0
        assert broker.purge(["q"]) == 0
        assert counts(broker) == QueueStats(dead=1)

    def test_each_message_is_buried_with_its_own_reason(self, broker: Broker) -> None:
        send(broker, "a", "b")
        a, b = take(broker)
        broker.bury([(a, "reason of a"), (b, "reason of b")])
        letters = broker.dead_letters()
        assert {name_of(letter.message.payload): letter.reason for letter in letters} == {
            "a": "reason of a",
            "b": "reason of b",
        }
        assert len({letter.id for letter in letters}) == 2

    def test_the_latest_dead_letter_is_listed_first(self, broker: Broker) -> None:
        bury(broker, "first", queue="one")
        bury(broker, "second", queue="two")
        bury(broker, "third", queue="one")
        listed = [name_of(letter.message.payload) for letter in broker.dead_letters()]
        assert listed == ["third", "second", "first"]

    def test_the_list_has_pages(self, broker: Broker) -> None:
        bury(broker, "1", "2", "3", "4", "5")

        def page(offset: int, limit: int) -> list[str]:
            return [name_of(letter.message.payload) for letter in broker.dead_letters(offset, limit)]

        assert page(0, 2) == ["5", "4"]
        assert page(3, 2) == ["2", "1"]
        assert page(5, 2) == []
        assert page(0, 0) == []

    def test_a_retried_message_is_delivered_byte_for_byte_as_a_first_delivery(self, broker: Broker) -> None:
        priority = 6 if broker.features.priorities else 0
        sent = message("a", "another", priority=priority)
        broker.send([sent])
        take(broker, queues=["another"])
        broker.reap(later(), max_deliveries=5)
        broker.bury([(lease, "a reason") for lease in take(broker, queues=["another"])])
        (letter,) = broker.dead_letters()
        assert (letter.deliveries, letter.message) == (2, sent)
        assert broker.retry_dead([letter.id]) == 1
        assert list(broker.dead_letters()) == []
        (lease,) = take(broker, queues=["another"])
        assert (lease.deliveries, lease.message) == (1, sent)

    def test_only_the_named_letters_are_retried(self, broker: Broker) -> None:
        a, b, c = bury(broker, "a", "b", "c")
        assert broker.retry_dead(letter.id for letter in (a, c)) == 2
        assert sorted(names(take(broker))) == ["a", "c"]
        assert list(broker.dead_letters()) == [b]

    def test_a_letter_is_retried_once(self, broker: Broker) -> None:
        (letter,) = bury(broker, "a")
        assert broker.retry_dead([letter.id, letter.id]) == 1
        assert broker.retry_dead([letter.id]) == 0
        assert broker.drop_dead([letter.id]) == 0
        assert counts(broker) == QueueStats(ready=1)

    def test_a_message_may_die_and_be_retried_again(self, broker: Broker) -> None:
        (letter,) = bury(broker, "a")
        broker.retry_dead([letter.id])
        broker.bury([(lease, "another reason") for lease in take(broker)])
        (again,) = broker.dead_letters()
        assert (again.reason, again.message) == ("another reason", letter.message)
        assert broker.retry_dead([again.id]) == 1
        assert names(take(broker)) == ["a"]

    def test_only_the_named_letters_are_dropped(self, broker: Broker) -> None:
        a, b, c = bury(broker, "a", "b", "c")
        assert broker.drop_dead(letter.id for letter in (a, c)) == 2
        assert list(broker.dead_letters()) == [b]
        assert broker.drop_dead([a.id, c.id]) == 0
        assert broker.retry_dead([a.id, c.id]) == 0
        assert counts(broker) == QueueStats(dead=1)

    def test_unknown_letters_and_none_at_all_are_nothing(self, broker: Broker) -> None:
        bury(broker, "a")
        for unknown in ([], ["", "0", "-1", "no such letter", "9" * 40, "²"]):
            assert broker.retry_dead(unknown) == 0
            assert broker.drop_dead(unknown) == 0
        assert not broker.bury([])
        assert counts(broker) == QueueStats(dead=1)

    def test_a_live_message_is_neither_retried_nor_dropped(self, broker: Broker) -> None:
        (letter,) = bury(broker, "a")
        broker.retry_dead([letter.id])
        (lease,) = take(broker)
        assert broker.drop_dead([letter.id, lease.id]) == 0
        assert broker.retry_dead([letter.id, lease.id]) == 0
        assert counts(broker) == QueueStats(leased=1)
