"""Celery's tracer in two halves, before and after a body that is awaited in an event loop.

Both halves are Celery's own tracer. In the first the body is one that only stops it; in the second
it is one that has the outcome, and what the first half did is left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextvars import ContextVar, copy_context
from typing import Any

from celery import signals
from celery._state import _task_stack
from celery.exceptions import WorkerLostError
from celery.utils.threads import get_ident

from celeriac.bridge.coroutine import Body, call_body
from celeriac.bridge.limits import GivenUp
from celeriac.bridge.rebind import rebound
from celeriac.core.errors import ConfigurationError

__all__ = ["SplitTrace", "share_stacks"]

#: Whose current task and request is asked for: the coroutine's, wherever it and its sub-tasks run.
_run: ContextVar[object | None] = ContextVar("celeriac_run", default=None)


class SplitTrace:
    """One run of a task: ``open`` it, await ``run`` in ``context`` if it says so, and ``close`` it."""

    def __init__(self, trace: Any, app: Any, task: Any, call: tuple[str, Any, Any, Any]) -> None:
        """``trace`` is the task's whole tracer, ``call`` what it is called with."""
        self.context = copy_context()
        self.body = Body()
        self._trace = trace
        self._app = app
        self._task = task
        self._call = call
        self._reached = False
        self._request: Any = None
        self._value: Any = None
        self._error: BaseException | None = None
        self._started: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the first half came to the body."""
        return self._reached

    def open(self) -> bool:
        """Return whether the body is to be run; a task may have ended before."""
        try:
            self._value = self.context.run(self._open)
        except Exception as error:  # kept for ``close``, which raises it
            self._error = error
        return self._reached

    async def run(self) -> None:
        """Await the body and keep its outcome."""
        _, args, kwargs, _ = self._call
        try:
            self._value = await call_body(self._task, args, kwargs, self.body)
        except BaseException as error:  # kept for the tracer, who knows what to do with it
            self._error = error

    def close(self) -> Any:
        """Return the tracer's result; raise what it raises, and GivenUp if the body was given up."""
        if self._reached:
            return self.context.run(self._close)
        if self._error is not None:
            raise self._error
        return self._value

    def give_up(self) -> None:
        """Whatever the body has come to changes nothing."""
        self._error = GivenUp()

    def _open(self) -> Any:
        _run.set(self)
        half = rebound(
            self._trace,
            fun=self._stop,
            monotonic=self._begin,
            postrun_receivers=_PostrunReceivers(self),
            pop_task=lambda: self._reached or _task_stack.pop(),
            pop_request=lambda: self._reached or self._task.request_stack.pop(),
            loader_cleanup=lambda: self._reached or self._app.loader.on_process_cleanup(),
        )
        try:
            return half(*self._call)
        except _BodyReached:
            return None

    def _begin(self) -> float:
        now = time.monotonic()
        self._started = self._started or now
        return now

    def _stop(self, *_args: Any, **_kwargs: Any) -> None:
        self._request = self._task.request_stack.top
        self._reached = True
        raise _BodyReached

    def _close(self) -> Any:
        _task_stack.pop()
        self._task.request_stack.pop()
        if isinstance(self._error, GivenUp):
            raise self._error
        half = rebound(
            self._trace,
            fun=self._replay,
            monotonic=self._clock,
            prerun_receivers=(),
            loader_task_init=lambda *_: None,
            task_before_start=None,
            deduplicate_successful_tasks=False,
        )
        task_id, args, kwargs, _ = self._call
        return half(task_id, args, kwargs, vars(self._request))

    def _clock(self) -> float:
        """Return the time; the first time it is asked, that of the first half's begin."""
        started, self._started = self._started, None
        return time.monotonic() if started is None else started

    def _replay(self, *_args: Any, **_kwargs: Any) -> Any:
        if self._error is None:
            return self._value
        if isinstance(self._error, Exception):
            raise self._error
        raise WorkerLostError(repr(self._error)) from self._error


class _BodyReached(BaseException):
    """Leaves the first half of the tracer, past all that it catches."""


class _PostrunReceivers:
    """Stands for the signal's receivers: none, once the first half has come to the body."""

    def __init__(self, split: SplitTrace) -> None:
        self._split = split

    def __bool__(self) -> bool:
        return not self._split.reached and bool(signals.task_postrun.receivers)


def share_stacks(tasks: Iterable[Any]) -> None:
    """The current task and its request are found by coroutine, and elsewhere by thread as before.

    Raises :class:`ConfigurationError` where Celery was told to use stacks that know threads only.
    """
    for stack in [_task_stack, *(task.request_stack for task in tasks)]:
        if not hasattr(stack, "__ident_func__"):
            raise ConfigurationError("the asyncio pool cannot run with USE_FAST_LOCALS: unset it")
        stack.__ident_func__ = _whose


def _whose() -> object:
    run = _run.get()
    return get_ident() if run is None else run
