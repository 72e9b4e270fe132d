"""What tasks that run will send when they have ended, to one pool's queues."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from celeriac.deploy.scaling.view import TICK, Due
from celeriac.observe.report import Sequel, WorkerReport
from celeriac.observe.tally import Histogram

__all__ = ["Sequels"]

_FEWEST = 2  # tasks: one after the other is what the load looks like anyway


class Sequels:
    """Follows one pool."""

    def __init__(self, queues: Collection[str]) -> None:
        self._queues = frozenset(queues)
        self._before: dict[tuple[str, str], int] = {}

    def since(self, now: float, reports: Mapping[str, WorkerReport]) -> tuple[int, list[Due]]:
        """Return how many tasks have been sent, as what sends them has ended; and what is to come."""
        there = {
            (one.whose, one.queue): one
            for report in reports.values()
            for one in report.sequels
            if one.queue in self._queues and one.tasks >= _FEWEST
        }
        sent = sum(tasks for key, tasks in self._before.items() if key not in there)
        self._before = {key: one.tasks for key, one in there.items()}
        usual = _run_times(reports.values(), {one.after for one in there.values()})
        return sent, [_due(now, one, usual[one.after]) for one in there.values()]


def _due(now: float, sequel: Sequel, usual: Histogram) -> Due:
    """When it has run for as long as usual; at the next tick if it has, or if nothing is known."""
    takes = usual.sum / usual.count if usual.count else 0.0
    return Due(max(sequel.since + takes, now + TICK), sequel.tasks, 1.0)


def _run_times(reports: Iterable[WorkerReport], tasks: Collection[str]) -> dict[str, Histogram]:
    found = {task: Histogram() for task in tasks}
    for report in reports:
        for (_queue, task), counts in report.counts.tasks.items():
            if task in found:
                found[task].add(counts.succeeded_in)
    return found
