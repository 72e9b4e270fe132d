"""What workers use of a core while they have nothing to do, all of them at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from contenders.lineup import Contender
from rig.stage import Stage, Unavailable, open_stage
from rig.worker import Worker
from sections.section import Column, Effort, Sample, Section

__all__ = ["IDLE"]

_SECONDS = 20.0
#: Start-up work that a worker puts off is over by then.
_REST_SECONDS = 3.0


def measure(contenders: Sequence[Contender], number: int, effort: Effort) -> Iterator[Sample]:
    with ExitStack() as stack:
        idle: list[tuple[Stage, Worker]] = []
        for contender in contenders:
            stage = stack.enter_context(open_stage(contender))
            with stage.producer() as producer:
                try:
                    idle.append((stage, stack.enter_context(stage.warm_worker(producer))))
                except Unavailable:
                    continue
        time.sleep(effort.seconds(_REST_SECONDS))
        before = [(worker.family.cpu_seconds, stage.redis.cpu_seconds) for stage, worker in idle]
        started = time.monotonic()
        time.sleep(effort.seconds(_SECONDS))
        seconds = time.monotonic() - started
        for (stage, worker), (worker_cpu, redis_cpu) in zip(idle, before, strict=True):
            values = {
                "worker_cpu": (worker.family.cpu_seconds - worker_cpu) / seconds,
                "redis_cpu": (stage.redis.cpu_seconds - redis_cpu) / seconds,
                "seconds": seconds,
            }
            yield Sample(stage.contender.name, number, "nothing to do", values)


IDLE = Section(
    name="idle",
    title="CPU of an idle worker",
    note="All workers at once, each on a Redis of its own, whose share is what its worker asks of it.",
    columns=(
        Column("% of a core", "worker_cpu", ".2f", factor=100),
        Column("Redis %", "redis_cpu", ".2f", factor=100),
        Column("seconds", "seconds"),
    ),
    seconds=2,
    measure_all=measure,
    most_rounds=1,
)
