"""What happens to tasks, counted by the shard that runs them; monitors hear of it if they want to."""

from __future__ import annotations

import time
from typing import Any

from celery import states

from celeriac.bridge.tags import sent_at
from celeriac.bridge.task_events import TaskEvents
from celeriac.observe.tally import Tally

__all__ = ["CountedEvents"]

_OUTCOMES = {
    states.RETRY: "retried",
    states.REJECTED: "rejected",
    states.FAILURE: "failed",
    states.IGNORED: "ignored",
}


class CountedEvents(TaskEvents):
    """Is told of every task, whether events are wanted or not."""

    def __init__(self, events: TaskEvents, tally: Tally) -> None:
        """``events`` are those of the same process, of which nothing has been sent."""
        super().__init__(events._app, events._hostname, wanted=events.wanted, pid=events._pid)
        self.told = True
        self._tally = tally

    def want(self, wanted: bool) -> None:
        self.wanted = wanted

    def received(self, job: Any) -> None:
        if self.wanted:
            super().received(job)

    def started(self, job: Any) -> None:
        due = job.due if job.delivered.headers.get("eta") is not None else None
        sent = sent_at(job.delivered.properties)
        self._tally.started(
            job.queue,
            job.name,
            len(job.payload),
            redelivered=job.request["delivery_info"]["redelivered"],
            waited=None if sent is None else job.started_at - max(sent, due or 0.0),
            late=None if due is None else job.started_at - due,
        )
        if self.wanted:
            super().started(job)

    def ended(self, job: Any, info: Any, einfo: Any, runtime: float, result: str | None) -> None:
        # The tracer measures the bodies of those only that succeed.
        seconds = runtime or time.time() - job.started_at
        outcome = "succeeded" if info is None else _OUTCOMES.get(info.state, "ignored")
        self._tally.ended(job.queue, job.name, outcome, seconds)
        if outcome == "failed":
            self._tally.happened("failure", job.name, type(info.retval).__name__)
        if self.wanted:
            super().ended(job, info, einfo, runtime, result)

    def rejected(self, job: Any, error: Any, einfo: Any = None) -> None:
        if einfo is None:  # else ``ended`` has counted it
            self._tally.ended(job.queue, job.name, "rejected")
        if self.wanted:
            super().rejected(job, error, einfo)

    def given_up(self, job: Any, *, terminated: bool) -> None:
        self._tally.ended(job.queue, job.name, "revoked" if terminated else "lost")

    def refused(self, job: Any) -> None:
        self._tally.ended(job.queue, job.name, "revoked")
