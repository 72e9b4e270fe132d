"""Runs tasks through Celery's own tracer, so that retries, canvas, signals and results are Celery's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from logging import INFO
from typing import Any

from celery import signals, states
from celery.app.trace import LOG_RECEIVED
from celery.exceptions import (
    NotRegistered,
    Reject,
    TimeLimitExceeded,
    WorkerLostError,
)
from celery.utils.log import get_logger
from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu.serialization import prepare_accept_content
from kombu.utils.json import dumps as json_dumps

from celeriac.bridge.kept_loop import tracer
from celeriac.bridge.limits import soft_time_limit
from celeriac.bridge.requests import stock_request
from celeriac.bridge.wire import Delivered, decode
from celeriac.core.errors import BrokerUnavailable, MalformedMessage
from celeriac.core.executor import DONE, Bury, Job, Outcome, Release
from celeriac.core.lease import DeadLetter, Lease

__all__ = ["CeleryExecutor", "CeleryJob", "rejected"]

logger = get_logger("celery.worker.strategy")


class CeleryJob:
    """One delivery of a registered task."""

    __slots__ = (
        "args",
        "at_most_once",
        "delivered",
        "due",
        "expires",
        "id",
        "kwargs",
        "name",
        "redelivered",
        "request",
        "result_ignored",
        "soft_time_limit",
        "started_at",
        "task",
        "time_limit",
    )

    def __init__(self, delivered: Delivered, task: Any, request: dict[str, Any]) -> None:
        headers = delivered.headers
        hard, soft = headers.get("timelimit") or (None, None)
        self.id = delivered.id
        self.name = delivered.task
        self.task = task
        self.args = delivered.args
        self.kwargs = delivered.kwargs
        self.delivered = delivered
        self.request = request
        self.expires = headers.get("expires")
        self.at_most_once = not task.acks_late
        self.time_limit: float | None = hard or task.time_limit
        self.soft_time_limit: float | None = soft or task.soft_time_limit
        self.due: float | None = None
        self.started_at = 0.0
        self.result_ignored = True


class CeleryExecutor:
    """Belongs to one process, whose tasks have been finalized and whose signals are set up."""

    def __init__(self, app: Any, hostname: str, *, hold_results: bool = True) -> None:
        """With ``hold_results`` the result backend, if it can, collects results until ``flush``."""
        self._app = app
        self._hostname = hostname
        self._tasks = app.tasks
        self._accept = frozenset(prepare_accept_content(app.conf.accept_content))
        self._timezone = app.conf.timezone
        self._held = _hold(app.backend) if hold_results else None
        self._logs_receipt = logger.isEnabledFor(INFO)

    # -- What the engine calls

    def decode(self, lease: Lease) -> CeleryJob:
        delivered = decode(lease.message.payload, self._accept)
        task = self._tasks.get(delivered.task)
        if task is None:
            self._reject_unknown(delivered)
            raise MalformedMessage(f"unknown task {delivered.task!r}: is its module imported here?")
        job = CeleryJob(delivered, task, self._request(delivered, lease))
        if (eta := delivered.headers.get("eta")) is not None:
            job.due = self._timestamp(eta)
        if self._held is not None:
            ignored = delivered.headers.get("ignore_result")
            job.result_ignored = bool(task.ignore_result if ignored is None else ignored)
        return job

    def run(self, job: Job) -> Outcome:
        if not isinstance(job, CeleryJob):
            raise TypeError(f"not a Celery job: {job!r}")
        if not self._admits(job):
            return DONE
        trace = job.task.__trace__
        if trace is None:
            trace = job.task.__trace__ = tracer(self._app, job.task, self._hostname)
        try:
            if job.soft_time_limit or job.time_limit:
                _, info, _, _ = self._trace_limited(job, trace)
            else:
                _, info, _, _ = trace(job.id, job.args, job.kwargs, job.request)
        except Reject as error:
            return rejected(error)
        return DONE if info is None else self._outcome(job, info)

    def describe(self, job: Job) -> bytes:
        if not isinstance(job, CeleryJob):
            return b""
        request = stock_request(self._app, job.task, job.delivered, job.request, self._hostname)
        information = {**request.info(), "time_start": job.started_at, "worker_pid": os.getpid()}
        return bytes(json_dumps(information).encode())

    def flush(self) -> None:
        if self._held is not None:
            with _store_errors(self._app):
                self._held.flush()

    def bury(self, letter: DeadLetter) -> None:
        try:
            delivered = decode(letter.message.payload, self._accept)
        except MalformedMessage:
            return  # nobody can be waiting for it
        task = self._tasks.get(delivered.task)
        if task is not None:
            self._fail_lost(delivered, task, letter.reason)

    # -- Parts of the above

    def _request(self, delivered: Delivered, lease: Lease) -> dict[str, Any]:
        properties = delivered.properties
        delivery_info = properties.get("delivery_info") or {}
        return {
            **delivered.headers,
            "properties": properties,
            "reply_to": properties.get("reply_to"),
            "correlation_id": properties.get("correlation_id"),
            "hostname": self._hostname,
            "delivery_info": {
                "exchange": delivery_info.get("exchange"),
                "routing_key": delivery_info.get("routing_key"),
                "priority": properties.get("priority"),
                "redelivered": delivery_info.get("redelivered", False) or lease.deliveries > 1,
            },
            "args": delivered.args,
            "kwargs": delivered.kwargs,
            "is_eager": False,
            **delivered.embed,
        }

    def _timestamp(self, eta: Any) -> float:
        try:
            moment: datetime = maybe_make_aware(maybe_iso8601(eta), self._timezone)
            return moment.timestamp()
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise MalformedMessage(f"its eta {eta!r} is not a time: {error}") from None

    def _admits(self, job: CeleryJob) -> bool:
        """Announce the delivery; return whether it may start."""
        if self._logs_receipt:
            self._log_receipt(job)
        if (signals.task_received.receivers or job.expires) and self._refused(job):
            return False
        job.started_at = time.time()
        return True

    def _trace_limited(self, job: CeleryJob, trace: Any) -> Any:
        """Run the tracer within the job's soft limit; its hard one is the supervisor's business."""
        if not job.soft_time_limit:
            return trace(job.id, job.args, job.kwargs, job.request)
        with soft_time_limit(job.soft_time_limit):
            return trace(job.id, job.args, job.kwargs, job.request)

    def _log_receipt(self, job: CeleryJob) -> None:
        headers = job.delivered.headers
        context = {
            "id": job.id,
            "name": headers.get("shadow") or job.name,
            "args": headers.get("argsrepr", ""),
            "kwargs": headers.get("kwargsrepr", ""),
            "eta": headers.get("eta"),
        }
        logger.info(LOG_RECEIVED, context, extra={"data": context})

    def _refused(self, job: CeleryJob) -> bool:
        """Announce the delivery as Celery does; return whether it has expired or was revoked."""
        request = stock_request(self._app, job.task, job.delivered, job.request, self._hostname)
        if job.expires and request.revoked():
            return True
        signals.task_received.send(sender=self, request=request)
        return False

    def _outcome(self, job: CeleryJob, info: Any) -> Outcome:
        if info.state == states.REJECTED:
            return rejected(info.retval)
        if info.state == states.FAILURE and job.task.acks_late and not job.task.acks_on_failure_or_timeout:
            return Bury("it failed, and its task does not acknowledge failures")
        return DONE

    def _reject_unknown(self, delivered: Delivered) -> None:
        error = NotRegistered(delivered.task)
        logger.error("Received unregistered task of type %s.", error)
        signals.task_unknown.send(
            sender=self, message=delivered, exc=error, name=delivered.task, id=delivered.id
        )
        if not delivered.headers.get("ignore_result"):
            with _store_errors(self._app):
                self._app.backend.mark_as_failure(delivered.id, error)

    def _fail_lost(self, delivered: Delivered, task: Any, reason: str) -> None:
        request = stock_request(self._app, task, delivered, None, self._hostname)
        if "time limit" in reason:
            error: Exception = TimeLimitExceeded(request.time_limits[0] or task.time_limit)
        else:
            error = WorkerLostError(reason)
        with _store_errors(self._app):
            task.backend.mark_as_failure(
                delivered.id, error, request=request._context, store_result=request.store_errors
            )
            if hasattr(task.backend, "flush"):
                task.backend.flush()
        signals.task_failure.send(
            sender=task,
            task_id=delivered.id,
            exception=error,
            args=delivered.args,
            kwargs=delivered.kwargs,
            traceback=None,
            einfo=None,
        )


def rejected(error: Any) -> Outcome:
    """Return what becomes of the message of a task that raised Reject."""
    if getattr(error, "requeue", False):
        return Release()
    return Bury(f"rejected by its task: {getattr(error, 'reason', None) or error}")


def _hold(backend: Any) -> Any:
    """Let the backend collect results until ``flush``; return it, or None if it cannot."""
    if hasattr(backend, "hold") and hasattr(backend, "flush"):
        backend.hold()
        return backend
    return None


@contextmanager
def _store_errors(app: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Results are stored before acks, so nothing has been settled yet and all of it is kept.
        if app.backend.exception_safe_to_retry(error):
            raise BrokerUnavailable(f"the result store does not answer: {error}") from error
        raise
