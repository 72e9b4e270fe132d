"""A shard and its keeper on a real broker in memory: batches, slow tasks, stopping."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import pytest
from msgspec import structs

from celeriac.brokers.memory import MemoryBroker
from celeriac.core.broker import Broker, QueueStats
from celeriac.core.events import Events
from celeriac.core.executor import Bury, Outcome, Release
from celeriac.core.lease import Claimed, Eviction, Lease
from celeriac.core.message import Message
from celeriac.core.settings import Settings
from celeriac.engine import outage as outage_module
from celeriac.engine.note import Note, read_notes
from celeriac.engine.shard import Shard
from celeriac.engine.solo import Solo
from celeriac.engine.supervisor import new_spec
from tests.servers import wait_until
from tests.unit.engine.flaky_broker import FlakyBroker
from tests.unit.engine.plain import PlainExecutor, call

#: A keeper that looks after its shard every few milliseconds; batches of any size at once.
QUICK = Settings(
    engine_settle_seconds=0.002, engine_giveback_seconds=0.004, engine_batch_seconds=2.0, engine_batch_max=64
)
#: The keeper does nothing for as long as any test lasts.
UNTOUCHED = Settings(engine_settle_seconds=600, engine_giveback_seconds=600, engine_batch_seconds=2.0)


def make_shard(
    broker: Broker,
    executor: PlainExecutor,
    settings: Settings = QUICK,
    *,
    max_tasks: int | None = None,
    supervisor: int | None = None,
) -> Shard:
    spec = new_spec("Shard-1", "node", ["q"], settings, max_tasks)
    if supervisor is not None:
        spec = structs.replace(spec, supervisor=supervisor)
    return Shard(spec, broker, executor, settings, Events())


@contextmanager
def opened(shard: Shard) -> Iterator[Shard]:
    """The shard, ready for ``work``; closed afterwards."""
    shard.open()
    try:
        yield shard
    finally:
        shard.close()


def warm_up(broker: Broker, shard: Shard, executor: PlainExecutor) -> None:
    """Let the shard learn to claim at least 64 at once."""
    broker.send([call("quick", "warm-up") for _ in range(1 + 4 + 16)])
    for _ in range(3):
        shard.work(0)
    assert executor.ran == ["warm-up"] * 21
    executor.ran.clear()


def stats(broker: Broker) -> QueueStats:
    return broker.stats(["q"])["q"]


def nothing(_: str) -> None:
    """Does nothing, quickly."""


class NotingBroker(FlakyBroker):
    """Also writes down how many messages each claim asked for, and what was released."""

    def __init__(self, inner: Broker) -> None:
        super().__init__(inner)
        self.sizes: list[int] = []
        self.released: list[Lease] = []

    def claim(
        self, queues: Sequence[str], n: int, *, owner: str, lease_for: float, ack: Sequence[Lease] = ()
    ) -> Claimed:
        self.sizes.append(n)
        return super().claim(queues, n, owner=owner, lease_for=lease_for, ack=ack)

    def release(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        self.released += leases
        return super().release(leases)


def test_batches_grow_and_everything_runs_once_in_order() -> None:
    broker, executor = NotingBroker(MemoryBroker()), PlainExecutor(quick=nothing)
    numbers = [f"{number}" for number in range(200)]
    broker.send([call("quick", number) for number in numbers])
    with opened(make_shard(broker, executor, UNTOUCHED)) as shard:
        while stats(broker).ready:
            shard.work(0)
    assert executor.ran == numbers
    assert broker.sizes == [1, 4, 16, 64, 256]
    assert stats(broker) == QueueStats()


def test_an_idle_shard_waits_for_the_next_message() -> None:
    broker, executor = FlakyBroker(MemoryBroker()), PlainExecutor(quick=nothing)
    with opened(make_shard(broker, executor)) as shard:
        shard.work(0.01)
        assert broker.calls == ["claim", "wait"]
        broker.send([call("quick", "a")])
        shard.work(600)
    assert executor.ran == ["a"]


def test_what_is_claimed_behind_a_slow_task_is_given_back_in_its_order() -> None:
    broker = NotingBroker(MemoryBroker())
    seen: list[QueueStats] = []

    def slow(_: str) -> None:
        wait_until(lambda: stats(broker).leased == 1, what="giving back")
        seen.append(stats(broker))

    executor = PlainExecutor(quick=nothing, slow=slow)
    with opened(make_shard(broker, executor)) as shard:
        warm_up(broker, shard, executor)
        broker.send([call("slow", "slow"), *(call("quick", f"{number}") for number in range(5))])
        shard.work(0)
        assert executor.ran == ["slow"]
        assert seen == [QueueStats(ready=5, leased=1)]
        others = broker.claim(["q"], 9, owner="another", lease_for=60).leases
        assert [lease.deliveries for lease in others] == [1] * 5
        for leases in (broker.released, others):
            assert [executor.decode(lease).id for lease in leases] == ["0", "1", "2", "3", "4"]
    assert stats(broker) == QueueStats(leased=5)


def test_a_batch_of_steady_tasks_that_takes_long_is_given_back_too() -> None:
    def steady(_: str) -> None:
        end = time.monotonic() + 0.01
        wait_until(lambda: time.monotonic() > end, what="10 ms to pass")

    settings = structs.replace(QUICK, engine_giveback_seconds=0.1)
    broker, executor = NotingBroker(MemoryBroker()), PlainExecutor(quick=nothing, steady=steady)
    with opened(make_shard(broker, executor, settings)) as shard:
        warm_up(broker, shard, executor)
        broker.send([call("steady", f"{number}") for number in range(64)])
        shard.work(0)
        assert 1 <= len(executor.ran) <= 10
        assert stats(broker) == QueueStats(ready=64 - len(executor.ran), leased=0)
    assert executor.decode(broker.released[0]).id == f"{len(executor.ran)}"


def test_what_has_finished_is_settled_while_a_slow_task_runs() -> None:
    broker = MemoryBroker()
    executor = PlainExecutor(quick=nothing)
    seen: list[tuple[list[str], QueueStats]] = []

    def slow(_: str) -> None:
        wait_until(lambda: stats(broker) == QueueStats(leased=1, dead=1), what="settling")
        seen.append((list(executor.stored), stats(broker)))

    executor = PlainExecutor(quick=nothing, slow=slow, bad=lambda _: Bury("rejected"))
    with opened(make_shard(broker, executor)) as shard:
        warm_up(broker, shard, executor)
        broker.send([call("quick", "a", result_ignored=False), call("bad"), call("slow", "slow")])
        shard.work(0)
    assert seen == [(["a"], QueueStats(leased=1, dead=1))]
    assert stats(broker) == QueueStats(dead=1)


def test_what_runs_long_can_be_told_and_is_forgotten_afterwards() -> None:
    broker = MemoryBroker()
    told: list[Note] = []

    def slow(_: str) -> None:
        wait_until(spec.journal.read_note, what="the note")
        told.extend(read_notes(spec.journal.read_note()))

    executor = PlainExecutor(slow=slow, quick=nothing)
    spec = new_spec("Shard-1", "node", ["q"], QUICK)
    with opened(Shard(spec, broker, executor, QUICK, Events())) as shard:
        broker.send([call("slow", "long")])
        shard.work(0)
        assert [(note.id, note.text) for note in told] == [("long", b"slow long")]
        assert spec.journal.read_note() == b""


def test_a_task_that_cannot_be_described_does_not_stop_the_keeper() -> None:
    broker = MemoryBroker()

    def slow(_: str) -> None:
        wait_until(lambda: stats(broker).leased == 1, what="giving back")

    class Secretive(PlainExecutor):
        def describe(self, job: object) -> bytes:
            raise TypeError("not serializable")

    executor = Secretive(quick=nothing, slow=slow)
    with opened(make_shard(broker, executor)) as shard:
        warm_up(broker, shard, executor)
        for turn in range(2):
            broker.send([call("slow", f"slow-{turn}"), call("quick", f"quick-{turn}")])
            while stats(broker).ready:
                shard.work(0)
    assert executor.ran == ["slow-0", "quick-0", "slow-1", "quick-1"]


def test_stopped_by_the_running_task_it_settles_that_and_gives_back_the_rest() -> None:
    broker = MemoryBroker()
    executor = PlainExecutor(quick=nothing, stop=lambda _: shard.stop())
    shard = make_shard(broker, executor)
    with opened(shard):
        warm_up(broker, shard, executor)
        broker.send([call("quick", "a"), call("stop", "b"), call("quick", "c"), call("quick", "d")])
        shard.work(0)
        assert not shard.wanted
    assert executor.ran == ["a", "b"]
    assert stats(broker) == QueueStats(ready=2)


@contextmanager
def on_signal(handle: Callable[[], None], after: float) -> Iterator[None]:
    """Have this process handle a signal some time later, as a shard handles its supervisor's."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        handle()

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_ends_a_wait_for_messages_at_once() -> None:
    ended: list[float] = []

    class Waited(FlakyBroker):
        def wait(self, queues: Sequence[str], timeout: float) -> None:
            super().wait(queues, timeout)
            ended.append(timeout)

    shard = make_shard(Waited(MemoryBroker()), PlainExecutor())
    with opened(shard), on_signal(shard.stop, after=0.05):
        shard.work(5)
    assert not shard.wanted
    assert ended == []


def test_a_signal_ends_a_wait_for_the_broker_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage_module, "FIRST_PAUSE", 600.0)
    broker = FlakyBroker(MemoryBroker())
    broker.away = True
    shard = make_shard(broker, PlainExecutor())
    with on_signal(shard.stop, after=0.05):
        shard.run()
    assert broker.calls == ["claim"]


def test_stopped_before_it_began_it_runs_nothing() -> None:
    broker, executor = MemoryBroker(), PlainExecutor(quick=nothing)
    broker.send([call("quick")])
    shard = make_shard(broker, executor)
    shard.stop()
    shard.stop()
    shard.run()
    assert (executor.ran, stats(broker)) == ([], QueueStats(ready=1))


def test_a_worn_out_shard_ends_and_gives_back_the_rest() -> None:
    broker, executor = MemoryBroker(), PlainExecutor(quick=nothing)
    broker.send([call("quick", f"{number}") for number in range(10)])
    make_shard(broker, executor, max_tasks=3).run()
    assert executor.ran == ["0", "1", "2"]
    assert stats(broker) == QueueStats(ready=7)
    [first] = broker.claim(["q"], 1, owner="another", lease_for=60).leases
    assert (executor.decode(first).id, first.deliveries) == ("3", 1)


def test_an_orphan_finishes_what_runs_holding_its_lease_and_ends() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    now = [1000.0]
    broker = FlakyBroker(MemoryBroker(clock=lambda: now[0]))
    settings = structs.replace(QUICK, engine_lease_seconds=1.0, engine_batch_seconds=0.5)

    def slow(_: str) -> None:
        renewals = broker.calls.count("renew")
        wait_until(lambda: broker.calls.count("renew") > renewals, what="a renewal")
        wait_until(lambda: stats(broker).ready == 1, what="giving back")

    executor = PlainExecutor(quick=nothing, slow=slow)
    orphan = make_shard(broker, executor, settings, supervisor=dead.pid)
    assert not orphan.wanted
    broker.send([call("quick", "a"), call("slow", "b"), call("quick", "c")])
    with opened(orphan):
        # It becomes one while it runs a batch: what it has claimed is not all started any more.
        orphan.work(0)
        orphan.work(0)
    assert "c" not in executor.ran
    assert stats(broker).leased == 0


def deliver_again(broker: Broker, message: Message, times: int) -> None:
    """Send the message as one whose workers have died."""
    broker.send([message])
    for number in range(times):
        [lease] = broker.claim(["q"], 1, owner=f"dead-{number}", lease_for=60).leases
        interrupted = Eviction(owner=lease.owner, interrupted=frozenset([lease.id]))
        broker.evict(interrupted, max_deliveries=99)


def test_a_redelivered_message_runs_alone_after_a_settlement() -> None:
    broker = MemoryBroker()
    seen: list[tuple[QueueStats, list[str]]] = []
    executor = PlainExecutor(
        quick=nothing, poison=lambda _: seen.append((stats(broker), list(executor.stored)))
    )
    with opened(make_shard(broker, executor, UNTOUCHED)) as shard:
        warm_up(broker, shard, executor)
        deliver_again(broker, call("poison", "poison", priority=5), times=2)
        broker.send([call("quick", "a", result_ignored=False), call("quick", "b")])
        broker.send([call("quick", "last", priority=9)])
        shard.work(0)
        assert executor.ran == ["a", "b", "poison"]
        # Whatever it does to its process, only itself is leased, and only "last" waits.
        assert seen == [(QueueStats(ready=1, leased=1), ["a"])]
        shard.work(0)
    assert executor.ran == ["a", "b", "poison", "last"]
    assert stats(broker) == QueueStats()


def test_a_released_message_runs_again_later() -> None:
    broker = MemoryBroker()
    outcomes: list[Outcome | None] = [None, Release()]
    executor = PlainExecutor(again=lambda _: outcomes.pop())
    broker.send([call("again", "a")])
    with opened(make_shard(broker, executor, UNTOUCHED)) as shard:
        shard.work(0)
        shard.work(0)  # settles it as released, and claims it
        assert executor.ran == ["a", "a"]
    assert stats(broker) == QueueStats()


def test_solo_works_reaps_and_promotes_in_each_tick() -> None:
    now = [1000.0]
    broker = MemoryBroker(clock=lambda: now[0])
    executor = PlainExecutor(quick=nothing)
    broker.send([call("quick", "a"), call("quick", "of a dead node")])
    broker.claim(["q"], 1, owner="dead node", lease_for=5)
    settings = structs.replace(QUICK, engine_lease_seconds=1.0, engine_batch_seconds=0.5)
    solo = Solo(make_shard(broker, executor), broker, settings, Events(), executor.bury)
    solo.start()
    solo.tick(0)
    assert executor.ran == ["of a dead node"]
    now[0] += 6
    while stats(broker) != QueueStats():
        solo.tick(0)
    assert executor.ran == ["of a dead node", "a"]
    broker.send([call("quick", "too late")])
    solo.stop()
    solo.stop()
    solo.tick(0)
    assert stats(broker) == QueueStats(ready=1)
