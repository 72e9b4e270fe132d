"""Runs tasks in a worker of one process, which nobody could kill and replace."""

from __future__ import annotations

from typing import Any

from celery.utils.log import get_logger

from celeriac.bridge.executor import CeleryExecutor, CeleryJob
from celeriac.bridge.limits import GivenUp, hard_time_limit
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.executor import Bury, Job, Outcome
from celeriac.engine.terminate import TIME_LIMIT

__all__ = ["SoloExecutor"]

logger = get_logger("celery.worker.request")


class SoloExecutor(CeleryExecutor):
    """What is over its hard time limit is told to end, again and again until it does."""

    def run(self, job: Job) -> Outcome:
        try:
            return super().run(job)
        except GivenUp:
            self._give_up(job)
            return Bury(TIME_LIMIT)

    def _trace(self, job: CeleryJob) -> Any:
        if not job.time_limit:
            return super()._trace(job)
        trace = job.task.__trace__ or self._tracer(job.task)
        with hard_time_limit(job.time_limit, job.soft_time_limit):
            return trace(job.id, job.args, job.kwargs, job.request)

    def _give_up(self, job: Job) -> None:
        if not isinstance(job, CeleryJob):
            return
        self._events.given_up(job, terminated=False)
        try:
            self._fail_lost(job.delivered, job.task, TIME_LIMIT)
        except BrokerUnavailable as error:
            # The message is safe among the dead letters; only its result stays unknown.
            logger.error("The failure of %s[%s] could not be stored: %s", job.name, job.id, error)
