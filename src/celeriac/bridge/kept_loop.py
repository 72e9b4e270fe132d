"""``async def`` tasks where tasks run one at a time in a thread: each thread keeps a loop for them."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from celery.app.trace import build_tracer
from celery.exceptions import SoftTimeLimitExceeded

from celeriac.bridge.coroutine import Body, call_body, is_async
from celeriac.bridge.rebind import rebound

__all__ = ["await_async_tasks", "tracer"]


def tracer(app: Any, task: Any, hostname: str) -> Any:
    """Return Celery's tracer of the task; if it is an ``async def``, one that awaits it."""
    trace = build_tracer(task.name, task, app.loader, hostname, app=app)
    return rebound(trace, fun=_awaiting(task)) if is_async(task) else trace


def await_async_tasks(app: Any, hostname: str) -> None:
    """Every ``async def`` task of the app is awaited when it is run in this process."""
    for task in app.tasks.values():
        if is_async(task):
            task.__trace__ = tracer(app, task, hostname)


class _KeptLoop(threading.local):
    """A loop that lasts as long as its thread, so that what is bound to it, as clients are, lasts too."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()


_kept = _KeptLoop()


def _awaiting(task: Any) -> Callable[..., Any]:
    def fun(*args: Any, **kwargs: Any) -> Any:
        body, runner = Body(), _kept.runner
        with _alarm_interrupts(body, runner.get_loop()):
            return runner.run(call_body(task, args, kwargs, body), context=contextvars.copy_context())

    return fun


@contextmanager
def _alarm_interrupts(body: Body, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """The soft time limit is thrown into the body, not into the loop that runs it."""
    before = signal.getsignal(signal.SIGALRM)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        try:
            before(number, frame)
        except SoftTimeLimitExceeded as error:
            loop.call_soon_threadsafe(body.interrupt, error)

    signal.signal(signal.SIGALRM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
