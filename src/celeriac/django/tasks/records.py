"""Task records: written with the message, read as the framework's TaskResult."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import router, transaction
from django.utils.module_loading import import_string

from celeriac.django.celery_side import TaskCall
from celeriac.django.models import TaskRecord
from celeriac.django.tasks.framework import (
    Task,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
)

__all__ = ["database", "find", "keep", "make_ready", "result_of", "run_again", "send", "task_of"]


def database() -> str:
    """Return the alias of the database that records are in."""
    return str(router.db_for_write(TaskRecord))


def keep(result: TaskResult) -> None:
    """The record and the message are part of the open transaction, or else committed together."""
    record = TaskRecord(
        id=result.id,
        backend=result.backend,
        path=result.task.module_path,
        queue_name=result.task.queue_name,
        priority=result.task.priority,
        args=result.args,
        kwargs=result.kwargs,
        run_after=result.task.run_after,
        enqueued_at=result.enqueued_at,
    )
    with transaction.atomic(using=database(), savepoint=False):
        record.save(using=database(), force_insert=True)
        send(record, record.run_after)


def run_again(ids: Sequence[str]) -> int:
    """Send those of the records whose tasks have failed to workers once more; return how many."""
    count = 0
    with transaction.atomic(using=database()):
        failed = TaskRecord.objects.using(database()).filter(status=TaskRecord.Status.FAILED)
        for record in failed.select_for_update().filter(pk__in=ids):
            make_ready(record, None)
            count += 1
    return count


def make_ready(record: TaskRecord, run_after: datetime | None) -> None:
    """The record waits for its next attempt; call it in a transaction."""
    record.status, record.return_value, record.finished_at = TaskRecord.Status.READY, None, None
    record.sent_after = len(record.worker_ids)
    record.save(update_fields=["errors", "status", "return_value", "finished_at", "sent_after"])
    send(record, run_after)


def send(record: TaskRecord, run_after: datetime | None) -> None:
    """A worker takes the record up, not before the given time; the caller saves it in a transaction."""
    call = TaskCall(
        id=record.pk,
        name=record.path,
        queue=record.queue_name,
        priority=record.priority,
        run_after=run_after,
        database=database(),
        attempts=record.sent_after,
    )
    apps.get_app_config("celeriac").celery_side.run_later(call)


def find(result_id: str) -> TaskResult:
    """Return the result with this id; raise TaskResultDoesNotExist if there is none."""
    try:
        record = TaskRecord.objects.using(database()).get(pk=result_id)
    except TaskRecord.DoesNotExist:
        raise TaskResultDoesNotExist(result_id) from None
    return result_of(record, task_of(record))


def task_of(record: TaskRecord) -> Task:
    """Return the task with what its call had said; raise ImportError if it is not there any more."""
    found: Any = import_string(record.path)
    if not isinstance(found, Task):
        raise ImportError(f"{record.path} is not a task of Django's framework")
    return found.using(
        priority=record.priority,
        queue_name=record.queue_name,
        run_after=record.run_after,
        backend=record.backend,
    )


def result_of(record: TaskRecord, task: Task) -> TaskResult:
    """Return what the record says, in the framework's terms."""
    result = TaskResult(
        task=task,
        id=record.pk,
        status=TaskResultStatus(record.status),
        enqueued_at=record.enqueued_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        last_attempted_at=record.last_attempted_at,
        args=record.args,
        kwargs=record.kwargs,
        backend=record.backend,
        errors=_errors(record.errors),
        worker_ids=list(record.worker_ids),
    )
    # The framework's own backends set it so, as there is no other way into a frozen dataclass.
    object.__setattr__(result, "_return_value", record.return_value)
    return result


def _errors(kept: Sequence[Sequence[str]]) -> list[TaskError]:
    return [TaskError(exception_class_path=path, traceback=traceback) for path, traceback in kept]
