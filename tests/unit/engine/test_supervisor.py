"""A supervisor with real shards in processes of their own, on a real file."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.broker import QueueStats
from celeriac.core.events import (
    BrokerLost,
    BrokerRegained,
    Event,
    Events,
    LeasesReturned,
    ShardStarted,
    ShardStopped,
)
from celeriac.core.executor import Bury, Outcome
from celeriac.core.lease import DeadLetter
from celeriac.core.settings import Settings
from celeriac.engine.shard import Shard, ShardSpec
from celeriac.engine.supervisor import Supervisor
from celeriac.engine.terminate import TERMINATED
from tests.servers import wait_until
from tests.unit.engine.flaky_broker import FlakyBroker
from tests.unit.engine.plain import PlainExecutor, call

E = TypeVar("E", bound=Event)

SETTINGS = Settings(engine_lease_seconds=1, engine_max_deliveries=3)


class Ledger:
    """What the functions say they did, one line each, written by any process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def note(self, text: str) -> None:
        with self._path.open("a") as file:
            file.write(f"{text}\n")

    @property
    def lines(self) -> list[str]:
        return self._path.read_text().splitlines()


class Worker:
    """A supervisor, its broker and ledger, and the functions its shards run."""

    def __init__(self, folder: Path, count: int, *, max_tasks: int | None = None) -> None:
        self.path = folder / "broker.db"
        self.ledger = Ledger(folder / "ledger")
        self.broker = FlakyBroker(SqliteBroker(self.path))
        self.looker = SqliteBroker(self.path)
        self.happened: list[Event] = []
        self.buried: list[DeadLetter] = []
        events = Events()
        for kind in (ShardStarted, ShardStopped, LeasesReturned, BrokerLost, BrokerRegained):
            events.subscribe(kind, self.happened.append)
        self.launch: Callable[[ShardSpec], None] = self.run_shard
        self.supervisor = Supervisor(
            self.broker,
            SETTINGS,
            events,
            node="node",
            queues=["q"],
            count=count,
            launch=lambda spec: self.launch(spec),
            on_buried=self.buried.append,
            max_tasks=max_tasks,
        )

    def run_shard(self, spec: ShardSpec) -> None:
        """What a shard's process does."""
        executor = PlainExecutor(quick=self.quick, slow=self.slow, suicide=self.suicide)
        shard = Shard(spec, SqliteBroker(self.path), executor, SETTINGS, Events())
        signal.signal(signal.SIGTERM, lambda *_: shard.stop())
        shard.run()

    def quick(self, id_: str) -> None:
        self.ledger.note(f"{id_} {os.getpid()}")

    def slow(self, id_: str) -> None:
        self.ledger.note(f"{id_} {os.getpid()}")
        time.sleep(60)

    def suicide(self, id_: str) -> None:
        self.ledger.note(f"{id_} {os.getpid()}")
        os.kill(os.getpid(), signal.SIGKILL)

    def tick_until(self, condition: Callable[[], object], what: str = "condition") -> None:
        """Do the supervisor's work until the condition holds."""

        def ticked() -> object:
            self.supervisor.tick()
            return condition()

        wait_until(ticked, what=what)

    def end(self) -> None:
        """Kill what is left."""
        self.broker.away = False
        self.supervisor.kill()
        self.tick_until(lambda: self.supervisor.finished, "the end")
        self.looker.close()
        self.broker.close()

    @property
    def stats(self) -> QueueStats:
        return self.looker.stats(["q"])["q"]

    @property
    def ran(self) -> list[str]:
        """The ids of what ran, in order."""
        return [line.split()[0] for line in self.ledger.lines]

    def pid(self, id_: str) -> int:
        """The process that ran this last."""
        return int([line.split()[1] for line in self.ledger.lines if line.split()[0] == id_][-1])

    def pids(self) -> list[int]:
        return [shard.process.pid or 0 for shard in self.supervisor.shards.values()]

    def events(self, kind: type[E]) -> list[E]:
        return [event for event in self.happened if isinstance(event, kind)]


@pytest.fixture
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Worker]:
    """With as many shards as the test asks for, or one."""
    worker = Worker(tmp_path, **{"count": 1, **getattr(request, "param", {})})
    yield worker
    worker.end()


two_shards = pytest.mark.parametrize("worker", [{"count": 2}], indirect=True)


@two_shards
def test_runs_what_is_sent_and_stops_warm(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("quick", f"{number}") for number in range(50)])
    worker.tick_until(lambda: len(worker.ran) == 50)
    assert not worker.supervisor.finished
    worker.supervisor.stop()
    worker.tick_until(lambda: worker.supervisor.finished)
    assert sorted(worker.ran, key=int) == [f"{number}" for number in range(50)]
    assert worker.stats == QueueStats()
    assert [event.shard for event in worker.events(ShardStarted)] == ["Shard-1", "Shard-2"]
    assert [(event.exitcode, event.expected) for event in worker.events(ShardStopped)] == [(0, True)] * 2


@two_shards
def test_a_killed_shard_is_replaced_and_what_it_ran_runs_again(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("slow", "slow")])
    worker.tick_until(lambda: worker.ran == ["slow"])
    victim, survivors = worker.pid("slow"), set(worker.pids())
    os.kill(victim, signal.SIGKILL)
    worker.tick_until(lambda: worker.ran == ["slow", "slow"], "running it again")
    worker.tick_until(lambda: len(worker.pids()) == 2 and victim not in worker.pids())
    assert len(survivors & set(worker.pids())) == 1
    [stopped] = worker.events(ShardStopped)
    assert (stopped.pid, stopped.exitcode, stopped.expected) == (victim, -signal.SIGKILL, False)
    [returned] = worker.events(LeasesReturned)
    assert returned.count == 1
    assert (returned.owner or "").startswith(f"node/{stopped.shard}/")
    [lease] = [lease for shard, lease in worker.supervisor.running()]
    assert lease.finished is False


def test_a_shard_has_an_owner_id_of_its_own_in_each_life(worker: Worker) -> None:
    worker.supervisor.start()
    owners = []
    for _ in range(2):
        [shard] = worker.supervisor.shards.values()
        owners.append(shard.spec.owner)
        os.kill(shard.process.pid or 0, signal.SIGKILL)
        worker.tick_until(lambda: worker.pids() and worker.supervisor.shards[1].spec.owner not in owners)
    assert len(set(owners)) == 2


def test_a_poison_message_is_buried_recorded_and_keeps_no_other_from_running(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("suicide", "poison"), call("quick", "a"), call("quick", "b")])
    worker.tick_until(lambda: worker.stats == QueueStats(dead=1) and len(worker.buried) == 1)
    assert worker.ran.count("poison") == 3
    assert sorted(set(worker.ran)) == ["a", "b", "poison"]
    [letter] = worker.buried
    assert letter.deliveries == 3


def test_what_must_not_start_twice_is_buried_with_the_shard(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("suicide", "once", at_most_once=True)])
    worker.tick_until(lambda: worker.buried)
    assert worker.ran == ["once"]
    assert worker.stats == QueueStats(dead=1)
    assert worker.buried[0].reason == (
        "its worker process died while it ran, and it must not start twice (acks_late is off)"
    )


def test_a_shard_that_dies_at_once_is_replaced_after_longer_and_longer_pauses(worker: Worker) -> None:
    def die(spec: ShardSpec) -> None:
        worker.ledger.note(f"{spec.name} {time.monotonic()}")
        sys.exit(3)

    worker.launch = die
    worker.supervisor.start()
    worker.tick_until(lambda: len(worker.ran) == 4)
    times = [float(line.split()[1]) for line in worker.ledger.lines]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert all(pause >= least for pause, least in zip(pauses, [0, 0.1, 0.2], strict=True))
    worker.launch = worker.run_shard
    worker.looker.send([call("quick", "done")])
    worker.tick_until(lambda: "done" in worker.ran)
    assert [event.exitcode for event in worker.events(ShardStopped)] == [3] * 4


@pytest.mark.parametrize("worker", [{"max_tasks": 2}], indirect=True)
def test_a_worn_out_shard_is_replaced_at_once(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("quick", f"{number}") for number in range(6)])
    worker.tick_until(lambda: len(worker.ran) == 6)
    pids = [line.split()[1] for line in worker.ledger.lines]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]
    assert all(event.expected for event in worker.events(ShardStopped))


def test_over_its_time_limit_it_is_killed_and_buried_and_the_rest_goes_on(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("slow", "slow", time_limit=0.2), call("quick", "after")])
    worker.tick_until(lambda: worker.buried and worker.ran[-1] == "after" and not worker.stats.leased)
    assert [letter.reason for letter in worker.buried] == ["it ran longer than its time limit"]
    assert worker.ran == ["slow", "after"]
    assert worker.pid("after") != worker.pid("slow")
    [stopped] = worker.events(ShardStopped)
    assert (stopped.exitcode, stopped.expected) == (-signal.SIGKILL, True)
    assert worker.stats == QueueStats(dead=1)


def test_what_ended_in_time_is_not_killed_while_it_cannot_be_settled(worker: Worker) -> None:
    """The broker is out of reach for longer than the time limit of what has ended."""

    def run_shard(spec: ShardSpec) -> None:
        broker = FlakyBroker(SqliteBroker(worker.path))

        def cut(id_: str) -> Outcome:
            worker.quick(id_)
            broker.away = True
            return Bury("rejected")

        shard = Shard(spec, broker, PlainExecutor(cut=cut), SETTINGS, Events())
        signal.signal(signal.SIGTERM, lambda *_: shard.stop())
        signal.signal(signal.SIGUSR1, lambda *_: setattr(broker, "away", False))
        shard.run()

    worker.launch = run_shard
    worker.supervisor.start()
    worker.looker.send([call("cut", "a", time_limit=0.2)])
    worker.tick_until(lambda: worker.ran == ["a"])
    over = time.monotonic() + 0.4
    worker.tick_until(lambda: time.monotonic() > over, "the time limit")
    assert worker.pids() == [worker.pid("a")]
    os.kill(worker.pid("a"), signal.SIGUSR1)
    worker.tick_until(lambda: worker.stats == QueueStats(dead=1))
    assert worker.looker.dead_letters()[0].reason == "rejected"


@two_shards
def test_killed_cold_what_ran_goes_back_uncounted_or_is_buried(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("slow", "late"), call("slow", "early", at_most_once=True)])
    worker.tick_until(lambda: len(worker.ran) == 2)
    worker.supervisor.kill()
    worker.tick_until(lambda: worker.supervisor.finished)
    assert worker.stats == QueueStats(ready=1, dead=1)
    [lease] = worker.looker.claim(["q"], 1, owner="another", lease_for=60).leases
    assert lease.deliveries == 1
    assert "shut down cold" in worker.buried[0].reason
    assert [event.expected for event in worker.events(ShardStopped)] == [True, True]


def test_stopped_twice_it_finishes_what_runs_and_starts_no_new_shard(worker: Worker) -> None:
    gate = worker.path.parent / "gate"

    def wait(id_: str) -> None:
        worker.quick(id_)
        wait_until(gate.exists)
        worker.quick(f"{id_}-done")

    def run_shard(spec: ShardSpec) -> None:
        shard = Shard(spec, SqliteBroker(worker.path), PlainExecutor(wait=wait), SETTINGS, Events())
        signal.signal(signal.SIGTERM, lambda *_: shard.stop())
        shard.run()

    worker.launch = run_shard
    worker.supervisor.start()
    worker.looker.send([call("wait", "a"), call("wait", "b")])
    worker.tick_until(lambda: worker.ran == ["a"])
    worker.supervisor.stop()
    worker.supervisor.tick()
    worker.supervisor.stop()
    worker.supervisor.tick()
    assert not worker.supervisor.finished
    gate.touch()
    worker.tick_until(lambda: worker.supervisor.finished)
    assert worker.ran == ["a", "a-done"]
    assert worker.stats == QueueStats(ready=1)
    assert len(worker.events(ShardStarted)) == 1


def test_an_eviction_is_made_up_for_once_the_broker_is_back(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("slow", "slow", at_most_once=True)])
    worker.tick_until(lambda: worker.ran == ["slow"])
    worker.broker.away = True
    os.kill(worker.pid("slow"), signal.SIGKILL)
    worker.tick_until(lambda: len(worker.events(BrokerLost)) == 3)
    assert [event.retry_in for event in worker.events(BrokerLost)] == [0.1, 0.2, 0.4]
    assert worker.stats == QueueStats(leased=1)
    worker.broker.away = False
    worker.tick_until(lambda: worker.buried)
    assert worker.stats == QueueStats(dead=1)
    assert worker.events(BrokerRegained) == [BrokerRegained()]
    assert worker.broker.calls.count("evict") < 6


def test_stops_though_the_broker_stays_away(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("slow", "slow")])
    worker.tick_until(lambda: worker.ran == ["slow"])
    worker.broker.away = True
    worker.supervisor.kill()
    worker.tick_until(lambda: not worker.supervisor.shards)
    assert not worker.supervisor.finished
    worker.tick_until(lambda: worker.supervisor.finished)
    # The lease has run out by itself, so that any other worker takes it back.
    assert worker.looker.reap(max_deliveries=9).returned == 1


def test_tells_what_its_shards_run(worker: Worker) -> None:
    worker.supervisor.start()
    assert worker.supervisor.notes() == []
    worker.looker.send([call("slow", "long")])
    worker.tick_until(worker.supervisor.notes)
    [(shard, note)] = worker.supervisor.notes()
    assert (shard.spec.name, note.id, note.text) == ("Shard-1", "long", b"slow long")


def test_says_when_it_wants_to_be_ticked(worker: Worker) -> None:
    worker.supervisor.start()
    worker.supervisor.tick()
    assert 0 <= worker.supervisor.pause <= 0.1
    worker.supervisor.stop()
    assert worker.supervisor.pause == pytest.approx(0.02)


def test_does_not_go_round_in_circles_while_the_broker_is_away(worker: Worker) -> None:
    worker.broker.away = True
    worker.supervisor.tick()
    assert worker.supervisor.pause > 0.01


def test_terminates_the_job_that_was_named_and_no_other(worker: Worker) -> None:
    worker.supervisor.resize(2)
    worker.supervisor.start()
    worker.looker.send([call("slow", "bad"), call("slow", "good", at_most_once=True)])
    worker.tick_until(lambda: len(worker.supervisor.notes()) == 2)
    worker.supervisor.terminate(["bad", "unknown"], signal.SIGKILL)
    worker.tick_until(lambda: worker.buried)
    [letter] = worker.buried
    assert (letter.reason, letter.deliveries) == (TERMINATED, 1)
    assert worker.stats == QueueStats(leased=1)
    assert worker.looker.dead_letters() == []
    assert sorted(worker.ran) == ["bad", "good"]
    worker.tick_until(lambda: len(worker.supervisor.shards) == 2)


def test_signals_a_shard_that_cannot_tell_others_of_it_by_itself(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("slow", "bad"), call("quick", "good")])
    worker.tick_until(worker.supervisor.notes)
    worker.supervisor.terminate(["bad"], signal.SIGUSR2)
    worker.tick_until(lambda: worker.buried and worker.ran == ["bad", "good"])
    assert [letter.reason for letter in worker.buried] == [TERMINATED]
    [stopped] = worker.events(ShardStopped)
    assert (stopped.exitcode, stopped.expected) == (-signal.SIGUSR2, True)
    worker.tick_until(lambda: worker.stats == QueueStats())


def test_terminates_a_job_that_has_only_just_started(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("slow", "bad")])
    worker.tick_until(lambda: worker.ran == ["bad"])
    worker.supervisor.terminate(["bad"], signal.SIGKILL)
    worker.tick_until(lambda: worker.buried)
    assert worker.stats == QueueStats()


def test_grows_and_shrinks_by_idle_shards_first(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("slow", "slow")])
    worker.tick_until(worker.supervisor.notes)
    [(busy, _)] = worker.supervisor.notes()
    worker.supervisor.resize(3)
    worker.tick_until(lambda: len(worker.supervisor.shards) == 3)
    worker.supervisor.resize(1)
    worker.tick_until(lambda: list(worker.supervisor.shards) == [busy.number])
    assert worker.supervisor.count == 1
    assert all(event.expected for event in worker.events(ShardStopped))
    assert worker.stats == QueueStats(leased=1)


def test_restarts_every_shard(worker: Worker) -> None:
    worker.supervisor.resize(2)
    worker.supervisor.start()
    before = {shard.process.pid for shard in worker.supervisor.shards.values()}
    worker.supervisor.restart()
    worker.tick_until(lambda: len(worker.events(ShardStarted)) == 4)
    after = {shard.process.pid for shard in worker.supervisor.shards.values()}
    assert (len(after), after & before) == (2, set())


def test_shards_learn_of_other_queues(worker: Worker) -> None:
    worker.supervisor.start()
    worker.looker.send([call("quick", "first")])
    worker.tick_until(lambda: worker.ran == ["first"])
    worker.looker.send([call("quick", "second", queue="other")])
    worker.supervisor.consume(["other"])
    worker.tick_until(lambda: worker.ran == ["first", "second"])
    worker.looker.send([call("quick", "third"), call("quick", "fourth", queue="other")])
    worker.tick_until(lambda: "fourth" in worker.ran)
    assert worker.ran == ["first", "second", "fourth"]
    assert worker.stats == QueueStats(ready=1)
