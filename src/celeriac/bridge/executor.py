"""Runs tasks through Celery's own tracer, so that retries, canvas, signals and results are Celery's."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from logging import INFO
from signal import SIGTERM
from typing import Any

from celery import signals, states
from celery.app.task import Context
from celery.app.trace import LOG_RECEIVED
from celery.exceptions import (
    Reject,
    TimeLimitExceeded,
    WorkerLostError,
)
from celery.utils.log import get_logger
from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu.serialization import prepare_accept_content
from kombu.utils.encoding import safe_repr

from celeriac.bridge.kept_loop import tracer
from celeriac.bridge.limits import NO_LIMITS, TimeLimits, requested_limits, soft_time_limit
from celeriac.bridge.lost import announce_overdue, asks_for_retry, retry_lost, send_failure
from celeriac.bridge.orders import Orders
from celeriac.bridge.rejections import UnknownTask, reject_malformed, reject_unknown
from celeriac.bridge.requests import acks_on_failure, stock_request
from celeriac.bridge.running import announce_terminated, describe_running
from celeriac.bridge.store_errors import store_errors
from celeriac.bridge.wire import Delivered, as_redelivered, decode
from celeriac.core.errors import BrokerUnavailable, MalformedMessage
from celeriac.core.executor import DONE, Bury, Job, Outcome, Release
from celeriac.core.lease import DeadLetter, Lease
from celeriac.engine.terminate import TERMINATED

__all__ = ["CeleryExecutor", "CeleryJob"]

logger = get_logger("celery.worker.strategy")
request_logger = get_logger("celery.worker.request")

_REASON_MAX = 500
_CELERYS_HEADERS = frozenset({*vars(Context), "lang", "task", "argsrepr", "kwargsrepr", "compression"})
#: Seconds after its expiry at which a message that waits for something else is looked at.
_AFTER_EXPIRY = 0.05
Count = Callable[[str], None]


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
        "payload",
        "queue",
        "request",
        "result_ignored",
        "soft_time_limit",
        "started_at",
        "task",
        "time_limit",
    )

    def __init__(self, delivered: Delivered, task: Any, request: dict[str, Any], payload: bytes) -> None:
        headers = delivered.headers
        hard, soft = requested_limits(headers.get("timelimit"))
        self.id = delivered.id
        self.name = delivered.task
        self.task = task
        self.args = delivered.args
        self.kwargs = delivered.kwargs
        self.delivered = delivered
        self.request = request
        self.payload = payload
        self.expires = headers.get("expires")
        # A retry that its supervisor sends must be the only one to run after the process is lost.
        self.at_most_once = not task.acks_late or asks_for_retry(task)
        self.time_limit: float | None = hard or task.time_limit
        self.soft_time_limit: float | None = soft or task.soft_time_limit
        self.due: float | None = None
        self.started_at = 0.0
        self.queue = ""
        self.result_ignored = True


class CeleryExecutor:
    """Belongs to one process, whose tasks have been finalized and whose signals are set up."""

    #: Seconds for which the result store may be silent when the end of a lost task is recorded; None: any.
    store_within: float | None = None

    def __init__(
        self,
        app: Any,
        hostname: str,
        orders: Orders,
        count: Count,
        limits: TimeLimits = NO_LIMITS,
        *,
        hold_results: bool = True,
    ) -> None:
        """``count`` is told the name of each task that starts.

        With ``hold_results`` the result backend, if it can, collects results until ``flush``.
        """
        self._limits = limits
        self._app = app
        self._hostname = hostname
        self._tasks = app.tasks
        self._accept = frozenset(prepare_accept_content(app.conf.accept_content))
        self._timezone = app.conf.timezone
        self._held = _hold(app.backend) if hold_results else None
        self._logs_receipt = logger.isEnabledFor(INFO)
        self._orders = orders
        self._events = orders.events
        self._count = count
        self._limited = app.limits.gated

    # -- What the engine calls

    def decode(self, lease: Lease) -> CeleryJob:
        try:
            return self._decode(lease)
        except UnknownTask:
            raise
        except MalformedMessage as error:
            reject_malformed(self, lease.message.payload, error)
            raise

    def _decode(self, lease: Lease) -> CeleryJob:
        delivered = decode(lease.message.payload, self._accept)
        task = self._tasks.get(delivered.task)
        if task is None:
            reject_unknown(self, self._app, delivered)
            raise UnknownTask(delivered.task)
        job = CeleryJob(delivered, task, self._request(delivered, lease), lease.message.payload)
        job.queue = lease.message.queue
        if self._limits is not NO_LIMITS:
            job.time_limit = job.time_limit or self._limits.hard
            job.soft_time_limit = job.soft_time_limit or self._limits.soft
        if (eta := delivered.headers.get("eta")) is not None:
            job.due = self._timestamp(eta)
        if self._orders.rates and (job.due is None or job.due <= time.time()):
            job.due = self._orders.wait_until(job.name, time.time())
        if self._limited and job.name in self._limited:
            job.due = self._hold_back(job)
        if self._held is not None:
            ignored = delivered.headers.get("ignore_result")
            ignored = task.ignore_result if ignored is None else ignored
            job.result_ignored = bool(ignored and not task.store_errors_even_if_ignored)
        return job

    def run(self, job: Job) -> Outcome:
        if not isinstance(job, CeleryJob):
            raise TypeError(f"not a Celery job: {job!r}")
        if not self._admits(job):
            return DONE
        if self._events.told:
            return self._run_told(job, self._trace)
        try:
            _, info, _, _ = self._trace(job)
        except Reject as error:
            return self._rejected(job, error)
        except Exception as error:  # the tracer could not record the end, which is logged
            return self._unrecorded(job, error)
        return DONE if info is None else self._outcome(job, info)

    def describe(self, job: Job) -> bytes:
        if not isinstance(job, CeleryJob):
            return b""
        request = stock_request(self._app, job.task, job.delivered, job.request, self._hostname)
        return describe_running(self._app, request, job.started_at)

    def flush(self) -> None:
        if self._held is not None:
            with store_errors(self._app):
                self._held.flush()
        self._events.flush()

    def bury(self, letter: DeadLetter) -> None:
        try:
            delivered = decode(letter.message.payload, self._accept)
        except MalformedMessage:
            return  # nobody can be waiting for it
        task = self._tasks.get(delivered.task)
        if task is None:
            return
        try:
            self._fail_lost(delivered, task, letter.reason)
        except BrokerUnavailable:
            raise
        except Exception:
            # The message is safe among the dead letters; only its result stays unknown.
            logger.exception("The failure of %s[%s] could not be stored", delivered.task, delivered.id)

    def retry_lost(self, letter: DeadLetter) -> bool:
        """Publish a retry of a task whose process was lost, if it asks for one; return whether it did."""
        if letter.reason == TERMINATED or "time limit" in letter.reason:
            return False
        try:
            delivered = decode(letter.message.payload, self._accept)
            task = self._tasks[delivered.task]
        except (MalformedMessage, KeyError):
            return False
        try:
            request = stock_request(self._app, task, delivered, None, self._hostname, self._events.dispatcher)
            return retry_lost(request, task, WorkerLostError(letter.reason))
        except Exception:
            # The message is safe among the dead letters, and fails as one that is not retried.
            logger.exception("The retry of %s[%s] could not be sent", delivered.task, delivered.id)
            return False

    def announce_terminated(self, job: Job, signum: int) -> None:
        """Store, signal and tell that the task is revoked, while its body still runs."""
        if not isinstance(job, CeleryJob):
            raise TypeError(f"not a Celery job: {job!r}")
        dispatcher = self._events.dispatcher
        announce_terminated(
            stock_request(self._app, job.task, job.delivered, job.request, self._hostname, dispatcher), signum
        )
        self._events.flush()

    # -- Parts of the above

    def _admits(self, job: CeleryJob) -> bool:
        """Announce the delivery and count it; return whether it may start."""
        if self._logs_receipt:
            self._log_receipt(job)
        if (self._orders.attentive or job.expires or signals.task_received.receivers) and self._refused(job):
            self._events.refused(job)
            return False
        self._count(job.name)
        job.started_at = time.time()
        if self._events.told:
            self._events.started(job)
        return True

    def _run_told(self, job: CeleryJob, trace: Callable[[CeleryJob], Any]) -> Outcome:
        """Return the outcome of what the tracer says; monitors hear of it too."""
        try:
            einfo, info, runtime, result = trace(job)
        except Reject as error:
            self._events.rejected(job, error)
            return self._rejected(job, error)
        except Exception as error:  # the tracer could not record the end, which is logged
            return self._unrecorded(job, error)
        self._events.ended(job, info, einfo, runtime, result)
        return DONE if info is None else self._outcome(job, info)

    def _trace(self, job: CeleryJob) -> Any:
        trace = job.task.__trace__ or self._tracer(job.task)
        if job.soft_time_limit:
            with soft_time_limit(job.soft_time_limit):
                return trace(job.id, job.args, job.kwargs, job.request)
        return trace(job.id, job.args, job.kwargs, job.request)

    def _tracer(self, task: Any) -> Any:
        """Make the tracer of a task that was registered after the process was set up."""
        task.__trace__ = tracer(self._app, task, self._hostname)
        return task.__trace__

    def _request(self, delivered: Delivered, lease: Lease) -> dict[str, Any]:
        properties = delivered.properties
        delivery_info = properties.get("delivery_info") or {}
        # Celery would look for headers of the caller's own in every message, which takes it some 3 µs.
        own: dict[str, Any] = {"headers": {}} if _CELERYS_HEADERS.issuperset(delivered.headers) else {}
        return {
            **own,
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

    def _hold_back(self, job: CeleryJob) -> float | None:
        """Return the Unix seconds before which it must not start; None if its limits let it start now."""
        if job.due is not None and job.due > time.time():
            return job.due
        expires = self._app.due_time(job.expires) if job.expires else None
        if self._orders.revoked(job) or (expires is not None and expires <= time.time()):
            return None  # it is not going to start
        due: float | None = self._app.gatekeeper.hold_back(job.name, job.id, job.args, job.kwargs)
        return due if due is None or expires is None else min(due, expires + _AFTER_EXPIRY)

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
        revocable = job.expires or self._orders.revoked(job)
        if revocable or signals.task_received.receivers:
            request = stock_request(
                self._app, job.task, job.delivered, job.request, self._hostname, self._events.dispatcher
            )
            if revocable and request.revoked():
                return True
            signals.task_received.send(sender=self, request=request)
        if self._events.told:
            self._events.received(job)
        return False

    def _outcome(self, job: CeleryJob, info: Any) -> Outcome:
        if info.state == states.REJECTED:
            return self._rejected(job, info.retval)
        if info.state == states.FAILURE and job.task.acks_late and not acks_on_failure(job.task):
            return Bury("it failed, and its task does not acknowledge failures")
        if info.state == states.FAILURE and getattr(job.task, "dead_letter", False):
            return Bury(_failure(job, info.retval))
        return DONE

    def _unrecorded(self, job: CeleryJob, error: Exception) -> Outcome:
        """Celery's tracer raises only what kept it from recording the end, after the store's own retries."""
        if isinstance(error, MemoryError):
            raise error
        request_logger.error("Task handler raised error: %r", error, exc_info=error)
        if job.task.acks_late and not acks_on_failure(job.task):
            return Bury(f"its end could not be recorded: {type(error).__name__}: {error}")
        return DONE

    def _rejected(self, job: CeleryJob, error: Any) -> Outcome:
        if getattr(error, "requeue", False):
            # Without acks_late Celery has acked it before it ran, so that rejecting it changes nothing.
            return Release(as_redelivered(job.payload)) if job.task.acks_late else DONE
        request = stock_request(self._app, job.task, job.delivered, job.request, self._hostname)
        job.task.backend.mark_as_failure(
            job.id, error, request=request._context, store_result=request.store_errors
        )
        send_failure(request, job.task, error)
        return Bury(f"rejected by its task: {getattr(error, 'reason', None) or error}")

    def _fail_lost(self, delivered: Delivered, task: Any, reason: str) -> None:
        request = stock_request(self._app, task, delivered, None, self._hostname, self._events.dispatcher)
        if reason == TERMINATED:
            with store_errors(self._app, self.store_within):
                announce_terminated(request, self._orders.terminations.get(delivered.id, SIGTERM))
            return
        overdue = "time limit" in reason
        limit: Any = request.time_limits[0] or task.time_limit or self._limits.hard
        error: Exception = TimeLimitExceeded(limit) if overdue else WorkerLostError(reason)
        with store_errors(self._app, self.store_within):
            task.backend.mark_as_failure(
                delivered.id, error, request=request._context, store_result=request.store_errors
            )
            if hasattr(task.backend, "flush"):
                task.backend.flush()
        if overdue:
            announce_overdue(request, task, error, limit)
        send_failure(request, task, error)
        request.send_event("task-failed", exception=safe_repr(error), traceback=None)


def _failure(job: CeleryJob, error: Any) -> str:
    """Say how a task failed for good, in at most as many characters as a list can show."""
    retries = job.request.get("retries") or 0
    after = f" after {retries} retries" if retries else ""
    return f"it failed{after}: {type(error).__name__}: {str(error)[:_REASON_MAX]}"


def _hold(backend: Any) -> Any:
    """Let the backend collect results until ``flush``; return it, or None if it cannot."""
    if hasattr(backend, "hold") and hasattr(backend, "flush"):
        backend.hold()
        return backend
    return None
