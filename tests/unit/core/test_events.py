from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.core import events as module
from celeriac.core.events import (
    BrokerLost,
    BrokerRegained,
    Event,
    Events,
    LeaseLost,
    LeasesRenewed,
    LeasesReturned,
    MessageBuried,
    ShardStarted,
    ShardStarting,
    ShardStopped,
)

EXAMPLES: list[Event] = [
    ShardStarting(shard="1"),
    ShardStarted(shard="1", pid=10),
    ShardStopped(shard="1", pid=10, exitcode=-9, expected=False),
    LeasesRenewed(count=2),
    LeasesReturned(owner="node/1", count=3),
    LeasesReturned(owner=None, count=3),
    MessageBuried(queue="celery", reason="its worker died 5 times"),
    LeaseLost(lease="1", queue="celery"),
    BrokerLost(error="refused", retry_in=0.5),
    BrokerRegained(),
]


def test_subscribers_are_called_in_the_order_they_subscribed() -> None:
    events = Events()
    heard: list[str] = []
    for name in ("log", "metrics", "dashboard"):
        events.subscribe(BrokerRegained, lambda event, name=name: heard.append(name))  # type: ignore[misc]
    events.emit(BrokerRegained())
    assert heard == ["log", "metrics", "dashboard"]


@given(st.lists(st.sampled_from(EXAMPLES)))
def test_a_subscriber_hears_every_event_of_exactly_its_kind(emitted: list[Event]) -> None:
    events = Events()
    heard: dict[type[Event], list[Event]] = {type(example): [] for example in EXAMPLES}
    for kind, received in heard.items():
        events.subscribe(kind, received.append)
    for event in emitted:
        events.emit(event)
    assert heard == {kind: [event for event in emitted if type(event) is kind] for kind in heard}


def test_the_base_kind_hears_nothing_of_the_others() -> None:
    events = Events()
    heard: list[Event] = []
    events.subscribe(Event, heard.append)
    events.emit(BrokerRegained())
    assert heard == []


def test_an_event_nobody_listens_to_is_no_error() -> None:
    Events().emit(BrokerRegained())


def test_an_error_of_a_subscriber_reaches_the_caller_and_stops_there() -> None:
    events = Events()
    heard: list[Event] = []

    def broken(event: BrokerRegained) -> None:
        raise RuntimeError("metrics are down")

    events.subscribe(BrokerRegained, heard.append)
    events.subscribe(BrokerRegained, broken)
    events.subscribe(BrokerRegained, heard.append)
    with pytest.raises(RuntimeError, match="metrics are down"):
        events.emit(BrokerRegained())
    assert heard == [BrokerRegained()]


def test_two_buses_share_no_subscribers() -> None:
    one, other = Events(), Events()
    heard: list[Event] = []
    one.subscribe(BrokerRegained, heard.append)
    other.emit(BrokerRegained())
    assert heard == []


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_events_are_frozen_values(event: Event) -> None:
    for field in event.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(event, field, None)
    assert hash(event) == hash(type(event)(**{f: getattr(event, f) for f in event.__struct_fields__}))


def test_every_event_is_exemplified_here_and_stands_in_the_table() -> None:
    kinds = {name for name in module.__all__ if name not in {"Event", "Events"}}
    assert {type(example).__name__ for example in EXAMPLES} == kinds
    table = [line for line in str(module.__doc__).splitlines() if line.startswith("|")]
    assert all(any(kind in row for row in table) for kind in kinds)
