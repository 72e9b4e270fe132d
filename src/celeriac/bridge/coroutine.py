"""The body of an ``async def`` task: what it is called with, awaited, interrupted and turned into.

Celery wraps a task's function in plain functions of its own (``autoretry_for``, ``pydantic``), which
get a coroutine here where they expect an outcome; they are asked again once there is one.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Generator
from typing import Any

from celery.app.task import Task

from celeriac.bridge.rebind import rebound

__all__ = ["Body", "body_of", "call_body", "is_async", "retry_or_raise"]

_AUTORETRY = "celery.app.autoretry"
_PYDANTIC = "celery.app.base"


def is_async(task: Any) -> bool:
    """Whether the task's own function, or what its class calls instead, is an ``async def``."""
    if inspect.iscoroutinefunction(_own_call(task)):
        return True
    function = task._orig_run if _made_by(task.run, _AUTORETRY) else task.run
    if _made_by(function, _PYDANTIC):
        function = inspect.unwrap(function)
    return inspect.iscoroutinefunction(function)


def body_of(task: Any) -> Any:
    """Return what the task's class calls if it says so, else its function."""
    return _own_call(task) or task.run


async def call_body(task: Any, args: Any, kwargs: Any, body: Body) -> Any:
    """Return what the task's function returns, in the end; raise what it raises, or its retry."""
    try:
        value = body_of(task)(*args, **kwargs)
        if inspect.iscoroutine(value):
            body.begin(value)
            value = await body
    except Exception as error:
        # Celery's own wrapper saw no error so far.
        return retry_or_raise(task, error, args, kwargs)
    except asyncio.CancelledError as error:
        raise RuntimeError("the task's coroutine was cancelled") from error
    return _dumped(task, value, args, kwargs)


def retry_or_raise(task: Any, error: Exception, args: Any, kwargs: Any) -> Any:
    """Raise the retry that the task's ``autoretry_for`` asks for after this error, or the error itself.

    Celery's own wrapper decides; where a task does not raise for want of retries, return what it returns.
    """
    if _made_by(task.run, _AUTORETRY):
        return rebound(task.run, task=_Failed(task, error))(*args, **kwargs)
    raise error


class Body:
    """A coroutine that is awaited once, into which an error can be thrown from outside."""

    def __init__(self) -> None:
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._error: BaseException | None = None

    @property
    def running(self) -> bool:
        """Whether it has begun to be awaited and has not ended."""
        return self._task is not None

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """This coroutine is what is awaited."""
        self._coroutine = coroutine

    def interrupt(self, error: BaseException) -> None:
        """Raise the error where the coroutine waits; only in its loop's thread. Too late is no error."""
        self._error = error
        if self._task is not None:
            self._task.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        assert self._coroutine is not None  # noqa: S101 - begun before
        coroutine = self._coroutine
        if self._error is not None:
            coroutine.close()
            raise self._error
        self._task = asyncio.current_task()
        try:
            waited = coroutine.send(None)
            while True:
                try:
                    yield waited
                except GeneratorExit:
                    coroutine.close()
                    raise
                except BaseException as error:  # whatever ended the wait, the coroutine is to know
                    waited = coroutine.throw(self._translated(error))
                else:
                    waited = coroutine.send(None)
        except StopIteration as stop:
            return stop.value
        finally:
            self._task = None

    def _translated(self, error: BaseException) -> BaseException:
        ours, self._error = self._error, None
        if ours is None or self._task is None or not isinstance(error, asyncio.CancelledError):
            return error
        self._task.uncancel()
        return ours


class _Failed:
    """A task whose function has failed, as Celery's retrying wrapper sees it."""

    def __init__(self, task: Any, error: Exception) -> None:
        self._task = task
        self._failure = error

    def _orig_run(self, *_args: Any, **_kwargs: Any) -> Any:
        raise self._failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def _dumped(task: Any, value: Any, args: Any, kwargs: Any) -> Any:
    """Return the value as Celery's pydantic wrapper would have returned it."""
    function: Any = task._orig_run if _made_by(task.run, _AUTORETRY) else task.run
    if not _made_by(function, _PYDANTIC):
        return value
    if inspect.ismethod(function):
        function, args = function.__func__, (function.__self__, *args)
    return rebound(function, task_fun=lambda *_args, **_kwargs: value)(*args, **kwargs)


def _own_call(task: Any) -> Any:
    for cls in task.__class__.__mro__:  # of a task not yet evaluated, too
        if cls is Task:
            break
        if "__call__" in vars(cls) and "awaits_its_body" not in vars(cls):
            return cls.__call__.__get__(task)
    return None


def _made_by(function: Any, module: str) -> bool:
    found = getattr(function, "__globals__", None)
    return found is not None and found.get("__name__") == module
