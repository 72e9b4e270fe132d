"""Runs tasks in several threads of one process, each of which can be interrupted and given up."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import get_logger

from celeriac.bridge.executor import CeleryExecutor, CeleryJob, Count
from celeriac.bridge.kept_loop import throw_into_loop
from celeriac.bridge.limits import GivenUp, TimeLimits
from celeriac.bridge.orders import Orders
from celeriac.core.executor import DONE, Bury, Job, Outcome
from celeriac.engine.terminate import TERMINATED

__all__ = ["ThreadExecutor"]

logger = get_logger("celery.worker.request")


class ThreadExecutor(CeleryExecutor):
    """Runs each body from its begin to its end in the calling thread, which may be any."""

    def __init__(self, app: Any, hostname: str, orders: Orders, count: Count, limits: TimeLimits) -> None:
        super().__init__(app, hostname, orders, _by_any_thread(count), limits)
        self._lock = threading.Lock()
        #: The threads that run the bodies of jobs.
        self._threads: dict[CeleryJob, int] = {}
        #: Those into which something was thrown.
        self._hit: set[CeleryJob] = set()
        self._given_up: set[CeleryJob] = set()

    def run(self, job: Job) -> Outcome:
        try:
            return super().run(job)
        except GivenUp:
            self._leave(job)
            return DONE  # it was recorded when it was given up

    def launch(self, job: Job, resume: Callable[[], None]) -> Outcome | None:  # noqa: ARG002
        return self.run(job)

    def conclude(self, job: Job) -> Outcome:
        raise TypeError(f"its body did not run elsewhere: {job!r}")

    def interrupt(self, job: Job) -> None:
        if isinstance(job, CeleryJob):
            logger.warning("Soft time limit (%ss) exceeded for %s[%s]", job.soft_time_limit, job.name, job.id)
            self._throw(job, SoftTimeLimitExceeded())

    def abandon(self, job: Job, reason: str, signum: int) -> Outcome:
        if isinstance(job, CeleryJob):
            if reason == TERMINATED:
                self._orders.terminations[job.id] = signum
            self._fail_lost(job.delivered, job.task, reason)
            with self._lock:
                self._given_up.add(job)
            self._throw(job, GivenUp())
            self._events.given_up(job, terminated=reason == TERMINATED)
        return DONE if reason == TERMINATED else Bury(reason)

    def close(self) -> None:
        """Nothing is left of it."""

    def _leave(self, job: Job) -> None:
        """Let others have the places of a task whose tracer was left by force."""
        if isinstance(job, CeleryJob) and job.name in self._limited:
            self._app.gatekeeper.ended(job.id)

    def _throw(self, job: CeleryJob, error: BaseException) -> None:
        """Raise the error in the body, if it runs just now."""
        with self._lock:
            thread = self._threads.get(job)
            if thread is not None and not throw_into_loop(thread, error):
                self._hit.add(job)
                _raise_in(thread, type(error))

    def _trace(self, job: CeleryJob) -> Any:
        trace = job.task.__trace__ or self._tracer(job.task)
        result = None, None, 0.0, None
        try:
            with self._interruptible(job):
                result = trace(job.id, job.args, job.kwargs, job.request)
        except SoftTimeLimitExceeded:
            pass  # the tracer catches it, so it had ended
        return result

    @contextmanager
    def _interruptible(self, job: CeleryJob) -> Iterator[None]:
        thread = threading.get_ident()
        with self._lock:
            if job in self._given_up:  # before it began
                self._given_up.discard(job)
                raise GivenUp
            self._threads[job] = thread
        try:
            yield
        finally:
            with self._lock:
                del self._threads[job]
                self._given_up.discard(job)
                if job in self._hit:
                    self._hit.discard(job)
                    _raise_in(thread, None)  # what was on its way finds nobody any more


def _by_any_thread(count: Count) -> Count:
    lock = threading.Lock()

    def count_one(name: str) -> None:
        with lock:
            count(name)

    return count_one


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise the error where the thread next runs Python code; None: what was to be raised no more."""
    exception = ctypes.py_object(error) if error is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)
