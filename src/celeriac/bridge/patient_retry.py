"""A task that retries waits for the broker, however long that is away."""

from __future__ import annotations

import asyncio
from typing import Any, Final

__all__ = ["PatientRetry", "with_patient_retry"]

#: A policy of Celery's for publishing: no end of tries, up to a second apart.
_PATIENT: Final = {"max_retries": None, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 1.0}


class PatientRetry:
    """Mixed into the app's Task class, whichever that is."""

    def retry(self, *args: Any, **options: Any) -> Any:
        """Retry as Celery does, but publish until the broker has accepted it.

        Celery gives up after 0.6 seconds and rejects the task, which then neither runs again nor fails.
        A coroutine does not wait like that, since it would hold up all others. A ``retry_policy`` of
        the caller's own counts instead.
        """
        if not _is_in_a_loop():
            options.setdefault("retry_policy", _PATIENT)
        task: Any = super()
        return task.retry(*args, **options)


def with_patient_retry(base: type[Any]) -> type[Any]:
    """Return the Task class, with patience."""
    if issubclass(base, PatientRetry):
        return base
    return type(
        base.__name__,
        (PatientRetry, base),
        {"__module__": base.__module__, "__doc__": base.__doc__, "abstract": True},
    )


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
