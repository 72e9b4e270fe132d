"""Counts what workers tell of themselves in Celery's own events, stock workers too."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec

from celeriac.observe.report import WorkerReport
from celeriac.observe.tally import OUTCOMES, Counts, TaskCounts

__all__ = ["EventCounts"]

#: Seconds without a word after which a worker is held to be gone, and after which it is forgotten.
_SILENT, _FORGOTTEN = 60.0, 3600.0
#: Most tasks that are followed from one event to the next.
_FOLLOWED = 10_000
_UNKNOWN = "_unknown"
_ENDS = {f"task-{outcome}": outcome for outcome in ("succeeded", "failed", "retried", "rejected", "revoked")}


class _Followed(msgspec.Struct):
    name: str = ""
    queue: str = _UNKNOWN


class EventCounts:
    """Hears events in one thread and is read by others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: dict[str, WorkerReport] = {}
        self._tasks: OrderedDict[str, _Followed] = OrderedDict()

    def hear(self, event: Mapping[str, Any], now: float) -> None:
        """Count one event, heard now (Unix seconds); whatever is not understood counts for nothing."""
        kind, hostname = event.get("type"), event.get("hostname")
        if not isinstance(kind, str) or not isinstance(hostname, str):
            return
        with self._lock:
            if kind == "worker-offline":
                if hostname in self._workers:  # what it has counted stays, should it come back
                    self._workers[hostname].at = now - _SILENT
            elif kind.startswith("worker-"):
                worker = self._worker(hostname, now)
                worker.busy = int(event.get("active") or 0)
            elif kind.startswith("task-") and isinstance(event.get("uuid"), str):
                self._hear_of_task(kind, hostname, event, now)

    def reports(self, now: float) -> dict[str, WorkerReport]:
        """Return what is known of the workers that were heard of lately (Unix seconds), by name."""
        with self._lock:
            for name in [name for name, worker in self._workers.items() if now - worker.at > _FORGOTTEN]:
                del self._workers[name]
            return {
                name: msgspec.structs.replace(worker, counts=_copy(worker.counts))
                for name, worker in self._workers.items()
                if now - worker.at < _SILENT
            }

    def _worker(self, hostname: str, now: float) -> WorkerReport:
        worker = self._workers.setdefault(hostname, WorkerReport(node=hostname, hostname=hostname))
        worker.at = now
        return worker

    def _hear_of_task(self, kind: str, hostname: str, event: Mapping[str, Any], now: float) -> None:
        task = self._follow(str(event["uuid"]))
        task.name = str(event.get("name") or task.name)
        task.queue = str(event.get("queue") or task.queue)
        if kind == "task-sent" or not task.name:  # its name was told before this process listened
            return
        counts = self._worker(hostname, now).counts
        row = counts.tasks.setdefault((task.queue, task.name), TaskCounts())
        if kind == "task-started":
            row.started += 1
        elif outcome := _ENDS.get(kind):
            row.ended[OUTCOMES.index(outcome)] += 1
            if isinstance(runtime := event.get("runtime"), int | float):
                row.succeeded_in.observe(float(runtime))
            if outcome == "failed":
                exception = str(event.get("exception") or "").partition("(")[0]
                key = ("failure", task.name, exception)
                counts.events[key] = counts.events.get(key, 0) + 1

    def _follow(self, uuid: str) -> _Followed:
        task = self._tasks.setdefault(uuid, _Followed())
        self._tasks.move_to_end(uuid)
        if len(self._tasks) > _FOLLOWED:
            self._tasks.popitem(last=False)
        return task


def _copy(counts: Counts) -> Counts:
    copied = Counts()
    copied.add(counts)
    return copied
