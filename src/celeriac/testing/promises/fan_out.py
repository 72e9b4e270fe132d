"""Exchanges, bindings and queues that expire, for brokers that declare ``fan_out``."""

# ruff: noqa: S101 - these are tests
from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import pytest

from celeriac.core.broker import Broker, FanOut
from celeriac.core.errors import BrokerUnavailable
from celeriac.testing.promises.case import LONG, BrokerCase, names, send, take

__all__ = ["FanningOut"]


def exchanges(broker: Broker) -> FanOut:
    """Return the broker as what it declares to be; skip if it does not."""
    if not broker.features.fan_out:
        pytest.skip("no fan-out")
    assert isinstance(broker, FanOut)
    return broker


Verb = Callable[[FanOut], object]

#: One call of each verb.
VERBS: dict[str, Verb] = {
    "bind": lambda fan_out: fan_out.bind("events", "", "", "q"),
    "bindings": lambda fan_out: fan_out.bindings("events"),
    "expire_queue": lambda fan_out: fan_out.expire_queue("q", LONG),
    "forget_queue": lambda fan_out: fan_out.forget_queue("q"),
}


class FanningOut(BrokerCase):
    """``bind``, ``bindings``, ``expire_queue`` and ``forget_queue``."""

    def test_an_exchange_knows_its_bindings(self, broker: Broker) -> None:
        fan_out = exchanges(broker)
        fan_out.bind("events", "task.#", r"^task\..*?$", "one")
        fan_out.bind("events", "", "", "two")
        fan_out.bind("other", "", "", "one")
        assert sorted(fan_out.bindings("events")) == [("", "", "two"), ("task.#", r"^task\..*?$", "one")]
        assert list(fan_out.bindings("other")) == [("", "", "one")]
        assert list(fan_out.bindings("unknown")) == []

    def test_binding_twice_changes_nothing(self, broker: Broker) -> None:
        fan_out = exchanges(broker)
        for _ in range(2):
            fan_out.bind("events", "key", "pattern", "q")
        assert list(fan_out.bindings("events")) == [("key", "pattern", "q")]

    def test_a_forgotten_queue_loses_its_messages_and_bindings(self, broker: Broker) -> None:
        fan_out = exchanges(broker)
        for exchange, queue in (("events", "q"), ("events", "kept"), ("other", "q")):
            fan_out.bind(exchange, "", "", queue)
        send(broker, "a")
        send(broker, "b", queue="kept")
        fan_out.forget_queue("q")
        fan_out.forget_queue("unknown")
        assert list(fan_out.bindings("events")) == [("", "", "kept")]
        assert list(fan_out.bindings("other")) == []
        assert names(take(broker, queues=["q", "kept"])) == ["b"]

    def test_a_queue_that_nobody_touches_is_forgotten(self, broker: Broker) -> None:
        fan_out = exchanges(broker)
        for queue in ("short", "long", "unlimited"):
            fan_out.bind("events", "", "", queue)
            send(broker, queue, queue=queue)
        fan_out.expire_queue("long", LONG)
        fan_out.expire_queue("short", 0.01)
        give_up = time.monotonic() + 20
        while ("", "", "short") in fan_out.bindings("events"):
            assert time.monotonic() < give_up, "the queue did not expire"
            time.sleep(0.005)
        assert sorted(fan_out.bindings("events")) == [("", "", "long"), ("", "", "unlimited")]
        assert sorted(names(take(broker, queues=["short", "long", "unlimited"]))) == ["long", "unlimited"]

    @pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
    def test_exchanges_out_of_reach_are_one_error_of_one_line(self, broker: Broker, verb: Verb) -> None:
        exchanges(broker)
        unreachable = self.unreachable()
        if unreachable is None:
            pytest.skip("always reachable")
        with closing(unreachable), pytest.raises(BrokerUnavailable, match=r"\A[^\n]+\Z"):
            verb(exchanges(unreachable))

    def test_the_time_of_a_queue_may_be_set_anew(self, broker: Broker) -> None:
        fan_out = exchanges(broker)
        fan_out.bind("events", "", "", "q")
        fan_out.expire_queue("q", 0.001)
        fan_out.forget_queue("q")
        fan_out.bind("events", "", "", "q")
        fan_out.expire_queue("q", 0.001)
        fan_out.bind("events", "", "", "q")
        fan_out.expire_queue("q", LONG)
        fan_out.bind("events", "", "", "q")
        assert list(fan_out.bindings("events")) == [("", "", "q")]
