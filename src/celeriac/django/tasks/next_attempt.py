"""When a task that has failed is tried again."""

from __future__ import annotations

import logging
from random import uniform
from typing import Any, Final

from celeriac.django.tasks.framework import Task, TaskResult

__all__ = ["seconds_until_next"]

logger = logging.getLogger("celeriac.django.tasks")

#: Seconds between attempts, where nothing else is said, at most.
_LONGEST: Final = 3600.0


def seconds_until_next(task: Task, error: BaseException, result: TaskResult) -> float | None:
    """Return the seconds to wait; None if the task has failed for good."""
    backend: Any = task.get_backend()
    if result.attempts >= backend.max_attempts(task):
        return None
    backoff = backend.backoff(task)
    if backoff is None:
        doubled: float = min(2.0 ** (result.attempts - 1), _LONGEST)
        return doubled * uniform(0.5, 1)
    if not callable(backoff):
        return float(backoff)
    try:
        seconds = backoff(error, result)
        return None if seconds is None else max(0.0, float(seconds))
    except Exception:
        # The task has failed for good, as nobody can tell when to try it again.
        logger.exception("The backoff of the task %s failed", result.id)
        return None
