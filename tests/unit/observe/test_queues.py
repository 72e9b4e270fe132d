"""Ages, arrivals and drain times of queues, from a real broker's numbers and a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.message import Message
from celeriac.observe.queues import QueueNow, QueueWatch
from celeriac.observe.report import WorkerReport
from celeriac.observe.tally import OUTCOMES, Counts, TaskCounts


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SqliteBroker]:
    broker = SqliteBroker(tmp_path / "queue.db")
    yield broker
    broker.close()


def sent_at(message: Message) -> float | None:
    said = message.payload.decode()
    return float(said) if said.replace(".", "").isdigit() else None


def worker(ended: int, node: str = "one") -> dict[str, WorkerReport]:
    counts = TaskCounts(started=ended, ended=[ended, *[0] * (len(OUTCOMES) - 1)])
    told = WorkerReport(node=node, hostname=node, queues=("q",), slots=3, counts=Counts({("q", "t"): counts}))
    return {node: told}


def put(broker: SqliteBroker, *payloads: str, priority: int = 0) -> None:
    broker.send([Message(queue="q", payload=each.encode(), priority=priority) for each in payloads])


def run(broker: SqliteBroker, count: int) -> None:
    leases = broker.claim(["q"], count, owner="one", lease_for=60).leases
    assert len(leases) == count
    broker.ack(leases)


def look(watch: QueueWatch, workers: dict[str, WorkerReport], now: float) -> QueueNow:
    [found] = watch.look(["q"], workers, now)
    return found


def test_the_oldest_of_all_priorities_counts(broker: SqliteBroker) -> None:
    watch = QueueWatch(broker, sent_at)
    assert look(watch, {}, 100.0).oldest_seconds == 0.0
    put(broker, "90", "95")
    put(broker, "70", priority=9)
    assert look(watch, {}, 100.0).oldest_seconds == 30.0
    broker.claim(["q"], 3, owner="one", lease_for=60)  # what is leased waits no more
    assert look(watch, {}, 101.0).oldest_seconds == 0.0


def test_a_message_that_says_no_time_is_as_old_as_it_was_seen(broker: SqliteBroker) -> None:
    watch = QueueWatch(broker, sent_at)
    put(broker, "from elsewhere", "another")
    assert [look(watch, {}, now).oldest_seconds for now in (10.0, 25.0)] == [0.0, 15.0]
    run(broker, 1)
    assert look(watch, {}, 30.0).oldest_seconds == 0.0


def test_arrivals_are_what_is_there_and_what_has_been_run(broker: SqliteBroker) -> None:
    watch = QueueWatch(broker, sent_at)
    put(broker, "1", "2")
    assert look(watch, worker(1000), 0.0).arrived == 0  # all that was before counts for nothing
    put(broker, *"3456")
    assert look(watch, worker(1000), 10.0).arrived == 4
    run(broker, 3)
    assert look(watch, worker(1000), 20.0).arrived == 4  # the worker has not told of the three yet
    put(broker, "7")
    found = look(watch, worker(1003), 30.0)
    assert (found.arrived, found.departed, found.workers, found.slots) == (4, 3, 1, 3)
    both = {**worker(1003), **worker(2, "two")}  # of which two have come and gone that nobody saw
    assert [look(watch, both, now).arrived for now in (40.0, 50.0, 60.0)] == [5, 7, 7]


def test_what_is_not_settled_yet_is_not_counted_twice(broker: SqliteBroker) -> None:
    watch = QueueWatch(broker, sent_at)
    look(watch, worker(0), 0.0)
    put(broker, *"12345")
    leases = broker.claim(["q"], 5, owner="one", lease_for=60).leases
    assert [look(watch, worker(5), now).arrived for now in (10.0,)] == [5]
    broker.ack(leases)
    assert [look(watch, worker(5), now).arrived for now in (20.0, 100.0, 200.0)] == [5, 5, 5]


def test_what_was_purged_holds_later_arrivals_back_for_a_minute_only(broker: SqliteBroker) -> None:
    watch = QueueWatch(broker, sent_at)
    put(broker, *"1234")
    look(watch, {}, 0.0)
    broker.purge(["q"])
    assert [look(watch, {}, now).arrived for now in (10.0, 40.0, 80.0)] == [0, 0, 0]
    put(broker, *"56")
    assert look(watch, {}, 90.0).arrived == 2


def test_drain_time_is_what_waits_by_what_is_run(broker: SqliteBroker) -> None:
    watch = QueueWatch(broker, sent_at)
    assert look(watch, worker(0), 0.0).drain_seconds == 0.0
    put(broker, *"12345678")
    assert look(watch, worker(0), 10.0).drain_seconds == inf
    run(broker, 4)
    assert look(watch, worker(4), 20.0).drain_seconds == pytest.approx(4 / (4 / 20))
    run(broker, 2)  # by a worker that tells nothing of itself
    assert look(watch, worker(4), 30.0).drain_seconds == pytest.approx(2 / (4 / 30))
