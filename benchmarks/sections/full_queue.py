"""A full queue before a warm worker: the clock that several sections use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rig.producer import Producer
from rig.stage import Stage
from rig.worker import Worker

__all__ = ["Drain", "drain"]


@dataclass(frozen=True)
class Drain:
    tasks: int
    #: From the first task done to the last one, and until nothing is unsettled and all results are stored.
    seconds: float
    #: Tasks after the first, over those seconds.
    per_second: float
    #: All tasks, over the seconds since the worker was let go.
    per_second_at_all: float
    #: CPU time of the worker's processes, and of Redis, for one task.
    worker_cpu: float
    redis_cpu: float
    #: Tasks that ran more often than they were sent.
    repeated: int

    def values(self) -> dict[str, float]:
        return {
            "tasks": self.tasks,
            "seconds": self.seconds,
            "per_second": self.per_second,
            "per_second_at_all": self.per_second_at_all,
            "worker_cpu": self.worker_cpu,
            "redis_cpu": self.redis_cpu,
            "repeated": self.repeated,
        }


def drain(
    stage: Stage, worker: Worker, producer: Producer, count: int, task: str = "noop", *arguments: Any
) -> Drain:
    """Fill the queue while the worker is held still, let it go, and wait until all is settled."""
    before = worker.runs
    with worker.held_still():
        producer.fill(count, task, *arguments)
        worker_cpu, redis_cpu = worker.family.cpu_seconds, stage.redis.cpu_seconds
    released = time.monotonic()
    first, already = worker.wait_until(lambda runs: runs > before)
    worker.wait_until(lambda runs: runs >= before + count)
    settled, runs = worker.wait_until(stage.is_settled)
    return Drain(
        tasks=count,
        seconds=settled - first,
        per_second=(count - (already - before)) / (settled - first),
        per_second_at_all=count / (settled - released),
        worker_cpu=(worker.family.cpu_seconds - worker_cpu) / count,
        redis_cpu=(stage.redis.cpu_seconds - redis_cpu) / count,
        repeated=runs - before - count,
    )
