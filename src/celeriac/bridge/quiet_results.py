"""A result backend that is not told of calls which are kept: nobody may run them, and it may be away."""

from __future__ import annotations

from typing import Any

from celery.backends.base import Backend

__all__ = ["quiet_while_kept"]


def quiet_while_kept(backend: Any, app: Any) -> Any:
    """Return the backend; its ``on_task_call`` does nothing while a call waits for a commit.

    Backends that do something there, such as subscribing to the result, do it again when it is waited for.
    """
    if type(backend).on_task_call is Backend.on_task_call:
        return backend
    tell = backend.on_task_call

    def on_task_call(producer: Any, task_id: str) -> None:
        departures = app.departures
        if departures is None or departures.transaction() is None:
            tell(producer, task_id)

    backend.on_task_call = on_task_call
    return backend
