"""When beat will send what, as far as an app's schedule says so by the calendar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from celery.schedules import crontab, maybe_schedule
from celery.utils.log import get_logger
from celery.utils.time import ffwd

from celeriac.bridge.deployment import queue_of

__all__ = ["BeatCalendar"]

logger = get_logger("celeriac.scaler")


class BeatCalendar:
    """The entries of ``beat_schedule`` that are crontabs.

    When one that repeats every so many seconds is due, only beat itself knows, which counts from its own
    start.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._entries: dict[str, Any] = {}
        self._queues: dict[str, str] = {}
        self._next: dict[str, float] = {}
        unknown = []
        for name, entry in (app.conf.beat_schedule or {}).items():
            schedule = maybe_schedule(entry["schedule"], app=app)
            if not isinstance(schedule, crontab):
                unknown.append(name)
                continue
            schedule.app = app
            self._entries[name] = schedule
            self._queues[name] = _queue(app, entry)
        if unknown:
            logger.info(
                "Not known in advance, as only beat knows when they are due: %s", ", ".join(sorted(unknown))
            )

    def queue_of(self, entry: str) -> str:
        """Return the queue that the entry's own task goes to."""
        return self._queues[entry]

    def between(self, begin: float, end: float) -> Iterator[tuple[float, str]]:
        """Yield the firings after ``begin`` and until ``end`` (Unix seconds): when, and of which entry."""
        for name, schedule in self._entries.items():
            due = self._after(name, schedule, begin)
            while due <= end:
                yield due, name
                due = _next(schedule, due, self._app.timezone)

    def _after(self, name: str, schedule: Any, moment: float) -> float:
        known = self._next.get(name, 0.0)
        # What has been worked out holds until it is past: a crontab of rare dates takes its time.
        if not moment < known <= moment + 2 * 86_400:
            known = _next(schedule, moment, self._app.timezone)
            self._next[name] = known
        return known


def _next(schedule: Any, moment: float, timezone: Any) -> float:
    last, delta, _now = schedule.remaining_delta(datetime.fromtimestamp(moment, timezone), ffwd=ffwd)
    due: datetime = last + delta
    return max(due.timestamp(), moment + 1.0)


def _queue(app: Any, entry: Mapping[str, Any]) -> str:
    queue = (entry.get("options") or {}).get("queue")
    if queue is not None:
        return str(getattr(queue, "name", queue))
    task = app.tasks.get(entry["task"])
    return str(app.conf.task_default_queue) if task is None else queue_of(app, task)
