"""What a worker does for the broker, and when; the time is passed in."""

from __future__ import annotations

import pytest

from celeriac.brokers.memory import MemoryBroker
from celeriac.core.broker import Features, QueueStats
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import BrokerLost, Event, Events, LeasesReturned, MessageBuried
from celeriac.core.lease import DeadLetter, Eviction
from celeriac.core.message import Message
from celeriac.core.settings import Settings
from celeriac.engine.upkeep import Promoter, Reaper, Renewer
from tests.unit.engine.flaky_broker import FlakyBroker

SETTINGS = Settings(engine_lease_seconds=6, engine_max_deliveries=2)


class Clock:
    """Unix seconds, set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock) -> FlakyBroker:
    return FlakyBroker(MemoryBroker(clock=clock), Features())


def message(text: str = "x", due: float | None = None) -> Message:
    return Message(queue="q", payload=text.encode(), due=due)


def stats(broker: FlakyBroker) -> QueueStats:
    return broker.inner.stats(["q"])["q"]


# -- Renewing


def test_renews_three_times_in_the_time_of_a_lease(broker: FlakyBroker) -> None:
    renewer = Renewer(broker, SETTINGS)
    for tenths in range(100, 160):
        renewer.tick(tenths / 10, ["a"])
    assert broker.calls == ["renew"] * 3


def test_renewed_owners_keep_their_leases_and_others_do_not(broker: FlakyBroker, clock: Clock) -> None:
    broker.inner.send([message("kept"), message("lost")])
    for owner in ("a", "b"):
        broker.inner.claim(["q"], 1, owner=owner, lease_for=6)
    renewer = Renewer(broker, SETTINGS)
    for second in range(20):
        clock.now = 1000.0 + second
        renewer.tick(float(second), ["a"])
        broker.inner.reap(max_deliveries=9)
    assert stats(broker) == QueueStats(ready=1, leased=1)


def test_a_failed_renewal_is_tried_again_at_once(broker: FlakyBroker) -> None:
    renewer = Renewer(broker, SETTINGS)
    broker.refuse["renew"] = 2
    for now in (10.0, 10.1):
        with pytest.raises(BrokerUnavailable):
            renewer.tick(now, ["a"])
    renewer.tick(10.2, ["a"])
    renewer.tick(12.1, ["a"])
    assert broker.calls == ["renew"] * 3
    renewer.tick(12.3, ["a"])
    assert broker.calls == ["renew"] * 4


# -- Reaping


class Recorder:
    """Takes note of buried messages, unless its store does not answer."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []
        self.trouble: list[str] = []

    def __call__(self, letter: DeadLetter) -> None:
        if self.trouble:
            raise BrokerUnavailable(self.trouble.pop())
        self.letters.append(letter)

    @property
    def payloads(self) -> list[bytes]:
        return [letter.message.payload for letter in self.letters]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def happened() -> list[Event]:
    return []


@pytest.fixture
def reaper(broker: FlakyBroker, recorder: Recorder, happened: list[Event]) -> Reaper:
    events = Events()
    for kind in (LeasesReturned, MessageBuried, BrokerLost):
        events.subscribe(kind, happened.append)
    return Reaper(broker, SETTINGS, events, recorder)


def lease_to(broker: FlakyBroker, owner: str, *texts: str) -> list[str]:
    """Have these messages leased to an owner; return the lease ids."""
    broker.inner.send([message(text) for text in texts])
    claimed = broker.inner.claim(["q"], len(texts), owner=owner, lease_for=6)
    return [lease.id for lease in claimed.leases]


def test_looks_for_silent_owners_five_times_in_the_time_of_a_lease(
    reaper: Reaper, broker: FlakyBroker
) -> None:
    for tenths in range(100, 160):
        reaper.tick(tenths / 10)
    assert broker.calls == ["reap"] * 5


def test_what_silent_nodes_held_goes_back(
    reaper: Reaper, broker: FlakyBroker, clock: Clock, happened: list[Event]
) -> None:
    lease_to(broker, "silent", "a", "b")
    reaper.tick(10.0)
    assert happened == []
    clock.now += 7
    reaper.tick(20.0)
    assert stats(broker) == QueueStats(ready=2)
    assert happened == [LeasesReturned(owner=None, count=2)]


def test_what_died_too_often_is_buried_told_and_recorded(
    reaper: Reaper, broker: FlakyBroker, clock: Clock, happened: list[Event], recorder: Recorder
) -> None:
    broker.inner.send([message("a")])
    for _ in range(2):
        broker.inner.claim(["q"], 1, owner="silent", lease_for=6)
        clock.now += 7
        reaper.tick(clock.now)
    assert stats(broker) == QueueStats(dead=1)
    [returned, buried] = happened
    assert returned == LeasesReturned(owner=None, count=1)
    assert isinstance(buried, MessageBuried)
    assert buried.queue == "q"
    assert recorder.payloads == [b"a"]


def test_after_an_outage_others_get_a_leases_time_to_renew(
    reaper: Reaper, broker: FlakyBroker, clock: Clock
) -> None:
    broker.inner.send([message("a")])
    broker.inner.claim(["q"], 1, owner="cut off", lease_for=6)
    clock.now += 7
    reaper.hold_off(clock.now)
    reaper.tick(clock.now + 6.9)
    assert stats(broker) == QueueStats(leased=1)
    reaper.tick(clock.now + 7.0)
    assert stats(broker) == QueueStats(ready=1)


def test_a_dead_shards_leases_go_where_its_journal_says(
    reaper: Reaper, broker: FlakyBroker, happened: list[Event], recorder: Recorder
) -> None:
    finished, interrupted, forfeited, _unstarted = lease_to(broker, "me", "a", "b", "c", "d")
    reaper.evict(
        Eviction(
            owner="me",
            finished=frozenset([finished]),
            interrupted=frozenset([interrupted]),
            forfeited={forfeited: "it must not start twice"},
        )
    )
    reaper.tick(10.0)
    assert stats(broker) == QueueStats(ready=2, dead=1)
    assert happened == [
        LeasesReturned(owner="me", count=2),
        MessageBuried(queue="q", reason="it must not start twice"),
    ]
    assert recorder.payloads == [b"c"]


def test_a_burial_that_cannot_be_recorded_is_recorded_later(
    reaper: Reaper, broker: FlakyBroker, happened: list[Event], recorder: Recorder
) -> None:
    """Otherwise whoever waits for the result would wait for ever."""
    leases = lease_to(broker, "me", "a", "b", "c")
    recorder.trouble = ["no answer", "no answer"]
    reaper.evict(Eviction(owner="me", forfeited=dict.fromkeys(leases, "lost")))
    for now in (10.0, 10.1, 11.3):
        reaper.tick(now)
        assert recorder.letters == []
    assert [event for event in happened if isinstance(event, BrokerLost)] == [
        BrokerLost(error="no answer", retry_in=1.2)
    ] * 2
    reaper.tick(12.6)
    assert recorder.payloads == [b"a", b"b", b"c"]
    reaper.tick(14.0)
    assert len(recorder.letters) == 3
    assert not reaper.unrecorded


def test_while_nothing_can_be_recorded_leases_still_go_back(
    reaper: Reaper, broker: FlakyBroker, recorder: Recorder
) -> None:
    recorder.trouble = ["no answer"] * 9
    [forfeited] = lease_to(broker, "one", "a")
    reaper.evict(Eviction(owner="one", forfeited={forfeited: "lost"}))
    reaper.tick(10.0)
    lease_to(broker, "two", "b")
    reaper.evict(Eviction(owner="two"))
    assert stats(broker) == QueueStats(ready=1, dead=1)


# -- Promoting


def test_makes_due_messages_ready_and_looks_again_when_the_next_is_due(
    broker: FlakyBroker, clock: Clock
) -> None:
    broker.inner.send([message("a", due=1000.01), message("b", due=1000.05)])
    promoter = Promoter(broker)
    promoter.tick(50.0, clock.now)
    assert promoter.next == pytest.approx(50.01)
    promoter.tick(50.009, clock.now)
    assert broker.calls == ["promote_due"]
    clock.now = 1000.02
    promoter.tick(50.02, clock.now)
    assert stats(broker) == QueueStats(ready=1, delayed=1)
    assert promoter.next == pytest.approx(50.05)
    clock.now = 1000.06
    promoter.tick(50.06, clock.now)
    assert stats(broker) == QueueStats(ready=2)


def test_looks_every_tenth_of_a_second_as_others_may_delay_messages_too(
    broker: FlakyBroker, clock: Clock
) -> None:
    promoter = Promoter(broker)
    promoter.tick(50.0, clock.now)
    assert promoter.next == pytest.approx(50.1)
    broker.inner.send([message(due=2000.0)])
    promoter.tick(50.1, clock.now)
    assert promoter.next == pytest.approx(50.2)


def test_a_broker_that_holds_back_by_itself_is_only_tidied_up(clock: Clock) -> None:
    broker = FlakyBroker(MemoryBroker(clock=clock))
    broker.inner.send([message(due=1000.01)])
    promoter = Promoter(broker)
    promoter.tick(50.0, clock.now)
    assert promoter.next == pytest.approx(51.0)


def test_goes_on_at_once_while_there_is_more(broker: FlakyBroker, clock: Clock) -> None:
    broker.inner.send([message(due=1000.5)] * 2500)
    clock.now = 1001.0
    promoter = Promoter(broker)
    for _ in range(3):
        promoter.tick(50.0, clock.now)
    assert stats(broker) == QueueStats(ready=2500)
    assert promoter.next == pytest.approx(50.1)


def test_a_clock_ahead_of_the_brokers_makes_no_busy_loop(broker: FlakyBroker, clock: Clock) -> None:
    broker.inner.send([message(due=1002.0)])
    promoter = Promoter(broker)
    now = 50.0
    while now < 50.1:
        promoter.tick(now, clock.now + 3)
        now = promoter.next
    assert 2 <= len(broker.calls) <= 21


def test_a_failed_look_is_repeated_at_once(broker: FlakyBroker, clock: Clock) -> None:
    broker.refuse["promote_due"] = 1
    promoter = Promoter(broker)
    with pytest.raises(BrokerUnavailable):
        promoter.tick(50.0, clock.now)
    promoter.tick(50.0, clock.now)
    assert promoter.next == pytest.approx(50.1)
