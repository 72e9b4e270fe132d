"""What a worker tells of itself: its counts and how it is, in a form that can be sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from celeriac.observe.tally import Counts, TaskCounts

__all__ = [
    "KEEP_FOR",
    "POST_EVERY",
    "Fleet",
    "Sequel",
    "WorkerReport",
    "posted_reports",
    "read_report",
    "write_report",
]

#: Seconds between two posts of a worker, and for how long the broker keeps one.
POST_EVERY, KEEP_FOR = 5.0, 20.0
#: Seconds for which what a worker has counted is kept apart, and its name told, after it was last heard of.
_REMEMBERED, _MISSED = 3600.0, 600.0


class Sequel(msgspec.Struct, array_like=True, frozen=True):
    """Tasks that will be sent to a queue when what runs has ended."""

    #: The task's id, or the group's of a chord, of which several tasks may tell.
    whose: str
    queue: str
    tasks: int
    #: The task that runs, and since when (Unix seconds).
    after: str
    since: float


class WorkerReport(msgspec.Struct, kw_only=True):
    """One worker at one moment."""

    #: Unique for each life of a worker; and the name that people know it by.
    node: str
    hostname: str
    pool: str = ""
    version: str = ""
    python: str = ""
    queues: tuple[str, ...] = ()
    #: Deliveries that it can run at a time, and those that it runs.
    slots: int = 0
    busy: int = 0
    #: Unix seconds of its last sign of life.
    at: float = 0.0
    #: What the tasks that run will send, of those that have been running for a moment.
    sequels: tuple[Sequel, ...] = ()
    counts: Counts = msgspec.field(default_factory=Counts)


class _Posted(msgspec.Struct, array_like=True):
    """A report as it is sent: JSON has no keys of several words."""

    head: WorkerReport
    tasks: list[tuple[str, str, TaskCounts]]
    events: list[tuple[str, str, str, int]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Posted).decode


def write_report(report: WorkerReport) -> bytes:
    """Return the report's bytes."""
    head = msgspec.structs.replace(report, counts=Counts())
    tasks = [(queue, task, counts) for (queue, task), counts in report.counts.tasks.items()]
    events = [(*event, count) for event, count in report.counts.events.items()]
    return _encode(_Posted(head, tasks, events))


def read_report(text: bytes) -> WorkerReport | None:
    """Return the report; None for one of another version, which cannot be read."""
    try:
        posted = _decode(text)
    except msgspec.DecodeError:
        return None
    tasks = {(queue, task): counts for queue, task, counts in posted.tasks}
    events = {(kind, first, second): count for kind, first, second, count in posted.events}
    posted.head.counts = Counts(tasks, events)
    return posted.head


def posted_reports(texts: Iterable[bytes]) -> dict[str, WorkerReport]:
    """Return what workers have told of themselves, by node; what others have posted is left out."""
    found = (read_report(text) for text in texts)
    return {report.node: report for report in found if report is not None}


class Fleet:
    """All workers that were heard of: what they count never goes down when one of them goes."""

    def __init__(self) -> None:
        self.workers: Mapping[str, WorkerReport] = {}
        self._latest: dict[str, WorkerReport] = {}
        self._gone = Counts()

    def hear(self, reports: Mapping[str, WorkerReport], now: float) -> None:
        """These are the workers there are now (Unix seconds)."""
        self.workers = dict(reports)
        self._latest.update(reports)
        for node in [node for node, last in self._latest.items() if now - last.at > _REMEMBERED]:
            self._gone.add(self._latest.pop(node).counts)

    def missing(self, now: float) -> list[str]:
        """Return the names of workers that are gone and were there a while ago (Unix seconds)."""
        here = {report.hostname for report in self.workers.values()}
        lately = {last.hostname for last in self._latest.values() if now - last.at < _MISSED}
        return sorted(lately - here)

    def counts(self) -> Counts:
        """Return what all of them have counted, those included that are gone."""
        total = Counts()
        total.add(self._gone)
        for report in self._latest.values():
            total.add(report.counts)
        return total
