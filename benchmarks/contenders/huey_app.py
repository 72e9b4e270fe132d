"""Huey on Redis. It has no bulk call that asks Redis once; ``map`` enqueues one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from huey import RedisHuey

from contenders.adapter import Adapter, Arguments
from contenders.tasks import BODIES, BROKER_URL, RESULTS_URL

# ``notify_result`` lets a caller wait in Redis for a result instead of polling for it.
app = RedisHuey("bench", url=BROKER_URL, results=bool(RESULTS_URL), notify_result=bool(RESULTS_URL))


class Huey(Adapter):
    def __init__(self) -> None:
        self.tasks = {name: app.task(name=name)(body) for name, body in BODIES.items()}

    def enqueue(self, task: str, *arguments: Any) -> Any:
        return self.tasks[task](*arguments)

    def enqueue_many(self, task: str, calls: Sequence[Arguments]) -> None:
        self.tasks[task].map(calls)

    def wait_for(self, handle: Any) -> Any:
        return handle.get(blocking=True)


adapter = Huey()
