"""Retries of tasks in a Django project: the transaction one is raised in is rolled back, with its outbox."""

from __future__ import annotations

from functools import wraps
from typing import Any, Final

__all__ = ["leave_at_once"]

_DIRECT: Final = "celeriac_leaves_at_once"


def leave_at_once(task: Any) -> None:
    """What ``task.retry`` publishes is sent at once, whatever becomes of an open transaction."""
    cls = type(task)
    retry = cls.retry
    if hasattr(retry, _DIRECT):
        return

    @wraps(retry)
    def direct(self: Any, *args: Any, **options: Any) -> Any:
        departures = self.app.departures
        if departures is None or self.request.is_eager:
            return retry(self, *args, **options)
        with departures.directly():
            return retry(self, *args, **options)

    setattr(direct, _DIRECT, True)
    cls.retry = direct
