"""The backend: a record and a message for each call, both in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.utils import timezone
from django.utils.module_loading import import_string

from celeriac.core.errors import did_you_mean
from celeriac.django.tasks.declaring import Backoff, CeleriacTask, check_declaration
from celeriac.django.tasks.framework import (
    BaseTaskBackend,
    InvalidTask,
    Task,
    TaskResult,
    TaskResultStatus,
    task_enqueued,
)

__all__ = ["CeleriacBackend"]

#: Named and not imported, as it needs models, and backends are made before there are any.
_RECORDS = "celeriac.django.tasks.records"
_OPTIONS = ("max_attempts", "backoff", "atomic")


class CeleriacBackend(BaseTaskBackend):
    """One for each alias, thread and async context: it keeps no state."""

    task_class = CeleriacTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def validate_task(self, task: Task) -> None:
        super().validate_task(task)
        check_declaration(task)

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """The record and the message are there once the transaction is committed, and neither before."""
        self.validate_task(task)
        _check_path(task)
        result = TaskResult(
            task=task,
            id=str(uuid4()),
            status=TaskResultStatus.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        import_string(f"{_RECORDS}.keep")(result)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        found: TaskResult = import_string(f"{_RECORDS}.find")(result_id)
        return found

    def max_attempts(self, task: Task) -> int:
        """How often the task is run before it has failed."""
        return int(getattr(task, "max_attempts", None) or self.options.get("max_attempts") or 1)

    def backoff(self, task: Task) -> Backoff | None:
        """What says how long to wait for the next attempt; None: twice as long each time."""
        own: Backoff | None = getattr(task, "backoff", None)
        return own if own is not None else self.options.get("backoff")

    def is_atomic(self, task: Task) -> bool:
        """Whether the task and the record of its success share a transaction."""
        own = getattr(task, "atomic", None)
        return bool(self.options.get("atomic") if own is None else own)

    def check(self, **_: Any) -> Iterator[CheckMessage]:
        """E060: celeriac.django is not installed. E061: an option does not exist."""
        if not apps.is_installed("celeriac.django"):
            yield Error(
                f"TASKS[{self.alias!r}] is kept in tables of celeriac.django, which is not installed.",
                hint="Add 'celeriac.django' to INSTALLED_APPS and migrate.",
                id="celeriac.E060",
            )
        for option in self.options:
            if option not in _OPTIONS:
                yield Error(
                    f"TASKS[{self.alias!r}] has an unknown option {option!r}{did_you_mean(option, _OPTIONS)}",
                    hint=f"OPTIONS may have {', '.join(_OPTIONS)}.",
                    id="celeriac.E061",
                )


def _check_path(task: Task) -> None:
    """A worker finds the task by the path of its function: there must be the task, and not the function."""
    try:
        found = import_string(task.module_path)
    except ImportError:
        found = None
    if not isinstance(found, Task) or found.func is not task.func:
        raise InvalidTask(
            f"{task.module_path} is not the task: workers find it there, so give it its function's name."
        )
