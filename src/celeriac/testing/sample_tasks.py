"""The tasks that a backend of Django's Tasks framework is put through.

Importing it needs ``TASKS`` in Django's settings, as every module of tasks does.
"""

from __future__ import annotations

from typing import Any

from celeriac.django.tasks.declaring import task
from celeriac.django.tasks.framework import default_task_backend

__all__ = ["add", "attempt", "broken", "double_later", "give", "leave", "strange"]


@task()
def add(x: int, y: int = 1) -> int:
    return x + y


@task()
def give(*args: Any, **kwargs: Any) -> list[Any]:
    """Return what it was given."""
    return [list(args), kwargs]


@task()
def broken(text: str) -> None:
    raise ValueError(text)


@task()
def strange() -> object:
    """Return what JSON has no word for."""
    return object()


@task()
def leave() -> None:
    raise SystemExit(1)


@task(takes_context=True)
def attempt(context: Any, *args: Any) -> list[Any]:
    """Return what the context says."""
    return [context.attempt, context.task_result.id, list(args)]


async def double_later(x: int) -> int:
    return 2 * x


if default_task_backend.supports_async_task:
    double_later = task()(double_later)
