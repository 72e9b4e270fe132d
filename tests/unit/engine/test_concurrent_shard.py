"""A shard with several slots on a real broker in memory: how much it claims, and what ends how."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celeriac.brokers.memory import MemoryBroker
from celeriac.core.broker import Broker, QueueStats
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import Events
from celeriac.core.executor import Bury, Job, Outcome
from celeriac.core.lease import Claimed, Eviction, Lease
from celeriac.core.settings import Settings
from celeriac.engine.concurrent_shard import ConcurrentShard
from celeriac.engine.journal import Journal
from celeriac.engine.note import read_notes
from celeriac.engine.notices import Queues, Slots, Terminate
from celeriac.engine.shard import ShardSpec
from celeriac.engine.supervisor import new_spec
from celeriac.engine.terminate import TERMINATED, TIME_LIMIT
from celeriac.engine.threads import Threads
from tests.servers import wait_until
from tests.unit.engine.plain import PlainExecutor, PlainJob, call

QUICK = Settings(engine_settle_seconds=0.002, engine_giveback_seconds=0.01, engine_batch_seconds=1e-9)


class GatedExecutor(PlainExecutor):
    """``wait`` runs until its gate is opened; ``elsewhere`` is launched, and ends when it is resumed."""

    def __init__(self) -> None:
        super().__init__(wait=self._wait, quick=lambda _: None)
        self.gates: dict[str, threading.Event] = {}
        self.launched: dict[str, Callable[[], None]] = {}
        self.interrupted: list[str] = []
        self.abandoned: list[str] = []

    def gate(self, id_: str) -> threading.Event:
        return self.gates.setdefault(id_, threading.Event())

    def _wait(self, id_: str) -> None:
        assert self.gate(id_).wait(20)

    def launch(self, job: Job, resume: Callable[[], None]) -> Outcome | None:
        if job.name != "elsewhere":
            return self.run(job)
        self.ran.append(job.id)
        self.launched[job.id] = resume
        return None

    def conclude(self, job: Job) -> Outcome:
        return Bury("concluded")

    def interrupt(self, job: Job) -> None:
        self.interrupted.append(job.id)

    def abandon(self, job: Job, reason: str, signum: int) -> Outcome:
        self.abandoned.append(job.id)
        if len(self.abandoned) == 1:
            raise BrokerUnavailable("the result store is away")
        return Bury(reason)


@contextmanager
def working(
    broker: Broker,
    executor: GatedExecutor,
    slots: int,
    max_tasks: int | None = None,
    idle_wait: float = 0.01,
) -> Iterator[tuple[ConcurrentShard, ShardSpec]]:
    """A shard that works in a thread of its own until it is stopped, at the latest by this block's end."""
    spec = new_spec("Shard-1", "node", ["q"], QUICK, max_tasks, slots=(slots, 9))
    shard = ConcurrentShard(spec, broker, executor, QUICK, Events(), doorbell=broker)
    shard.open()

    def work() -> None:
        while shard.wanted:
            shard.work(idle_wait)
        shard.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield shard, spec
    finally:
        for gate in executor.gates.values():
            gate.set()
        shard._stop_soon()  # as stop does, which is for the main thread
        thread.join(20)
        assert not thread.is_alive()


def stats(broker: Broker) -> QueueStats:
    return broker.stats(["q"])["q"]


def test_it_claims_as_many_as_it_has_slots_for() -> None:
    broker, executor = MemoryBroker(), GatedExecutor()
    broker.send([call("wait", f"{number}") for number in range(7)])
    with working(broker, executor, slots=3):
        wait_until(lambda: executor.ran == ["0", "1", "2"])
        assert stats(broker) == QueueStats(ready=4, leased=3)
        executor.gate("1").set()
        wait_until(lambda: stats(broker) == QueueStats(ready=3, leased=3))
        assert executor.ran == ["0", "1", "2", "3"]
    assert stats(broker) == QueueStats(ready=3)


class DistantBroker(MemoryBroker):
    """Its answers are on their way for a while, in which more can happen."""

    def claim(self, *args: Any, **options: Any) -> Claimed:
        claimed = super().claim(*args, **options)
        time.sleep(0.001)
        return claimed


class MeetingExecutor(GatedExecutor):
    """``wait`` ends once it runs in every slot at the same time."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._all = threading.Barrier(slots)

    def _wait(self, id_: str) -> None:
        self._all.wait(10)


def test_slots_that_end_together_are_all_taken_again_without_waiting_for_another_to_end() -> None:
    broker, executor = DistantBroker(), MeetingExecutor(8)
    broker.send([call("wait", f"{number}") for number in range(8 * 20)])
    with working(broker, executor, slots=8, idle_wait=60) as (shard, _):
        wait_until(lambda: stats(broker) == QueueStats())
        shard._stop_soon()
        broker.send([call("quick")])  # ends its wait
    assert len(executor.ran) == 8 * 20
    assert stats(broker) == QueueStats(ready=1)


def test_a_body_elsewhere_keeps_its_slot_until_it_is_concluded() -> None:
    broker, executor = MemoryBroker(), GatedExecutor()
    broker.send([call("elsewhere", "a"), call("quick", "b")])
    with working(broker, executor, slots=1):
        wait_until(lambda: "a" in executor.launched)
        assert stats(broker) == QueueStats(ready=1, leased=1)
        executor.launched["a"]()
        wait_until(lambda: stats(broker) == QueueStats(dead=1))
        assert executor.ran == ["a", "b"]


def test_all_that_runs_is_told_and_forgotten() -> None:
    broker, executor = MemoryBroker(), GatedExecutor()
    broker.send([call("wait", "a"), call("wait", "b")])
    with working(broker, executor, slots=2) as (_, spec):

        def told() -> list[tuple[str, bytes]]:
            return sorted((note.id, note.text) for note in read_notes(spec.journal.read_note()))

        wait_until(lambda: told() == [("a", b"wait a"), ("b", b"wait b")])
        executor.gate("a").set()
        wait_until(lambda: told() == [("b", b"wait b")])
        executor.gate("b").set()
        wait_until(lambda: spec.journal.read_note() == b"")


def test_over_its_soft_limit_it_is_interrupted_once_and_over_the_hard_one_abandoned_and_replaced() -> None:
    broker, executor = MemoryBroker(), GatedExecutor()
    broker.send([call("wait", "late", soft_time_limit=0.01, time_limit=0.05), call("wait", "beside")])
    with working(broker, executor, slots=3) as (shard, spec):
        wait_until(lambda: stats(broker) == QueueStats(leased=1, dead=1))
        # The first try to record it failed.
        assert (executor.interrupted, executor.abandoned) == (["late"], ["late", "late"])
        assert [letter.reason for letter in broker.dead_letters()] == [TIME_LIMIT]
        wait_until(lambda: spec.journal.retired)
        assert not shard.wanted
        executor.gate("beside").set()
        wait_until(lambda: stats(broker) == QueueStats(dead=1))


class SlowToDecode(GatedExecutor):
    """Decodes while the keeper looks after the shard three times, or does not look at all for a second."""

    looks = 0

    def decode(self, lease: Lease) -> PlainJob:
        seen, deadline = self.looks, time.monotonic() + 1
        while self.looks < seen + 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        return super().decode(lease)

    def flush(self) -> None:
        self.looks += 1
        super().flush()


def test_what_took_long_to_decode_is_looked_after_too() -> None:
    broker, executor = MemoryBroker(), SlowToDecode()
    executor.abandoned.append("tried before")
    broker.send([call("wait", "late", time_limit=0.05)])
    with working(broker, executor, slots=1):
        wait_until(lambda: stats(broker) == QueueStats(dead=1))
        executor.gate("late").set()


def test_a_terminated_job_leaves_and_those_beside_it_stay() -> None:
    broker, executor = MemoryBroker(), GatedExecutor()
    executor.abandoned.append("tried before")
    broker.send([call("wait", "bad"), call("elsewhere", "gone"), call("wait", "good")])
    with working(broker, executor, slots=3) as (_, spec):
        wait_until(lambda: sorted(executor.ran) == ["bad", "gone", "good"])
        spec.notices.send(Terminate(["bad", "gone", "unknown"], 15))
        wait_until(lambda: stats(broker) == QueueStats(leased=1, dead=2))
        assert {letter.reason for letter in broker.dead_letters()} == {TERMINATED}
        executor.gate("bad").set()
        executor.launched["gone"]()
        executor.gate("good").set()
        wait_until(lambda: stats(broker) == QueueStats(dead=2))


def test_it_is_told_to_run_more_and_fewer_at_a_time() -> None:
    broker, executor = MemoryBroker(), GatedExecutor()
    broker.send([call("wait", f"{number}") for number in range(7)])
    with working(broker, executor, slots=1) as (_, spec):
        wait_until(lambda: executor.ran == ["0"])
        spec.notices.send(Slots(3))
        wait_until(lambda: executor.ran == ["0", "1", "2"])
        spec.notices.send(Slots(1))
        executor.gate("3")
        for number in range(2):
            executor.gate(f"{number}").set()
        wait_until(lambda: stats(broker) == QueueStats(ready=4, leased=1))
        assert executor.ran == ["0", "1", "2"]
        executor.gate("2").set()
        wait_until(lambda: executor.ran == ["0", "1", "2", "3"])


def test_it_claims_from_the_queues_it_is_told() -> None:
    broker, executor = MemoryBroker(), GatedExecutor()
    broker.send([call("wait", "a"), call("wait", "b", queue="other")])
    with working(broker, executor, slots=2) as (_, spec):
        wait_until(lambda: executor.ran == ["a"])
        spec.notices.send(Queues(("other",)))
        wait_until(lambda: executor.ran == ["a", "b"])


def test_a_worn_out_shard_makes_room_at_once_and_finishes_what_runs() -> None:
    broker, executor = MemoryBroker(), GatedExecutor()
    broker.send([call("wait", "a"), *(call("quick", f"{number}") for number in range(5))])
    with working(broker, executor, slots=2, max_tasks=3) as (_, spec):
        wait_until(lambda: spec.journal.retired)
        wait_until(lambda: stats(broker) == QueueStats(ready=3, leased=1))
        assert executor.ran == ["a", "0", "1"]
    assert stats(broker) == QueueStats(ready=3)


def test_of_messages_that_killed_twice_one_runs_at_a_time() -> None:
    broker, executor = MemoryBroker(), GatedExecutor()
    broker.send([call("wait", "a"), call("wait", "b"), call("wait", "new")])
    for turn in range(2):
        leases = []
        while len(leases) < 2:
            leases += broker.claim(["q"], 1, owner=f"dead-{turn}", lease_for=60).leases
        interrupted = frozenset(lease.id for lease in leases)
        broker.evict(Eviction(owner=f"dead-{turn}", interrupted=interrupted), max_deliveries=9)
    with working(broker, executor, slots=3) as (_, spec):
        wait_until(lambda: len(executor.ran) == 2 and "new" in executor.ran)
        assert [entry.suspect for entry in spec.journal.entries()].count(True) == 1
        [first] = [id_ for id_ in executor.ran if id_ != "new"]
        executor.gate(first).set()
        wait_until(lambda: len(executor.ran) == 3)
    assert stats(broker) == QueueStats()


def test_a_death_is_counted_for_the_suspect_alone() -> None:
    journal = Journal(4)
    journal.begin("innocent", at_most_once=False)
    journal.begin("once", at_most_once=True)
    assert journal.eviction("me", reason="died").interrupted == {"innocent"}
    journal.begin("suspect", at_most_once=False, suspect=True)
    eviction = journal.eviction("me", reason="died")
    assert (eviction.interrupted, eviction.forfeited) == ({"suspect"}, {"once": "died"})


def test_threads_are_made_as_needed_and_kept() -> None:
    threads, names, gate = Threads(3, "T"), [], threading.Event()

    def quick() -> None:
        names.append(threading.current_thread().name)

    def slow() -> None:
        quick()
        gate.wait(20)

    for number in range(5):
        threads.submit(quick)
        wait_until(lambda number=number: len(names) == number + 1 and threads.idle == 1)
    assert names == ["T-1"] * 5
    for _ in range(4):
        threads.submit(slow)
    wait_until(lambda: len(names) == 8)
    assert sorted(names[5:]) == ["T-1", "T-2", "T-3"]
    gate.set()
    wait_until(lambda: threads.idle == 3)
    assert len(names) == 9
