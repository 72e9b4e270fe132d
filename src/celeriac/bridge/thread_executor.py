"""Runs tasks in several threads of one process, with time limits."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_logger

from celeriac.bridge.executor import CeleryExecutor, CeleryJob
from celeriac.bridge.kept_loop import throw_into_loop
from celeriac.core.executor import Bury, Job, Outcome
from celeriac.engine.supervisor import TIME_LIMIT

__all__ = ["OverTimeLimit", "ThreadExecutor"]

logger = get_logger("celery.worker.request")


class OverTimeLimit(BaseException):
    """Raised in a body whose hard time limit has passed, so that it ends."""


class ThreadExecutor(CeleryExecutor):
    """Runs each body from its begin to its end in the calling thread, which may be any."""

    def __init__(self, app: Any, hostname: str) -> None:
        super().__init__(app, hostname)
        self._lock = threading.Lock()
        #: The threads of the jobs that have a time limit.
        self._threads: dict[CeleryJob, int] = {}

    def launch(self, job: Job, resume: Callable[[], None]) -> Outcome | None:  # noqa: ARG002
        return self.run(job)

    def conclude(self, job: Job) -> Outcome:
        raise TypeError(f"its body did not run elsewhere: {job!r}")

    def interrupt(self, job: Job) -> None:
        if isinstance(job, CeleryJob):
            logger.warning("Soft time limit (%ss) exceeded for %s[%s]", job.soft_time_limit, job.name, job.id)
            self._throw(job, SoftTimeLimitExceeded(job.soft_time_limit))

    def abandon(self, job: Job) -> Outcome:
        if isinstance(job, CeleryJob):
            self._fail_lost(job.delivered, job.task, TIME_LIMIT)
            logger.error("Hard time limit (%ss) exceeded for %s[%s]", job.time_limit, job.name, job.id)
            self._throw(job, OverTimeLimit())
        return Bury(TIME_LIMIT)

    def close(self) -> None:
        """Nothing is left of it."""

    def _throw(self, job: CeleryJob, error: BaseException) -> None:
        with self._lock:
            thread = self._threads.get(job)
            if thread is not None and not throw_into_loop(thread, error):
                _raise_in(thread, type(error))

    def _trace_limited(self, job: CeleryJob, trace: Any) -> Any:
        result = None, None, None, None
        try:
            with self._interruptible(job):
                result = trace(job.id, job.args, job.kwargs, job.request)
        except (SoftTimeLimitExceeded, OverTimeLimit):
            pass  # the tracer catches the one, so it had ended; and what is over the other is settled
        return result

    @contextmanager
    def _interruptible(self, job: CeleryJob) -> Iterator[None]:
        thread = threading.get_ident()
        with self._lock:
            self._threads[job] = thread
        try:
            yield
        finally:
            with self._lock:
                del self._threads[job]
                _raise_in(thread, None)  # what was on its way finds nobody any more


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise the error where the thread next runs Python code; None: what was to be raised no more."""
    exception = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)
