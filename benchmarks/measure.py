"""One measurement of one contender: a full queue, a warm worker, the clock, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from backlog import QUEUE, push
from contenders import Bench, Contender
from worker import Worker

__all__ = ["Load", "Measurement", "measure"]

#: Tasks that a worker runs before it is measured: it has connected, forked and imported by then.
WARM_UP = 200
#: Where the backlog waits until the worker is warm; renaming a list takes Redis no time.
STAGED = "bench:staged"
#: How often the counters are read; a reading takes some 0.1 ms.
POLL_SECONDS = 0.005
STALLED_SECONDS = 60


@dataclass(frozen=True)
class Load:
    """How much is asked of each side in one round."""

    tasks: int
    stock_tasks: int
    delays: int
    concurrency: int

    def tasks_of(self, contender: Contender) -> int:
        return self.stock_tasks if contender.is_stock else self.tasks


@dataclass(frozen=True)
class Measurement:
    """What one round of one contender gave."""

    contender: str
    results: bool
    round: int
    tasks: int
    #: First task done to all messages settled (and all results stored).
    seconds: float
    #: Tasks after the first, over those seconds.
    tasks_per_second: float
    #: From starting the command to the first task done.
    startup_seconds: float
    #: CPU time of all the worker's processes, and of Redis, for one task.
    worker_cpu_microseconds: float
    redis_cpu_microseconds: float
    processes: int
    #: Proportional set size of all the worker's processes in bytes, before and after the drain.
    idle_pss_bytes: int
    drained_pss_bytes: int
    #: ``.delay()`` one by one in one process.
    delays: int
    delays_per_second: float
    #: The quickest way to send many: ``delay_many``, or a ``group`` where there is none.
    bulk_per_second: float


class _Watch:
    """Waits for a worker's counters, tells how far they are, and gives up when they stand still."""

    def __init__(self, worker: Worker, report: Callable[[int], None]) -> None:
        self._worker = worker
        self._report = report
        self._seen = -1
        self._changed = time.monotonic()

    def until(self, reached: Callable[[int], bool]) -> tuple[float, int]:
        """Return when it was, and the count, once ``reached(count)`` is true."""
        self._changed = time.monotonic()
        while True:
            runs = self._worker.runs
            done = reached(runs)
            now = time.monotonic()
            if done:
                return now, runs
            if runs != self._seen:
                self._seen, self._changed = runs, now
                self._report(runs - WARM_UP)
            elif now - self._changed > STALLED_SECONDS:
                raise self._worker.failure(f"stands still after {runs} runs")
            self._worker.check()
            time.sleep(POLL_SECONDS)


def measure(
    bench: Bench,
    contender: Contender,
    load: Load,
    number: int,
    report: Callable[[int], None],
) -> Measurement:
    """Return what one round gives; nothing of an earlier one is left in Redis."""
    redis, template = bench.redis, bench.template
    redis.messages.flushall()
    delays_per_second, bulk_per_second = bench.publish(contender, load.delays)
    redis.messages.flushall()
    tasks = load.tasks_of(contender)
    push(redis.messages, template, WARM_UP)
    push(redis.messages, template, tasks, STAGED)

    def settled(runs: int, expected: int, still_staged: int) -> bool:
        stored = redis.results.dbsize() if bench.results and runs >= expected else expected
        return runs >= expected and redis.messages_left() == still_staged and stored >= expected

    started = time.monotonic()
    with Worker(bench, contender, load.concurrency) as worker:
        watch = _Watch(worker, report)
        up, _ = watch.until(lambda runs: runs > 0)
        watch.until(lambda runs: settled(runs, WARM_UP, tasks))
        idle_pss = worker.pss
        worker_cpu, redis_cpu = worker.cpu_seconds, redis.cpu_seconds
        redis.messages.rename(STAGED, QUEUE)
        first, already = watch.until(lambda runs: runs > WARM_UP)
        last, runs = watch.until(lambda runs: settled(runs, WARM_UP + tasks, 0))
        if runs != WARM_UP + tasks:
            raise worker.failure(f"ran {runs - WARM_UP} tasks where {tasks} were sent")
        report(tasks)
        return Measurement(
            contender=contender.name,
            results=bench.results,
            round=number,
            tasks=tasks,
            seconds=last - first,
            tasks_per_second=(runs - already) / (last - first),
            startup_seconds=up - started,
            worker_cpu_microseconds=1e6 * (worker.cpu_seconds - worker_cpu) / tasks,
            redis_cpu_microseconds=1e6 * (redis.cpu_seconds - redis_cpu) / tasks,
            processes=worker.processes,
            idle_pss_bytes=idle_pss,
            drained_pss_bytes=worker.pss,
            delays=load.delays,
            delays_per_second=delays_per_second,
            bulk_per_second=bulk_per_second,
        )
