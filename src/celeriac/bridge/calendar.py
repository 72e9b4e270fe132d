"""When beat will send what, as far as an app's schedule says so by the calendar."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from celery.schedules import crontab, maybe_schedule
from celery.utils.log import get_logger
from celery.utils.time import ffwd

from celeriac.bridge.deployment import queue_of_entry

__all__ = ["BeatCalendar"]

logger = get_logger("celeriac.scaler")


class BeatCalendar:
    """The entries of ``beat_schedule`` that are crontabs.

    When one that repeats every so many seconds is due, only beat itself knows, which counts from its own
    start; and so it is with entries that a scheduler of another kind keeps.
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
            self._queues[name] = queue_of_entry(app, entry["task"], entry.get("options"))
        if unknown:
            logger.info(
                "Known in advance only from a beat that tells of itself (metrics_share): %s",
                ", ".join(sorted(unknown)),
            )

    def queue_of(self, entry: str) -> str | None:
        """Return the queue that the entry's own task goes to; None for an entry that is not here."""
        return self._queues.get(entry)

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
