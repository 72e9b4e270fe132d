"""What a pool's workers have done since the last look, from what each of them tells of its whole life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from celeriac.observe.report import WorkerReport
from celeriac.observe.tally import BOUNDS, Histogram, TaskCounts

__all__ = ["Done", "WorkDone"]

_MIDDLES = [(low * high) ** 0.5 for low, high in pairwise((BOUNDS[0] / 2, *BOUNDS, BOUNDS[-1] * 2))]


class Done(msgspec.Struct):
    """Since the last look."""

    ended: int = 0  #: deliveries, whatever became of them
    finished: int = 0  #: of those, the ones that have a run time
    run_seconds: float = 0.0
    run_seconds_squared: float = 0.0
    begun: int = 0
    late: int = 0  #: of those that began, after a wait longer than the objective
    mean_wait: float = 0.0


class WorkDone:
    """Remembers what each worker has told before; one that is gone and comes back is not counted twice."""

    def __init__(self, queues: Sequence[str], objective: float) -> None:
        self._queues = frozenset(queues)
        self._objective = objective
        self._told: dict[str, TaskCounts] = {}
        self._fresh = True

    def lost_sight(self) -> None:
        """The broker did not answer: workers that are new next time may be old ones."""
        self._fresh = True

    def since(self, workers: Mapping[str, WorkerReport]) -> Done:
        """Return what was done since the call before; the first one only takes note."""
        done = Done()
        waits = Histogram()
        for node, report in workers.items():
            told = self._total(report)
            before = self._told.get(node, told if self._fresh else TaskCounts())
            self._told[node] = told
            _add(done, before, told)
            waits.add(_difference(before.waited, told.waited))
        self._fresh = False
        if waits.count:
            # Clocks of hosts differ, and a bucket is as far as a wait is known.
            done.mean_wait = max(waits.sum / waits.count, 0.0)
            done.late = sum(
                count
                for count, low in zip(waits.buckets, (0.0, *BOUNDS), strict=True)
                if low >= self._objective
            )
        return done

    def _total(self, report: WorkerReport) -> TaskCounts:
        total = TaskCounts()
        for (queue, _task), counts in report.counts.tasks.items():
            if queue in self._queues:
                total.add(counts)
        return total


def _add(done: Done, before: TaskCounts, told: TaskCounts) -> None:
    done.ended += max(sum(told.ended) - sum(before.ended), 0)
    done.begun += max(told.started - before.started, 0)
    for earlier, now in ((before.succeeded_in, told.succeeded_in), (before.failed_in, told.failed_in)):
        times = _difference(earlier, now)
        if not times.count:
            continue
        done.finished += times.count
        done.run_seconds += times.sum
        rough = sum(count * middle for count, middle in zip(times.buckets, _MIDDLES, strict=True))
        squares = sum(count * middle**2 for count, middle in zip(times.buckets, _MIDDLES, strict=True))
        # The sum is exact and the buckets are not: they give the shape, the sum the size.
        done.run_seconds_squared += squares * (times.sum / rough) ** 2


def _difference(before: Histogram, now: Histogram) -> Histogram:
    buckets = [max(after - earlier, 0) for after, earlier in zip(now.buckets, before.buckets, strict=True)]
    return Histogram(buckets, max(now.sum - before.sum, 0.0))
