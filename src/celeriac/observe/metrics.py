"""What is scraped, put together: of one worker, or of all workers of a broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus

import msgspec

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerError
from celeriac.core.message import Message
from celeriac.core.watch import Backlogs, InMemory, Watchable
from celeriac.observe.beats import Beats, beat_families, read_beats
from celeriac.observe.familiar_names import exporter_families, flower_families, with_exporter_label
from celeriac.observe.families import (
    broker_families,
    label_families,
    memory_families,
    outbox_families,
    queue_families,
    task_families,
    worker_families,
)
from celeriac.observe.health import Health
from celeriac.observe.labels import LabelCaps
from celeriac.observe.prometheus import Family, encode
from celeriac.observe.queues import QueueNow, QueueWatch
from celeriac.observe.report import Fleet, WorkerReport, posted_reports
from celeriac.observe.server import Answer

__all__ = ["Exposition", "Sources", "health_pages"]

#: Seconds for which what the broker has answered is told to others who ask.
_FRESH = 1.0


class Sources(msgspec.Struct, kw_only=True):
    """Where numbers come from."""

    #: A connection of its own, for the time of a scrape at a time.
    broker: Broker
    #: The queues that are watched; none: those of nobody.
    queues: Callable[[], Sequence[str]]
    #: Returns the Unix seconds at which a message was published, if it says.
    sent_at: Callable[[Message], float | None]
    #: This process's own worker; None: the workers that the broker tells of.
    worker: Callable[[], WorkerReport] | None = None
    #: Workers that were heard of in another way; those that the broker tells of count instead.
    heard: Callable[[], Mapping[str, WorkerReport]] | None = None
    backlogs: Backlogs | None = None


class Exposition:
    """Answers scrapes; asks the broker once for those that come together, and no worker at all."""

    def __init__(
        self,
        sources: Sources,
        *,
        max_tasks: int = 200,
        compatible: bool = False,
        queues_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``queues_only`` leaves tasks and workers to the workers' own ports, so that none counts twice."""
        self._sources = sources
        self._queues_only = queues_only
        self._compatible = compatible
        self._clock = clock
        self._caps = LabelCaps(max_tasks)
        self._fleet = Fleet()
        self._beats = Beats()
        self._watch = QueueWatch(sources.broker, sources.sent_at)
        #: Names of workers that have told the broker of themselves: their events tell the same once more.
        self._posting: set[str] = set()
        self._lock = threading.Lock()
        self._families: list[Family] = []
        self._made_at = float("-inf")

    def page(self, accept: str) -> tuple[int, str, bytes]:
        """Return what ``/metrics`` answers."""
        body, content_type = encode(self.collect(), accept)
        return HTTPStatus.OK, content_type, body

    def collect(self) -> list[Family]:
        """Return all families, at most a second old."""
        with self._lock:
            now = self._clock()
            if not 0 <= now - self._made_at < _FRESH:
                self._families = list(self._collect(now))
                self._made_at = now
            return self._families

    def _collect(self, now: float) -> Iterator[Family]:
        begun = time.perf_counter()
        asked_for: float | None
        own = None if self._sources.worker is None else self._sources.worker()
        try:
            texts = self._posted()
            posted = posted_reports(texts)
            workers = posted if own is None else {**posted, own.node: own}
            queues = self._watch.look(self._sources.queues(), workers, now)
            asked_for = time.perf_counter() - begun
        except BrokerError:
            # What is known without the broker is told all the same; queues are not, as nothing is known.
            texts, posted, queues, asked_for = [], {}, [], None
        shown = {own.node: own} if own is not None else self._heard(posted)
        self._fleet.hear(shown, now)
        yield from self._of_workers(queues, now)
        if own is None:
            self._beats.hear(read_beats(texts), now)
            yield from beat_families(self._beats, self._caps, now)
        if self._sources.backlogs is not None:
            yield from outbox_families(self._sources.backlogs())
        yield from self._of_broker(asked_for)
        yield from label_families(self._caps)

    def _of_workers(self, queues: Sequence[QueueNow], now: float) -> Iterator[Family]:
        workers = sorted(self._fleet.workers.values(), key=lambda report: (report.hostname, report.at))
        of_queues = queue_families(queues)
        yield from with_exporter_label(of_queues) if self._compatible else of_queues
        if self._queues_only:
            return
        yield from task_families(self._caps.fold(self._fleet.counts()))
        by_name = {report.hostname: report for report in workers}  # of several lives the latest
        yield from worker_families(by_name.values())
        if self._compatible:
            folded = [
                msgspec.structs.replace(report, counts=self._caps.fold(report.counts))
                for report in by_name.values()
            ]
            missing = self._fleet.missing(now)
            yield from exporter_families(folded, queues, missing)
            yield from flower_families(folded, missing)

    def _of_broker(self, asked_for: float | None) -> Iterator[Family]:
        yield from broker_families(asked_for)
        broker = self._sources.broker
        if asked_for is not None and isinstance(broker, InMemory):
            with suppress(BrokerError):  # some servers tell their users nothing of themselves
                yield from memory_families(broker.memory())

    def _posted(self) -> Collection[bytes]:
        broker = self._sources.broker
        return broker.posted().values() if isinstance(broker, Watchable) else ()

    def _heard(self, posted: Mapping[str, WorkerReport]) -> dict[str, WorkerReport]:
        if self._sources.heard is None:
            return dict(posted)
        self._posting.update(report.hostname for report in posted.values())
        heard = {n: one for n, one in self._sources.heard().items() if one.hostname not in self._posting}
        return {**heard, **posted}


def health_pages(health: Health, clock: Callable[[], float] = time.monotonic) -> dict[str, Answer]:
    """Return what ``/live`` and ``/ready`` answer: 200, or 503 and why."""
    return {
        "/live": lambda _: _state(health.why_not_live(clock())),
        "/ready": lambda _: _state(health.why_not_ready(clock())),
    }


def _state(why_not: str | None) -> tuple[int, str, bytes]:
    status = HTTPStatus.OK if why_not is None else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "text/plain; charset=utf-8", f"{why_not or 'ok'}\n".encode()
