"""RQ, whose workers fork for every job by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis
from rq import Queue

from contenders.adapter import Adapter, Arguments
from contenders.tasks import BODIES, BROKER_URL, RESULTS_URL

_KEPT_SECONDS = 500 if RESULTS_URL else 0
_WAIT_SECONDS = 10

queue = Queue("default", connection=Redis.from_url(BROKER_URL))


class Rq(Adapter):
    def enqueue(self, task: str, *arguments: Any) -> Any:
        return queue.enqueue(BODIES[task], *arguments, result_ttl=_KEPT_SECONDS)

    def enqueue_many(self, task: str, calls: Sequence[Arguments]) -> None:
        body = BODIES[task]
        queue.enqueue_many(
            [Queue.prepare_data(body, arguments, result_ttl=_KEPT_SECONDS) for arguments in calls]
        )

    def wait_for(self, handle: Any) -> Any:
        return handle.latest_result(timeout=_WAIT_SECONDS)


adapter = Rq()
