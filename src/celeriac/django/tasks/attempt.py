"""One run of a task in a worker, and what the record says of it before and after.

1. claim: the record says that the attempt runs, and by whom; stale and finished records are left alone
2. call: the function runs, in one transaction with step 3 if the task is atomic
3. the record says that it succeeded
4. or that the attempt failed: with the message for the next one in the same transaction, or for good
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from traceback import format_exception
from typing import Any, Final

import msgspec
from django.apps import apps
from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

from celeriac.django.models import TaskRecord
from celeriac.django.tasks.framework import (
    Task,
    TaskContext,
    TaskResult,
    normalize_json,
    task_backends,
    task_finished,
    task_started,
)
from celeriac.django.tasks.next_attempt import seconds_until_next
from celeriac.django.tasks.records import database, make_ready, result_of, task_of

__all__ = ["AttemptLost", "Failed", "Retrying", "Unrecorded", "run_attempt", "settle_lost"]

logger = logging.getLogger("celeriac.django.tasks")

Status: Final = TaskRecord.Status
_FINISHED: Final = frozenset({Status.FAILED, Status.SUCCESSFUL})
_LOST: Final = "The worker died during this attempt."


class AttemptLost(Exception):
    """The worker died during an attempt; it stands in the errors of a record only."""


class Unrecorded(Exception):
    """The database refused what the record should say; the attempt is to be made again."""


class Failed(msgspec.Struct, frozen=True):
    """The task has failed for good."""

    error: BaseException


class Retrying(msgspec.Struct, frozen=True):
    """The attempt has failed, and the message for the next one is kept."""

    error: BaseException
    seconds: float


def run_attempt(record_id: str, attempts: int, worker_id: str) -> Failed | Retrying | None:
    """Run the task, if it is still to be run; return what went wrong.

    ``attempts`` is how many there had been when the message was sent: a message that was followed by
    another is stale. Raises :class:`Unrecorded` if nothing is known to be recorded.
    """
    with _recording():
        record = _claim(record_id, attempts, worker_id)
    if record is None:
        return None
    outcome = _run_claimed(record)
    if not isinstance(outcome, Retrying):
        apps.get_app_config("celeriac").old_records.added(database())
    return outcome


def _run_claimed(record: TaskRecord) -> Failed | Retrying | None:
    try:
        task = task_of(record)
    except Exception as error:  # the module's own; the task cannot be started, and so has failed
        with _recording():
            _note(record, error)
            _fail(record)
        return Failed(error)
    return _run(record, task)


def settle_lost(record_id: str, error: BaseException) -> None:
    """The record says that the task has failed for good, after its worker was killed or it was revoked."""
    with transaction.atomic(using=database()):
        record = _locked(record_id)
        if record is not None and record.status not in _FINISHED:
            _note(record, error)
            _fail(record)


def _claim(record_id: str, attempts: int, worker_id: str) -> TaskRecord | None:
    with transaction.atomic(using=database()):
        record = _locked(record_id)
        if record is None:
            logger.warning("There is no record of the task %s: it is not run", record_id)
            return None
        if not _is_due(record, attempts):
            return None
        if record.status == Status.RUNNING:
            record.errors.append([_path(AttemptLost), _LOST])
        now = timezone.now()
        record.status = Status.RUNNING
        record.started_at = record.started_at or now
        record.last_attempted_at = now
        record.worker_ids.append(worker_id)
        record.save(update_fields=["errors", "status", "started_at", "last_attempted_at", "worker_ids"])
    return record


def _is_due(record: TaskRecord, attempts: int) -> bool:
    """Whether the message asks for an attempt that is still to be made, or was cut short."""
    return record.status not in _FINISHED and record.sent_after == attempts


def _run(record: TaskRecord, task: Task) -> Failed | Retrying | None:
    backend = task.get_backend()
    result = result_of(record, task)
    task_started.send(type(backend), task_result=result)
    try:
        if _is_atomic(task):
            if not _call_in_transaction(record, result):
                return None  # another delivery was quicker
        else:
            value = _call(result)
            with _recording():
                _succeed(record, value)
    except Unrecorded:
        raise
    except (Exception, SystemExit) as error:
        # The record says that the attempt failed, and how; the message is done with, or kept anew.
        if isinstance(error, SystemExit) and type(error) is not SystemExit:
            raise  # the worker's own end, not the task's
        with _recording():
            return _after_failure(record, task, error)
    task_finished.send(type(backend), task_result=result_of(record, task))
    return None


def _call_in_transaction(record: TaskRecord, result: TaskResult) -> bool:
    """Run it, and commit its effects and the record together; return whether it was still to be run."""
    with transaction.atomic(using=database()):
        current = _locked(record.pk)
        if current is None or current.status in _FINISHED:
            return False
        _succeed(record, _call(result))
    return True


def _call(result: TaskResult) -> Any:
    """Return what the function returns, as JSON has it."""
    context = [TaskContext(task_result=result)] if result.task.takes_context else []
    return normalize_json(result.task.call(*context, *result.args, **result.kwargs))


def _succeed(record: TaskRecord, value: Any) -> None:
    record.status, record.return_value, record.finished_at = Status.SUCCESSFUL, value, timezone.now()
    record.save(update_fields=["status", "return_value", "finished_at"])


def _after_failure(record: TaskRecord, task: Task, error: BaseException) -> Failed | Retrying:
    _note(record, error)
    seconds = seconds_until_next(task, error, result_of(record, task))
    if seconds is None:
        _fail(record)
        return Failed(error)
    with transaction.atomic(using=database()):
        make_ready(record, timezone.now() + timedelta(seconds=seconds))
    return Retrying(error, seconds)


def _note(record: TaskRecord, error: BaseException) -> None:
    record.errors.append([_path(type(error)), "".join(format_exception(error))])


def _fail(record: TaskRecord) -> None:
    record.status, record.return_value, record.finished_at = Status.FAILED, None, timezone.now()
    record.save(update_fields=["errors", "status", "return_value", "finished_at"])
    try:
        task = task_of(record)
    except Exception:  # the module's own; who listens to the framework's signal is told with a task
        return
    task_finished.send(type(task.get_backend()), task_result=result_of(record, task))


def _locked(record_id: str) -> TaskRecord | None:
    locked: TaskRecord | None = (
        TaskRecord.objects.using(database()).select_for_update().filter(pk=record_id).first()
    )
    return locked


def _is_atomic(task: Task) -> bool:
    return bool(task_backends[task.backend].is_atomic(task))


def _path(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def _recording() -> Iterator[None]:
    """Errors of the database are ours, and not the task's."""
    try:
        yield
    except DatabaseError as error:
        raise Unrecorded(str(error)) from error
