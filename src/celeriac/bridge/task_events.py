"""Celery's task events, sent by the shard that runs the task, in batches."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from celery import states
from celery.utils.log import get_logger
from celery.utils.serialization import get_pickled_exception
from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu.utils.encoding import safe_repr, safe_str

from celeriac.bridge.requests import acks_on_failure

__all__ = ["TaskEvents"]

logger = get_logger("celeriac.events")

#: Seconds between two tries to send, and after which events that cannot be sent are dropped.
_RETRY_EVERY, _GIVE_UP_AFTER = 1.0, 10.0


class TaskEvents:
    """Collects the events of one process until ``flush``; fields and order are Celery's.

    Events are news, not records: they are dropped if they cannot be sent for some seconds.
    """

    def __init__(self, app: Any, hostname: str, *, wanted: bool, pid: int) -> None:
        """``pid`` is the worker's, which monitors know it by."""
        self.wanted = wanted
        #: Whether somebody here is to be told of what happens to tasks; as ``wanted``, for those who count.
        self.told = wanted
        self._app = app
        self._hostname = hostname
        self._pid = pid
        self._dispatcher: Any = None
        self._making = threading.Lock()
        self._failing_since = 0.0
        self._next_try = 0.0

    def want(self, wanted: bool) -> None:
        """Events are wanted from now on, or no more."""
        self.wanted = self.told = wanted

    def for_shard(self) -> TaskEvents:
        """Return the same with nothing collected, for a process that was forked or may fork."""
        return TaskEvents(self._app, self._hostname, wanted=self.wanted, pid=self._pid)

    @property
    def dispatcher(self) -> Any:
        """Celery's dispatcher, which buffers; None if no events are wanted."""
        if not self.wanted:
            return None
        if self._dispatcher is None:
            with self._making:
                self._dispatcher = self._dispatcher or self._new_dispatcher()
        return self._dispatcher

    def _new_dispatcher(self) -> Any:
        dispatcher = self._app.events.Dispatcher(
            self._app.connection_for_write(),
            hostname=self._hostname,
            groups=["task"],
            buffer_group=["task"],
            buffer_limit=sys.maxsize,
            buffer_while_offline=False,
        )
        dispatcher.pid = self._pid
        return dispatcher

    # -- What happens to a task

    def received(self, job: Any) -> None:
        """The task is about to be started."""
        headers = job.delivered.headers
        self._send(
            job,
            "task-received",
            name=headers.get("shadow") or job.name,
            args=headers.get("argsrepr", ""),
            kwargs=headers.get("kwargsrepr", ""),
            root_id=headers.get("root_id"),
            parent_id=headers.get("parent_id"),
            retries=headers.get("retries", 0),
            eta=self._isoformat(headers.get("eta")),
            expires=self._isoformat(headers.get("expires")),
        )

    def started(self, job: Any) -> None:
        """Its body begins."""
        self._send(job, "task-started")

    def ended(self, job: Any, info: Any, einfo: Any, runtime: float, result: str | None) -> None:
        """Its body has ended as the tracer says."""
        if info is None:
            self._send(job, "task-succeeded", result=result, runtime=runtime)
        elif info.state == states.RETRY:
            self._send(
                job,
                "task-retried",
                exception=safe_repr(info.retval.exc),
                traceback=safe_str(einfo.traceback),
            )
        elif info.state == states.REJECTED:
            self.rejected(job, info.retval, einfo)
        elif info.state == states.FAILURE:
            if job.task.acks_late and not acks_on_failure(job.task):
                self._send(job, "task-rejected", requeue=False)
            self.failed(job, info.retval, einfo.traceback)

    def rejected(self, job: Any, error: Any, einfo: Any = None) -> None:
        """It has raised Reject."""
        requeue = bool(getattr(error, "requeue", False))
        if not requeue:
            self.failed(job, error, einfo.traceback if einfo is not None else None)
        if job.task.acks_late:
            self._send(job, "task-rejected", requeue=requeue)

    def failed(self, job: Any, error: Any, traceback: str | None) -> None:
        """It has failed."""
        self._send(job, "task-failed", exception=safe_repr(get_pickled_exception(error)), traceback=traceback)

    def refused(self, job: Any) -> None:
        """It has expired or was revoked, and does not start; monitors have heard of that already."""

    def given_up(self, job: Any, *, terminated: bool) -> None:
        """It was ended by force, as somebody told it to or it ran too long; monitors have heard of that."""

    # -- On their way

    def flush(self) -> None:
        """Send what has been collected; never raise."""
        now = time.monotonic()
        if self._dispatcher is None or now < self._next_try:
            return
        try:
            self._dispatcher.flush()
        except Exception as error:
            # Whatever keeps events from being sent must keep no task from being settled.
            self._failed_to_send(error, now)
        else:
            self._failing_since = 0.0
            if not self.wanted:
                self.close()

    def close(self) -> None:
        """Drop what has not been sent, and the connection."""
        if self._dispatcher is not None:
            self._dispatcher.close()
            self._dispatcher.connection.release()
            self._dispatcher = None

    def _failed_to_send(self, error: Exception, now: float) -> None:
        self._next_try = now + _RETRY_EVERY
        if not self._failing_since:
            self._failing_since = now
            logger.warning("Task events cannot be sent: %s", error)
        elif now - self._failing_since > _GIVE_UP_AFTER:
            self._failing_since = now
            logger.warning("Task events are dropped: %s", error)
            self.close()

    def _send(self, job: Any, kind: str, **fields: Any) -> None:
        if job.task.send_events and (dispatcher := self.dispatcher) is not None:
            dispatcher.send(kind, uuid=job.id, **fields)

    def _isoformat(self, moment: Any) -> str | None:
        if moment is None:
            return None
        return str(maybe_make_aware(maybe_iso8601(moment), self._app.conf.timezone).isoformat())
