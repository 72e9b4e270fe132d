"""Dramatiq on Redis, with the middleware that it has by default. A ``group`` enqueues one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from contenders.adapter import Adapter, Arguments
from contenders.tasks import BODIES, BROKER_URL, RESULTS_URL

broker = RedisBroker(url=BROKER_URL)
if RESULTS_URL:
    broker.add_middleware(Results(backend=RedisBackend(url=RESULTS_URL), store_results=True))
dramatiq.set_broker(broker)


class Dramatiq(Adapter):
    def __init__(self) -> None:
        self.actors = {name: dramatiq.actor(actor_name=name)(body) for name, body in BODIES.items()}

    def enqueue(self, task: str, *arguments: Any) -> Any:
        return self.actors[task].send(*arguments)

    def enqueue_many(self, task: str, calls: Sequence[Arguments]) -> None:
        dramatiq.group(self.actors[task].message(*arguments) for arguments in calls).run()

    def wait_for(self, handle: Any) -> Any:
        return handle.get_result(block=True)


adapter = Dramatiq()
