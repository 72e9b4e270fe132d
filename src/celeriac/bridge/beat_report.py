"""How late beat sends what is due, counted in its own process and told to the broker."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from itertools import islice
from socket import gethostname
from typing import Any, NamedTuple

from celery.utils.log import get_logger

from celeriac.bridge.configuration import read_settings
from celeriac.bridge.deployment import queue_of_entry
from celeriac.bridge.find_app import broker_of
from celeriac.core.errors import BrokerError, ConfigurationError
from celeriac.core.watch import Watchable
from celeriac.observe.beats import BeatReport, Expected, write_beat
from celeriac.observe.report import KEEP_FOR, POST_EVERY

__all__ = ["Reporter", "report_beat"]

logger = get_logger("celeriac.metrics")

#: Due times that are looked for at most, of one entry that was not sent for long.
_MOST_MISSED = 1000
#: Seconds ahead for which is told what will be due, how often that is worked out, and the most of it.
_AHEAD, _LOOK_EVERY = 1800.0, 15.0
_MOST_TIMES, _MOST_ENTRIES = 60, 1000
#: Seconds for which the end of beat waits for its last report.
_PATIENCE = 2.0


def report_beat(service: Any) -> Reporter | None:
    """Count from now on what this beat does, and tell the broker, if its app's settings ask for that."""
    try:
        settings = read_settings(service.app)
        if settings.metrics_port is None and not settings.metrics_share:
            return None
        broker = broker_of(service.app)
    except ConfigurationError as error:
        logger.warning("Nothing is told of beat: %s", error)
        return None
    if not isinstance(broker, Watchable):
        return None
    reporter = Reporter(service, broker, broker.close)
    reporter.start()
    return reporter


class Due(NamedTuple):
    """When an entry was to be sent, in Unix seconds, and how often again until now."""

    at: float
    missed: int


class Reporter:
    """Stands between a beat and the two methods of its scheduler, whatever scheduler that is."""

    def __init__(self, service: Any, board: Watchable, disconnect: Callable[[], None]) -> None:
        """``disconnect`` is called when nothing more will be told."""
        self._scheduler = scheduler = service.scheduler
        hostname = getattr(service, "hostname", None) or f"celerybeat@{gethostname()}"
        self._report = BeatReport(
            node=f"{hostname}:{os.getpid()}:{time.time()}",
            hostname=hostname,
            max_interval=float(scheduler.max_interval),
        )
        self._board, self._disconnect = board, disconnect
        self._ticked_at = time.monotonic()
        self._looked_at = -math.inf
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._post, name="Reports", daemon=True)
        self._tick, self._apply_async = scheduler.tick, scheduler.apply_async
        scheduler.tick, scheduler.apply_async = self.tick, self.apply_async

    def start(self) -> None:
        """Begin to tell the broker."""
        self._thread.start()

    def close(self) -> None:
        """Tell it for the last time."""
        self._closed.set()
        self._thread.join(_PATIENCE)

    def tick(self, *args: Any, **options: Any) -> Any:
        """What the scheduler's own method returns."""
        pause = self._tick(*args, **options)
        self._ticked_at = time.monotonic()
        if self._ticked_at - self._looked_at >= _LOOK_EVERY:
            self._looked_at = self._ticked_at
            try:
                self._report.expected = self._expected()
            except Exception as error:
                # Schedulers may be anybody's: beat goes on, and what was told last stays.
                logger.debug("what will be due is not known: %r", error)
        return pause

    def apply_async(self, entry: Any, *args: Any, **options: Any) -> Any:
        """What the scheduler's own method returns, or raises."""
        due = _due(entry)
        try:
            result = self._apply_async(entry, *args, **options)
        except BaseException:  # beat is told of it, as it would be without us
            with self._lock:
                self._report.failed += 1
            raise
        now = time.time()
        with self._lock:
            self._report.last_runs[str(entry.name)] = now
            if due is not None:
                self._report.late.observe(max(now - due.at, 0.0))
                self._report.missed += due.missed
        return result

    def _expected(self) -> dict[str, Expected]:
        """Return what will be due; here, as a scheduler is asked in its own thread only."""
        app, until = self._scheduler.app, time.time() + _AHEAD
        found: dict[str, Expected] = {}
        for entry in islice(self._scheduler.schedule.values(), _MOST_ENTRIES):
            if times := _times(entry, until):
                queue = queue_of_entry(app, str(entry.task), entry.options)
                found[str(entry.name)] = Expected(queue, times)
        return found

    def _post(self) -> None:
        last = False
        while not last:
            last = self._closed.is_set()
            with suppress(BrokerError):  # the next report tells as much as one that could not be posted
                self._board.post(self._report.node, self._text(), KEEP_FOR)
            self._closed.wait(POST_EVERY)
        self._disconnect()

    def _text(self) -> bytes:
        with self._lock:
            self._report.number += 1
            self._report.tick_age = time.monotonic() - self._ticked_at
            return write_beat(self._report)


def _due(entry: Any) -> Due | None:
    """Return when the entry was to be sent; None if its schedule does not say."""
    schedule = entry.schedule
    try:
        now = schedule.maybe_make_aware(schedule.now())
        due = moment = _next(schedule, schedule.maybe_make_aware(entry.last_run_at))
        missed = 0
        while missed < _MOST_MISSED and (following := _next(schedule, moment)) <= now and following > moment:
            missed, moment = missed + 1, following
        return Due(due.timestamp(), missed)
    except Exception as error:
        # Schedules may be anybody's: what is not understood is not counted, and is sent all the same.
        logger.debug("when %r was due is not known: %r", entry, error)
        return None


def _times(entry: Any, until: float) -> list[float]:
    """Return when the entry will be sent; nothing if its schedule does not say."""
    times: list[float] = []
    schedule = entry.schedule
    try:
        moment = schedule.maybe_make_aware(entry.last_run_at)
        while len(times) < _MOST_TIMES:
            following = _next(schedule, moment)
            if following <= moment or following.timestamp() > until:
                break
            moment = following
            times.append(following.timestamp())
    except Exception as error:
        # As above: it is sent all the same.
        logger.debug("when %r will be due is not known: %r", entry, error)
    return times


def _next(schedule: Any, after: datetime) -> datetime:
    # The clock is read later than by the schedule: a moment too early would be found once more.
    remaining = schedule.remaining_estimate(after)
    found: datetime = schedule.maybe_make_aware(schedule.now()) + remaining
    return found
