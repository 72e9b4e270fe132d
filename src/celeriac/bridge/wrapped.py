"""Whether publishing is still what Celery and kombu made it.

Libraries that monitor or trace put wrappers of their own in the place of these functions. The fast path calls
none of them, so it must stand back.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from celery.app import base, task
from kombu import messaging

__all__ = ["calls_are_wrapped", "sending_is_wrapped"]


_BASE, _MESSAGING, _TASK = vars(base), vars(messaging), vars(task)


def sending_is_wrapped() -> bool:
    """Whether somebody wants to know of every message that is sent."""
    return _is_wrapped(base.Celery.send_task, _BASE) or _is_wrapped(messaging.Producer.publish, _MESSAGING)


def calls_are_wrapped() -> bool:
    """Whether somebody wants to know of every call of a task."""
    return (
        sending_is_wrapped()
        or _is_wrapped(task.Task.apply_async, _TASK)
        or _is_wrapped(task.Task.delay, _TASK)
    )


def _is_wrapped(function: Any, home: dict[str, Any]) -> bool:
    return type(function) is not FunctionType or function.__globals__ is not home
