"""A result backend that is not told of calls which are kept: nobody may run them, and it may be away."""

from __future__ import annotations

from typing import Any

from celery.backends.base import Backend

from celeriac.bridge.kept_chords import keep_chords

__all__ = ["quiet_while_kept"]


def quiet_while_kept(backend: Any, app: Any) -> Any:
    """Return the backend; nothing of a call or a chord is done in it while that waits for a commit.

    Backends that do something in ``on_task_call``, such as subscribing to the result, do it again when it is
    waited for.
    """
    keep_chords(backend, app)
    if type(backend).on_task_call is Backend.on_task_call:
        return backend
    tell = backend.on_task_call

    def on_task_call(producer: Any, task_id: str) -> None:
        departures = app.departures
        if departures is None or departures.transaction() is None:
            tell(producer, task_id)

    backend.on_task_call = on_task_call
    return backend
