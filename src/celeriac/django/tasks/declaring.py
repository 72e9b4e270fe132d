"""What a task of Django's framework may say beside what the framework knows: how it is tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from celeriac.django.tasks.framework import InvalidTask, Task, task_backends

__all__ = ["Backoff", "CeleriacTask", "check_declaration", "task"]

#: Seconds until the next attempt, or what computes them from the exception and the TaskResult so far;
#: None ends the attempts.
Backoff = float | Callable[[BaseException, Any], float | None]

#: What a Task of the framework has no defaults for before Django 6.1.
_UNSAID: Final = {"priority": 0, "queue_name": "default", "run_after": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class CeleriacTask(Task):
    """A Task of a CeleriacBackend; what is None is as the backend's OPTIONS say."""

    #: How often it is run before it has failed, the first time counted.
    max_attempts: int | None = None
    #: By default 1, 2, 4 seconds and so on up to an hour, each shortened by up to a half at random.
    backoff: Backoff | None = None
    #: Whether it runs in one transaction with the record of its success.
    atomic: bool | None = None


def task(function: Callable[..., Any] | None = None, *, backend: str = "default", **options: Any) -> Any:
    """The framework's decorator ``task``, which in Django 6.0 takes no options of a backend's."""

    def wrapper(function: Callable[..., Any]) -> Any:
        return task_backends[backend].task_class(func=function, backend=backend, **_UNSAID | options)

    return wrapper if function is None else wrapper(function)


def check_declaration(task: Any) -> None:
    """Raise InvalidTask if what the task says of its attempts cannot be done."""
    attempts, backoff = getattr(task, "max_attempts", None), getattr(task, "backoff", None)
    if attempts is not None and (type(attempts) is not int or attempts < 1):
        raise InvalidTask(f"max_attempts must be a whole number from 1 on, not {attempts!r}.")
    if backoff is None or callable(backoff):
        return
    if isinstance(backoff, bool) or not isinstance(backoff, int | float) or backoff < 0:
        raise InvalidTask(f"backoff must be seconds or a function that returns them, not {backoff!r}.")
