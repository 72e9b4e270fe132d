"""One pool at one moment, put together from the broker, its workers, its pods and beat's calendar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

import msgspec

from celeriac.core.lease import Scheduled
from celeriac.deploy.cluster.pods import PoolPods
from celeriac.deploy.scaling.view import TICK, Due, View
from celeriac.observe.queues import QueueNow
from celeriac.observe.report import WorkerReport
from celeriac.scaler.arrivals import Arrivals
from celeriac.scaler.firings import Firings
from celeriac.scaler.pool_counts import WorkDone
from celeriac.scaler.sequels import Sequels

__all__ = ["PoolWatch", "Seen"]

#: When the entries of beat's calendar are due between two moments (Unix seconds).
Calendar = Callable[[float, float], Sequence[tuple[float, str]]]
_AHEAD = 1800.0  # seconds of the calendar that are looked at


class Seen(msgspec.Struct, kw_only=True):
    """What a policy is shown, and what it is not asked for."""

    view: View
    pods: PoolPods
    delayed: int = 0
    #: Whether nobody tells how long tasks run, though some do run.
    silent: bool = False
    #: For each worker's host, the seconds since it was idle or ended anything; None: it is idle.
    hosts: dict[str, float | None] = {}


class PoolWatch:
    """Remembers from look to look; one for each pool."""

    def __init__(self, queues: Sequence[str], slots: int, objective: float, calendar: Calendar) -> None:
        self.queues = tuple(queues)
        self._slots = slots
        self._calendar = calendar
        self._done = WorkDone(queues, objective)
        self._arrivals = Arrivals()
        self._firings = Firings()
        self._sequels = Sequels(queues)
        self._before: float | None = None
        #: Since when each busy worker has ended nothing, and what it had ended by then.
        self._busy: dict[str, tuple[int, float]] = {}

    def lost_sight(self) -> None:
        """The broker did not answer."""
        self._done.lost_sight()

    def workers(self, reports: Mapping[str, WorkerReport]) -> dict[str, WorkerReport]:
        """Return the workers of this pool: those that consume from its queues and from no others."""
        own = frozenset(self.queues)
        return {node: one for node, one in reports.items() if one.queues and own.issuperset(one.queues)}

    def look(
        self,
        now: float,
        queues: Sequence[QueueNow],
        reports: Mapping[str, WorkerReport],
        scheduled: Sequence[Scheduled],
        pods: PoolPods,
    ) -> Seen:
        """Return what is seen now (Unix seconds)."""
        ready, leased, delayed = (
            sum(getattr(one.stats, state) for one in queues) for state in ("ready", "leased", "delayed")
        )
        workers = self.workers(reports)
        done = self._done.since(reports)  # one that has stopped consuming still tells what it has ended
        due = [entry.due for entry in scheduled]
        came, announced = self._arrivals.since(now, ready + leased, delayed, done.ended, due)
        fired = {} if self._before is None else {name: at for at, name in self._calendar(self._before, now)}
        self._before = now
        followed, sequels = self._sequels.since(now, reports)
        followed = min(followed, came)
        came, announced = came - followed, announced + followed
        of_beat, firings = self._firings.since(now, came, fired)
        slots = max(pods.ready * self._slots, sum(one.slots for one in workers.values()))
        running = min(sum(one.busy for one in workers.values()) if workers else min(leased, slots), leased)
        oldest = max((one.oldest_seconds or 0.0 for one in queues), default=0.0)
        view = View(
            now,
            arrivals=came - of_beat,
            announced=announced + of_beat,
            queued=ready + leased - running,
            running=running,
            ready=pods.ready,
            starting=pods.starting,
            started=pods.started,
            finished=done.finished,
            run_seconds=done.run_seconds,
            run_seconds_squared=done.run_seconds_squared,
            late=done.late,
            begun=done.begun,
            longest_wait=max(oldest, done.mean_wait),
            due=sorted([*self._due(now, due), *sequels], key=attrgetter("at")),
            fired=firings,
        )
        silent = leased > 0 and not workers
        return Seen(view=view, pods=pods, delayed=delayed, silent=silent, hosts=self.hosts(now, workers))

    def _due(self, now: float, due: Sequence[float]) -> Iterator[Due]:
        for _tick, group in groupby(due, key=lambda at: at // TICK):
            times = [max(at, now) for at in group]
            yield Due(times[0], len(times), times[-1] - times[0])
        for at, entry in self._calendar(now, now + _AHEAD):
            yield Due(at, None, 0.0, entry)

    def hosts(self, now: float, workers: Mapping[str, WorkerReport]) -> dict[str, float | None]:
        """Return for each worker's host since when it has been at its work; None where it is idle."""
        busy: dict[str, tuple[int, float]] = {}
        for node, report in workers.items():
            if report.busy:
                ended = sum(sum(counts.ended) for counts in report.counts.tasks.values())
                before = self._busy.get(node)
                busy[node] = before if before is not None and before[0] == ended else (ended, now)
        self._busy = busy
        hosts: dict[str, float | None] = {}
        for node, report in workers.items():
            host = report.hostname.rpartition("@")[2]
            since = busy.get(node)
            hosts[host] = hosts.get(host) if since is None else now - since[1]
        return hosts
