"""A shard whose broker, or result store, is out of reach for a while."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec import structs

from celeriac.brokers.memory import MemoryBroker
from celeriac.core.broker import QueueStats
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import BrokerLost, BrokerRegained, Event, Events, LeaseLost
from celeriac.core.executor import Bury, Delay, Outcome, Release
from celeriac.core.settings import Settings
from celeriac.engine import outage as outage_module
from celeriac.engine.shard import Shard
from celeriac.engine.supervisor import new_spec
from tests.servers import wait_until
from tests.unit.engine.flaky_broker import FlakyBroker
from tests.unit.engine.plain import PlainExecutor, call

QUICK = Settings(
    engine_settle_seconds=0.002, engine_giveback_seconds=0.004, engine_batch_seconds=2.0, engine_batch_max=16
)
UNTOUCHED = structs.replace(QUICK, engine_settle_seconds=600, engine_giveback_seconds=600)


class Bench:
    """A shard, its flaky broker, and what happened to them."""

    def __init__(self, executor: PlainExecutor, settings: Settings = UNTOUCHED) -> None:
        self.broker = FlakyBroker(MemoryBroker())
        self.executor = executor
        self.happened: list[Event] = []
        events = Events()
        for kind in (BrokerLost, BrokerRegained, LeaseLost):
            events.subscribe(kind, self.happened.append)
        self.spec = new_spec("Shard-1", "node", ["q"], settings)
        self.shard = Shard(self.spec, self.broker, executor, settings, events)

    @contextmanager
    def opened(self) -> Iterator[Bench]:
        self.shard.open()
        try:
            yield self
        finally:
            self.shard.close()
            self.spec.journal.close()

    def warm_up(self) -> None:
        """Let the shard learn to claim its limit at once."""
        self.broker.inner.send([call("quick", "warm-up") for _ in range(5)])
        while self.stats.ready:
            self.shard.work(0)
        self.shard.work(0)
        self.executor.ran.clear()
        self.broker.calls.clear()

    @property
    def stats(self) -> QueueStats:
        return self.broker.inner.stats(["q"])["q"]

    @property
    def pauses(self) -> list[float]:
        return [event.retry_in for event in self.happened if isinstance(event, BrokerLost)]


def nothing(_: str) -> None:
    """Does nothing, quickly."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredth of the pauses between two tries."""
    monkeypatch.setattr(outage_module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(outage_module, "LONGEST_PAUSE", 0.008)


def test_tries_again_after_longer_and_longer_pauses_and_says_so_until_they_grow_no_more() -> None:
    with Bench(PlainExecutor(quick=nothing)).opened() as bench:
        bench.broker.inner.send([call("quick", "a")])
        bench.broker.refuse["claim"] = 8
        for _ in range(8):
            bench.shard.work(0)
        assert bench.broker.calls == ["claim"] * 8
        assert bench.pauses == [0.001, 0.002, 0.004, 0.008]
        bench.shard.work(0)
        assert bench.executor.ran == ["a"]
        assert [event for event in bench.happened if not isinstance(event, BrokerLost)] == [BrokerRegained()]
        bench.broker.refuse["claim"] = 1
        bench.shard.work(0)
        assert bench.pauses[-1] == 0.001


def test_an_idle_shard_that_loses_the_broker_pauses_too() -> None:
    with Bench(PlainExecutor()).opened() as bench:
        bench.broker.refuse["wait"] = 1
        bench.shard.work(600)
        assert bench.pauses == [0.001]


@pytest.mark.parametrize("verb", ["claim", "ack", "delay", "bury", "release"])
def test_finished_work_is_settled_once_the_broker_is_back(verb: str) -> None:
    outcomes: dict[str, Outcome] = {"a": Delay(4e9), "b": Bury("bad")}
    executor = PlainExecutor(quick=nothing, work=outcomes.get)
    with Bench(executor).opened() as bench:
        bench.warm_up()
        bench.broker.inner.send([call("work", "a"), call("work", "b"), call("work", "c")])
        bench.shard.work(0)
        assert executor.ran == ["a", "b", "c"]
        bench.broker.refuse[verb] = 3
        for _ in range(5):
            bench.shard.work(0)
        assert executor.ran == ["a", "b", "c"]
        assert bench.stats == QueueStats(delayed=1, dead=1)


def test_away_in_the_middle_of_a_batch_what_has_not_started_goes_back_later() -> None:
    def cut(_: str) -> None:
        bench.broker.away = True

    executor = PlainExecutor(quick=nothing, cut=cut)
    # A settlement is due after each task, so the batch meets the outage in its middle.
    settings = structs.replace(UNTOUCHED, engine_settle_seconds=1e-9)
    bench = Bench(executor, settings)
    bench.warm_up()
    bench.broker.inner.send([call("quick", "a"), call("cut", "b"), call("quick", "c"), call("quick", "d")])
    bench.shard.work(0)
    assert executor.ran == ["a", "b"]
    for _ in range(3):
        bench.shard.work(0)
    assert executor.ran == ["a", "b"]
    assert bench.stats.leased == 3
    bench.broker.away = False
    bench.shard.work(0)
    assert executor.ran == ["a", "b", "c", "d"]
    bench.shard.work(0)
    assert bench.stats == QueueStats()


def test_what_may_have_gone_back_already_is_not_started_here() -> None:
    """The answer to giving back is lost while a task runs; meanwhile another shard takes the messages."""

    def slow(_: str) -> None:
        wait_until(lambda: bench.stats.ready == 2, what="giving back")
        bench.broker.inner.claim(["q"], 2, owner="another", lease_for=60)
        wait_until(lambda: bench.broker.calls.count("release") > 1, what="giving back once more")

    executor = PlainExecutor(quick=nothing, slow=slow)
    with Bench(executor, QUICK).opened() as bench:
        bench.warm_up()
        bench.broker.mute["release"] = 1
        bench.broker.refuse["release"] = 1_000_000
        bench.broker.inner.send([call("slow", "slow"), call("quick", "a"), call("quick", "b")])
        bench.shard.work(0)
        assert executor.ran == ["slow"]
        bench.broker.refuse.clear()
        bench.shard.work(0)
    assert executor.ran == ["slow"]
    assert bench.stats == QueueStats(leased=2)
    assert len([event for event in bench.happened if isinstance(event, LeaseLost)]) == 2


def test_giving_back_is_tried_again_until_it_works() -> None:
    def slow(_: str) -> None:
        wait_until(lambda: bench.stats.ready == 2, what="giving back")

    executor = PlainExecutor(quick=nothing, slow=slow)
    with Bench(executor, QUICK).opened() as bench:
        bench.warm_up()
        bench.broker.refuse["release"] = 5
        bench.broker.inner.send([call("slow", "slow"), call("quick", "a"), call("quick", "b")])
        bench.shard.work(0)
        assert executor.ran == ["slow"]
        bench.shard.work(0)
        assert executor.ran == ["slow", "a", "b"]


def test_a_delivery_that_cannot_be_decoded_now_is_not_forgotten() -> None:
    """Such as an unknown task whose failure cannot be stored: it would stay leased for ever."""
    executor = PlainExecutor(quick=nothing)
    with Bench(executor).opened() as bench:
        bench.warm_up()
        bench.broker.inner.send([call("quick", "a"), call("quick", "b")])
        executor.trouble = BrokerUnavailable("the result store does not answer")
        bench.shard.work(0)
        bench.shard.work(0)
        assert bench.stats.ready + bench.stats.leased == 2
        assert bench.pauses == [0.001, 0.002]
        executor.trouble = None
        bench.shard.work(0)
        bench.shard.work(0)
        assert executor.ran == ["a", "b"]
        assert bench.stats == QueueStats()


def test_closing_tries_for_a_while_and_then_leaves_it_to_the_leases_end() -> None:
    settings = structs.replace(UNTOUCHED, engine_lease_seconds=1.0, engine_batch_seconds=0.5)
    bench = Bench(PlainExecutor(quick=nothing), settings)
    with bench.opened():
        bench.broker.inner.send([call("quick", "a")])
        bench.shard.work(0)
        bench.broker.away = True
    assert len(bench.pauses) > 3
    assert bench.stats == QueueStats(leased=1)


def test_closing_settles_as_soon_as_the_broker_is_back() -> None:
    executor = PlainExecutor(quick=nothing)
    with Bench(executor).opened() as bench:
        bench.broker.inner.send([call("quick", "a")])
        bench.shard.work(0)
        bench.broker.refuse["ack"] = 4
    assert bench.stats == QueueStats()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_call_fails_nothing_is_lost_and_nothing_runs_twice(seed: int) -> None:
    chance = random.Random(seed)
    ends: dict[str, Outcome | None] = {}
    released: set[str] = set()

    def work(id_: str) -> Outcome | None:
        outcome = ends[id_]
        if isinstance(outcome, Release):
            if id_ in released:
                return None
            released.add(id_)
        return outcome

    executor = PlainExecutor(work=work)
    bench = Bench(executor, structs.replace(QUICK, engine_settle_seconds=0.0005))
    kinds: list[Outcome | None] = [Delay(4e9), Bury("bad"), Release(), *[None] * 9]
    for number in range(300):
        ends[f"{number}"] = chance.choice(kinds)
    bench.broker.inner.send([call("work", id_, result_ignored=False) for id_ in ends])
    verbs = ["claim", "ack", "delay", "bury", "release"]
    with bench.opened():
        for _ in range(60):
            verb = chance.choice(verbs)
            bench.broker.refuse[verb] = chance.randrange(3)
            if verb != "claim":  # a broker gives back what a claim leased without our knowing
                bench.broker.mute[verb] = chance.randrange(2)
            bench.shard.work(0)
        bench.broker.refuse.clear()
        bench.broker.mute.clear()
        while bench.stats.ready or bench.stats.leased:
            bench.shard.work(0)
    runs = Counter(executor.ran)
    assert runs == {id_: 2 if isinstance(end, Release) else 1 for id_, end in ends.items()}
    assert Counter(executor.stored) == runs
    by_kind = Counter(type(end) for end in ends.values())
    assert bench.stats == QueueStats(delayed=by_kind[Delay], dead=by_kind[Bury])
