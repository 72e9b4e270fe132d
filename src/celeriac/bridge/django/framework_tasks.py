"""Tasks of Django's framework as calls of one task of Celery's, which knows them by their records."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from celery import shared_task, signals
from celery.exceptions import Retry, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from django.db import connections, transaction
from django.utils.module_loading import import_string

from celeriac.bridge.django.priorities import celery_priority
from celeriac.django.celery_side import TaskCall

__all__ = ["listen_for_lost", "run_task", "send_call"]

#: The framework's name of the queue of tasks that name none.
_DEFAULT_QUEUE: Final = "default"
#: Seconds after which a task is run again whose record could not be written.
_UNRECORDED_SECONDS: Final = 5
#: Named and not imported, as the framework is optional before Django 6.
_ATTEMPT: Final = "celeriac.django.tasks.attempt"


@shared_task(
    name="celeriac.django.run_task",
    bind=True,
    acks_late=True,
    reject_on_worker_lost=True,
    acks_on_failure_or_timeout=True,
    ignore_result=True,
    max_retries=None,
)
def run_task(self: Any, record_id: str, attempts: int) -> None:
    """The task with this record has been run; its failures are this task's, too."""
    try:
        outcome = import_string(f"{_ATTEMPT}.run_attempt")(record_id, attempts, self.request.hostname)
    except import_string(f"{_ATTEMPT}.Unrecorded") as error:
        raise self.retry(countdown=_UNRECORDED_SECONDS, exc=error) from error
    if outcome is None:
        return
    if hasattr(outcome, "seconds"):
        raise Retry(exc=outcome.error, when=outcome.seconds) from outcome.error
    if isinstance(outcome.error, Exception):
        raise outcome.error
    raise RuntimeError(f"the task wanted to end its process: {outcome.error!r}") from outcome.error


def send_call(app: Any, call: TaskCall) -> None:
    """The message goes where messages of this transaction go, and without an outbox after its commit."""
    queue = _queue(app, call.queue)
    options = {
        "args": (call.id, call.attempts),
        "task_id": call.id,
        "queue": queue,
        "eta": call.run_after,
        "shadow": call.name,
        "retries": call.attempts,
        "priority": celery_priority(app, queue, call.priority),
    }
    if getattr(app, "departures", None) is not None:
        # Also of a further attempt, whose record is committed with it.
        run_task.apply_async(**options, using=call.database, outbox=True)
    else:
        transaction.on_commit(partial(run_task.apply_async, **options), using=call.database)


def listen_for_lost() -> None:
    """Records of tasks that were revoked, or whose workers were killed for good, say that they failed."""
    signals.task_failure.connect(_settle_lost, dispatch_uid="celeriac.django.tasks")
    signals.task_revoked.connect(_settle_revoked, dispatch_uid="celeriac.django.tasks")


def _settle_lost(
    sender: Any = None, task_id: str = "", exception: BaseException | None = None, **_: Any
) -> None:
    if isinstance(exception, WorkerLostError | TimeLimitExceeded):  # others its own process has recorded
        _settle(sender, task_id, exception)


def _settle_revoked(sender: Any = None, request: Any = None, expired: bool = False, **_: Any) -> None:
    _settle(sender, request.id, TaskRevokedError("expired" if expired else "revoked"))


def _settle(task: Any, record_id: str, error: BaseException) -> None:
    if task is None or task.name != run_task.name:
        return
    try:
        import_string(f"{_ATTEMPT}.settle_lost")(record_id, error)
    finally:
        _close_connections()


def _close_connections() -> None:
    """What the worker's main process has opened is not shared by the processes that it forks."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def _queue(app: Any, name: str) -> str:
    """Return Celery's name of the queue."""
    if name == _DEFAULT_QUEUE and name not in app.amqp.queues:
        return str(app.conf.task_default_queue)
    return name
