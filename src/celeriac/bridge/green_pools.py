"""Celery's pools of greenlets, which run no ``async def`` tasks: they share a thread, and so one event loop.

A greenlet that waits within a loop lets others run in the same thread, where that loop is still the
running one: they could neither start theirs nor be awaited by it.
"""

from __future__ import annotations

from typing import Any, Final

from celeriac.bridge.coroutine import is_async
from celeriac.core.errors import ConfigurationError

__all__ = ["refuse_async_tasks"]

_GREEN: Final = {"celery.concurrency.gevent": "gevent", "celery.concurrency.eventlet": "eventlet"}


def refuse_async_tasks(app: Any, pool: str) -> str | None:
    """Let each ``async def`` task fail at once in this process, if the pool is one of greenlets.

    ``pool`` is the module of its class. Returns what a user is to be told; None if there is nothing.
    """
    name = _GREEN.get(pool)
    refused = [task for task in app.tasks.values() if is_async(task)] if name else []
    for task in refused:
        base = type(task)
        namespace = {"__module__": base.__module__, "__doc__": base.__doc__, "green_pool": name}
        task.__class__ = type(base.__name__, (_Refused, base), namespace)
    if not refused:
        return None
    names = ", ".join(sorted(task.name for task in refused))
    return (
        f"the {name} pool cannot run tasks that are an async def; here they fail at once: {names} "
        "(run them with -P asyncio, threads or prefork)"
    )


class _Refused:
    """Mixed into the class of a task that cannot run here."""

    green_pool = ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        task: Any = self
        if task.request.called_directly:  # whoever calls it so awaits what it returns
            return task.run(*args, **kwargs)
        raise ConfigurationError(
            f"{task.name} is an async def, which the {self.green_pool} pool cannot run: "
            "route it to a worker with -P asyncio, threads or prefork"
        )
