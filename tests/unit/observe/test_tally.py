"""What is counted in one process is read in another, and outlives the one that counted."""

from __future__ import annotations

import os
import signal
import threading

from celeriac.observe.report import Fleet, WorkerReport, read_report, write_report
from celeriac.observe.tally import BOUNDS, OTHER, OUTCOMES, Counts, Page, Tally, TaskCounts


def start(tally: Tally, task: str, queue: str = "celery", **given: float | bool | None) -> None:
    waited, late = given.get("waited"), given.get("late")
    tally.started(
        queue,
        task,
        int(given.get("size") or 0),
        redelivered=bool(given.get("redelivered")),
        waited=waited,
        late=late,
    )


def test_what_a_killed_process_has_counted_is_there_and_counted_on() -> None:
    page = Page()
    if not (child := os.fork()):
        tally = Tally(page)
        start(tally, "shop.pay", waited=0.02, redelivered=True)
        tally.ended("celery", "shop.pay", "succeeded", 0.3)
        tally.happened("buried", "celery", "poison")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    tally = Tally(page)
    start(tally, "shop.pay", late=7.0)
    tally.ended("celery", "shop.pay", "failed", 4000)
    tally.happened("buried", "celery", "poison", 2)

    counts = page.read()
    pay = counts.tasks["celery", "shop.pay"]
    assert (pay.started, pay.redelivered) == (2, 1)
    assert dict(zip(OUTCOMES, pay.ended, strict=True)) == {
        **dict.fromkeys(OUTCOMES, 0),
        "succeeded": 1,
        "failed": 1,
    }
    assert (pay.succeeded_in.count, pay.succeeded_in.sum) == (1, 0.3)
    assert pay.succeeded_in.buckets[BOUNDS.index(0.5)] == 1
    assert pay.failed_in.buckets[-1] == 1
    assert (pay.waited.count, pay.late.sum) == (1, 7.0)
    assert counts.events["buried", "celery", "poison"] == 3


def test_a_bound_belongs_to_its_bucket() -> None:
    tally = Tally(page := Page())
    for bound in BOUNDS:
        tally.ended("celery", "t", "succeeded", bound)
    assert page.read().tasks["celery", "t"].succeeded_in.buckets == [1] * len(BOUNDS) + [0]


def test_what_has_no_row_left_is_counted_together() -> None:
    tally = Tally(page := Page())
    for number in range(1000):
        start(tally, f"task{number}")
        tally.happened("failure", f"task{number}", "ValueError")
    counts = page.read()
    assert sum(one.started for one in counts.tasks.values()) == 1000
    assert counts.tasks[OTHER, OTHER].started > 700
    assert sum(counts.events.values()) == 1000
    assert counts.events["failure", OTHER, OTHER] > 700


def test_threads_lose_no_count() -> None:
    tally = Tally(page := Page())
    threads = [
        threading.Thread(target=lambda: [start(tally, "t", waited=1.0) for _ in range(5000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = page.read().tasks["celery", "t"]
    assert (found.started, found.waited.count, found.waited.sum) == (20_000, 20_000, 20_000.0)


def report(node: str, done: int, at: float = 0.0) -> WorkerReport:
    counts = Counts({("celery", "t"): TaskCounts(started=done)}, {("renewed", "", ""): done})
    return WorkerReport(node=node, hostname=f"{node}@host", queues=("celery",), slots=2, at=at, counts=counts)


def test_a_report_is_read_as_it_was_written() -> None:
    sent = report("one", 3, at=5.0)
    assert read_report(write_report(sent)) == sent
    assert read_report(b"something else") is None


def test_what_a_fleet_has_counted_never_goes_down() -> None:
    fleet = Fleet()
    seen, gone = [], []
    for now, reports in (
        (0.0, [report("one", 5, 0.0), report("two", 7, 0.0)]),
        (10.0, [report("two", 8, 10.0)]),
        (20.0, [report("one", 6, 20.0), report("two", 8, 20.0)]),  # it had only been silent
        (5000.0, [report("two", 9, 5000.0)]),  # the other is folded into what was before
        (9999.0, []),
    ):
        fleet.hear({one.node: one for one in reports}, now)
        counts = fleet.counts()
        gone.append(fleet.missing(now))
        seen.append((counts.tasks["celery", "t"].started, counts.events["renewed", "", ""]))
    assert seen == [(12, 12), (13, 13), (14, 14), (15, 15), (15, 15)]
    assert not fleet.workers
    assert gone == [[], ["one@host"], [], [], []]
