"""Taskiq on a Redis stream, its broker that acknowledges, with tasks in its event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from contenders.adapter import Adapter, Arguments, do_nothing
from contenders.tasks import BODIES, BROKER_URL, RESULTS_URL, sleep_without_thread

#: Calls on their way at a time in a bulk call; Taskiq documents none, so this is asyncio's own way.
_AT_ONCE = 100
#: Seconds between looks for a result; Taskiq's default of 0.2 would be all that is measured.
_LOOK_EVERY = 0.001

broker = RedisStreamBroker(url=BROKER_URL)
if RESULTS_URL:
    broker = broker.with_result_backend(RedisAsyncResultBackend(RESULTS_URL))


def _in_the_loop(body: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def run(*arguments: Any) -> Any:
        return body(*arguments)

    return run


class Taskiq(Adapter):
    def __init__(self) -> None:
        bodies = {name: _in_the_loop(body) for name, body in BODIES.items()}
        bodies["pause"] = sleep_without_thread
        self.tasks = {name: broker.register_task(body, task_name=name) for name, body in bodies.items()}
        self._loop = asyncio.new_event_loop()

    def connect(self) -> None:
        self._loop.run_until_complete(broker.startup())

    def enqueue(self, task: str, *arguments: Any) -> Any:
        return self._loop.run_until_complete(self.tasks[task].kiq(*arguments))

    def wait_for(self, handle: Any) -> Any:
        return self._loop.run_until_complete(handle.wait_result(check_interval=_LOOK_EVERY))

    def enqueue_each(
        self, task: str, calls: Iterable[Arguments], after_each: Callable[[], None] = do_nothing
    ) -> None:
        async def send() -> None:
            for arguments in calls:
                await self.tasks[task].kiq(*arguments)
                after_each()

        self._loop.run_until_complete(send())

    def enqueue_many(self, task: str, calls: Sequence[Arguments]) -> None:
        async def send() -> None:
            for start in range(0, len(calls), _AT_ONCE):
                await asyncio.gather(
                    *(self.tasks[task].kiq(*arguments) for arguments in calls[start : start + _AT_ONCE])
                )

        self._loop.run_until_complete(send())

    def round_trips(self, count: int, seconds: float) -> list[float]:
        async def call() -> list[float]:
            taken: list[float] = []
            end = time.perf_counter() + seconds
            while len(taken) < count and (start := time.perf_counter()) < end:
                await (await self.tasks["noop"].kiq()).wait_result(check_interval=_LOOK_EVERY)
                taken.append(time.perf_counter() - start)
            return taken

        return self._loop.run_until_complete(call())


adapter = Taskiq()
