"""``async def`` tasks where Celery itself calls them: its own worker, ``apply``, ``task_always_eager``."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from celeriac.bridge.kept_loop import awaiting

__all__ = ["with_awaited_body"]


class AwaitedBody:
    """Mixed into the class of a task that is an ``async def``.

    Called by Celery's tracer it returns what the coroutine returns; called by anybody else, the coroutine.
    """

    awaits_its_body = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        task: Any = self
        if task.request.called_directly or _in_a_loop():
            call: Any = super()
            return call.__call__(*args, **kwargs)
        return awaiting(task)(*args, **kwargs)


def with_awaited_body(function: Any, base: type[Any]) -> type[Any]:
    """Return the class for a task of this function; the given one if it is no ``async def``."""
    if not inspect.iscoroutinefunction(function) or issubclass(base, AwaitedBody):
        return base
    return type(
        base.__name__,
        (AwaitedBody, base),
        {"__module__": base.__module__, "__doc__": base.__doc__, "abstract": True},
    )


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
