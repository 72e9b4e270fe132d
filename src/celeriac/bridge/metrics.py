"""The metrics and the health of one worker: counted by its shards, told by its supervisor."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Any

from celery.utils.log import get_logger

from celeriac.bridge.counting import Counting
from celeriac.bridge.letters import envelope_of, tell
from celeriac.bridge.running import expected_of
from celeriac.bridge.tags import sent_at
from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerError
from celeriac.core.lease import DeadLetter
from celeriac.core.message import Message
from celeriac.core.settings import Settings
from celeriac.core.watch import Watchable
from celeriac.engine.terminate import TERMINATED
from celeriac.observe.health import Health, Pulse
from celeriac.observe.metrics import Exposition, Sources, health_pages
from celeriac.observe.prometheus import prometheus_client
from celeriac.observe.report import KEEP_FOR, POST_EVERY, WorkerReport, write_report
from celeriac.observe.server import Answer, MetricsServer

__all__ = ["WorkerMetrics", "message_sent_at"]

logger = get_logger("celeriac.metrics")

#: Seconds between two looks of the supervisor at how it is.
_BEAT_EVERY = 0.5


class WorkerMetrics:
    """``attend`` before shards are forked, ``start`` once they are, ``tick`` often, ``close`` at the end."""

    def __init__(self, worker: Any, settings: Settings) -> None:
        """Take the port; raises :class:`ConfigurationError` if it is somebody else's, and MissingExtra."""
        self.health = Health(beats=worker.pool_name != "solo")
        self._worker = worker
        self._settings = settings
        self._counting = Counting(self.health, settings.metrics_max_tasks)
        self._engine: Any = None
        self._brokers: list[Broker] = []
        self._tick_at = 0.0
        self._closed = threading.Event()
        self._pages: dict[str, Answer] = {}
        self._server: MetricsServer | None = None
        if settings.metrics_port is not None:
            prometheus_client()
            self._server = MetricsServer(settings.metrics_host, settings.metrics_port, self._pages)
        self._poster = threading.Thread(target=self._post, name="Reports", daemon=True)

    def attend(self, engine: Any, connect: Callable[[], Broker]) -> Counting:
        """These are the engine and its broker; return what its shards count with."""
        self._engine = engine
        self._counting.follow(engine.events)
        self._tally = self._counting.listen("Supervisor", engine.events)
        self._brokers = [connect(), connect()]
        return self._counting

    def start(self) -> None:
        """Begin to answer, and to tell the broker."""
        self.tick()
        settings = self._settings
        sources = Sources(
            broker=self._brokers[0],
            queues=self._queues,
            sent_at=partial(message_sent_at, self._worker.app.due_time),
            worker=self.report,
            backlogs=getattr(self._worker.app, "outbox_backlogs", None) if settings.metrics_queues else None,
        )
        exposition = Exposition(
            sources, max_tasks=settings.metrics_max_tasks, compatible=settings.metrics_compatible
        )
        self._pages |= {"/metrics": exposition.page, **health_pages(self.health)}
        if self._server is not None:
            self._server.start()
            logger.info("Metrics and health at http://%s/metrics, /live and /ready", self._server.address)
        exposition.collect()  # arrivals are counted from here on
        self._poster.start()

    def tick(self) -> None:
        """The supervisor has gone through its loop."""
        now = time.monotonic()
        if now >= self._tick_at:
            self._tick_at = now + _BEAT_EVERY
            slots, busy, alive = self._engine.vitals()
            self.health.beat(Pulse(at=now, slots=slots, busy=busy, wanted=slots, alive=alive))

    def lost(self, letter: DeadLetter) -> None:
        """The message died with the process that ran it, or was ended by force."""
        name = tell(letter.message.payload).task
        if name in self._worker.app.tasks:
            outcome = "revoked" if letter.reason == TERMINATED else "lost"
            self._tally.ended(letter.message.queue, str(name), outcome)

    def close(self) -> None:
        """Stop answering."""
        self._closed.set()
        if self._server is not None:
            self._server.close()
        if self._poster.is_alive():
            self._poster.join()
        for broker in self._brokers:
            broker.close()

    def report(self) -> WorkerReport:
        """Return what the worker tells of itself."""
        worker, engine, pulse = self._worker, self._engine, self.health.pulse
        slots, busy = (pulse.slots, pulse.busy) if pulse is not None else (0, 0)
        if worker.pool_name == "solo":  # whose supervisor is silent while a task runs
            slots, busy, _ = engine.vitals()
        gone = self._closed.is_set()
        return WorkerReport(
            node=engine.node,
            hostname=worker.hostname,
            pool=worker.pool_name,
            version=version("celeriac"),
            python=platform.python_version(),
            queues=() if gone else tuple(engine.queues),
            slots=0 if gone else slots,
            busy=0 if gone else busy,
            at=time.time(),
            sequels=tuple(expected_of(engine.notes())),
            counts=self._counting.counts(),
        )

    def _queues(self) -> Sequence[str]:
        return tuple(self._engine.queues) if self._settings.metrics_queues else ()

    def _post(self) -> None:
        broker = self._brokers[1]
        if not isinstance(broker, Watchable):
            return
        last = False
        while not last:
            last = self._closed.is_set()  # what has been counted since the post before is to be told as well
            with suppress(BrokerError):  # the next report tells as much as one that could not be posted
                broker.post(self._engine.node, write_report(self.report()), KEEP_FOR)
            self._closed.wait(POST_EVERY)


def message_sent_at(due_time: Callable[[Any], float | None], message: Message) -> float | None:
    """Return the Unix seconds at which the message was published, or was due if that is later.

    ``due_time`` returns the Unix seconds of an ``eta`` header. None if the message does not say.
    """
    envelope = envelope_of(message.payload)
    if envelope is None or (sent := sent_at(envelope.properties)) is None:
        return None
    return max(sent, due_time(envelope.headers.get("eta")) or 0.0)
