"""Runs ``async def`` tasks in one event loop, any number at a time; plain ones in threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.app.trace import build_tracer
from celery.exceptions import Reject

from celeriac.bridge.coroutine import is_async
from celeriac.bridge.executor import CeleryJob, rejected
from celeriac.bridge.loop_thread import LoopThread
from celeriac.bridge.split_trace import SplitTrace, share_stacks
from celeriac.bridge.thread_executor import ThreadExecutor
from celeriac.core.executor import DONE, Job, Outcome

__all__ = ["AsyncExecutor"]


class AsyncExecutor(ThreadExecutor):
    """Threads do what Celery does before and after a coroutine; the loop's thread runs nothing else."""

    def __init__(self, app: Any, hostname: str) -> None:
        super().__init__(app, hostname)
        share_stacks(app.tasks.values())
        self._loop = LoopThread("EventLoop")
        #: Each task's whole tracer, or None for one that is a plain function.
        self._tracers: dict[str, Any] = {}
        self._split: dict[CeleryJob, SplitTrace] = {}

    def launch(self, job: Job, resume: Callable[[], None]) -> Outcome | None:
        if not isinstance(job, CeleryJob) or (trace := self._tracer(job.task)) is None:
            return self.run(job)
        if not self._admits(job):
            return DONE
        split = SplitTrace(trace, self._app, job.task, (job.id, job.args, job.kwargs, job.request))
        try:
            ended = split.open()
        except Reject as error:
            return rejected(error)
        if ended is not None:
            return self._traced(job, ended)
        self._split[job] = split
        self._loop.start(split.run(), split.context, resume)
        return None

    def conclude(self, job: Job) -> Outcome:
        if not isinstance(job, CeleryJob):
            return super().conclude(job)
        split = self._split.pop(job)
        try:
            return self._traced(job, split.close())
        except Reject as error:
            return rejected(error)

    def close(self) -> None:
        """What tasks have left running in the loop has been cancelled."""
        self._loop.close()

    def _throw(self, job: CeleryJob, error: BaseException) -> None:
        split = self._split.get(job)
        if split is None:
            super()._throw(job, error)
        else:
            self._loop.call(split.body.interrupt, error)

    def _traced(self, job: CeleryJob, result: Any) -> Outcome:
        _, info, _, _ = result
        return DONE if info is None else self._outcome(job, info)

    def _tracer(self, task: Any) -> Any:
        try:
            return self._tracers[task.name]
        except KeyError:
            trace = None
            if is_async(task):
                trace = build_tracer(task.name, task, self._app.loader, self._hostname, app=self._app)
                share_stacks([task])
            self._tracers[task.name] = trace
            return trace
