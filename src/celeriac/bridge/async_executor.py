"""Runs ``async def`` tasks in one event loop, any number at a time; plain ones in threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.app import trace as celery_trace
from celery.exceptions import Reject

from celeriac.bridge.coroutine import is_async
from celeriac.bridge.executor import CeleryJob
from celeriac.bridge.limits import GivenUp
from celeriac.bridge.loop_thread import LoopThread
from celeriac.bridge.split_trace import SplitTrace, share_stacks
from celeriac.bridge.thread_executor import ThreadExecutor
from celeriac.core.executor import DONE, Job, Outcome

__all__ = ["AsyncExecutor"]


class AsyncExecutor(ThreadExecutor):
    """Threads do what Celery does before and after a coroutine; the loop's thread runs nothing else."""

    def __init__(self, app: Any, *args: Any) -> None:
        super().__init__(app, *args)
        share_stacks(app.tasks.values())
        self._loop = LoopThread("EventLoop")
        #: Each task's whole tracer, or None for one that is a plain function.
        self._whole: dict[str, Any] = {}
        self._split: dict[CeleryJob, SplitTrace] = {}

    def launch(self, job: Job, resume: Callable[[], None]) -> Outcome | None:
        if not isinstance(job, CeleryJob) or (trace := self._whole_tracer(job.task)) is None:
            return self.run(job)
        if not self._admits(job):
            return DONE
        split = SplitTrace(trace, self._app, job.task, (job.id, job.args, job.kwargs, job.request))
        if not split.open():
            return self._closed(job, split)
        with self._lock:
            self._split[job] = split
            given_up = job in self._given_up
        if given_up:
            split.body.interrupt(GivenUp())
        self._loop.start(split.run(), split.context, resume)
        return None

    def conclude(self, job: Job) -> Outcome:
        if not isinstance(job, CeleryJob):
            return super().conclude(job)
        with self._lock:
            split = self._split.pop(job)
            if job in self._given_up:
                self._given_up.discard(job)
                split.give_up()
        return self._closed(job, split)

    def close(self) -> None:
        """What tasks have left running in the loop has been cancelled."""
        self._loop.close()

    def _throw(self, job: CeleryJob, error: BaseException) -> None:
        with self._lock:
            split = self._split.get(job)
            if split is not None:
                self._loop.call(split.body.interrupt, error)
                return
        super()._throw(job, error)

    def _closed(self, job: CeleryJob, split: SplitTrace) -> Outcome:
        try:
            if self._events.told:
                return self._run_told(job, lambda _: split.close())
            _, info, _, _ = split.close()
        except Reject as error:
            return self._rejected(job, error)
        except GivenUp:
            self._leave(job)
            return DONE  # it was recorded when it was given up
        except Exception as error:  # the tracer could not record the end, which is logged
            return self._unrecorded(job, error)
        return DONE if info is None else self._outcome(job, info)

    def _whole_tracer(self, task: Any) -> Any:
        try:
            return self._whole[task.name]
        except KeyError:
            trace = None
            if is_async(task):
                trace = celery_trace.build_tracer(
                    task.name, task, self._app.loader, self._hostname, app=self._app
                )
                share_stacks([task])
            self._whole[task.name] = trace
            return trace
