"""``async def`` tasks where tasks run one at a time in a thread: each thread keeps a loop for them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

from celery.app import trace as celery_trace

from celeriac.bridge.coroutine import Body, call_body, is_async
from celeriac.bridge.rebind import rebound

__all__ = ["await_async_tasks", "awaiting", "throw_into_loop", "tracer"]


def tracer(app: Any, task: Any, hostname: str) -> Any:
    """Return Celery's tracer of the task; if it is an ``async def``, one that awaits it."""
    # Looked up each time: libraries that trace put a wrapper in its place.
    trace = celery_trace.build_tracer(task.name, task, app.loader, hostname, app=app)
    return rebound(trace, fun=awaiting(task)) if is_async(task) else trace


def await_async_tasks(app: Any, hostname: str) -> None:
    """Every ``async def`` task of the app is awaited when it is run in this process."""
    for task in app.tasks.values():
        if is_async(task):
            task.__trace__ = tracer(app, task, hostname)


def throw_into_loop(thread: int, error: BaseException) -> bool:
    """Raise the error in the body that is awaited in this thread's loop; return whether there is one."""
    found = _awaited.get(thread)
    if found is None:
        return False
    loop, body = found
    loop.call_soon_threadsafe(body.interrupt, error)
    return True


class _KeptLoop(threading.local):
    """A loop that lasts as long as its thread, so that what is bound to it, as clients are, lasts too."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()

    def renew(self) -> None:
        """Cancel what is left in the loop, and take another."""
        left, self.runner = self.runner, asyncio.Runner()
        left.close()


_kept = _KeptLoop()
#: By the thread that awaits it.
_awaited: dict[int, tuple[asyncio.AbstractEventLoop, Body]] = {}


def awaiting(task: Any) -> Callable[..., Any]:
    """Return a plain function that calls the ``async def`` task and returns what comes of it."""

    def fun(*args: Any, **kwargs: Any) -> Any:
        body, runner, thread = Body(), _kept.runner, threading.get_ident()
        _awaited[thread] = runner.get_loop(), body
        try:
            return runner.run(call_body(task, args, kwargs, body), context=contextvars.copy_context())
        finally:
            del _awaited[thread]
            if body.running:  # something was raised in this thread, not in the coroutine
                _kept.renew()

    return fun
