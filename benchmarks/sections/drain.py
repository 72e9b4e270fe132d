"""How fast a full queue of tasks that do nothing is emptied, without and with results."""

from __future__ import annotations

from collections.abc import Iterator

from contenders.lineup import Contender
from rig.stage import open_stage
from sections.full_queue import drain
from sections.section import Column, Effort, Sample, Section

__all__ = ["DRAIN"]

_SECONDS = 3.0


def measure(contender: Contender, number: int, effort: Effort) -> Iterator[Sample]:
    for results in (False, True):
        with (
            open_stage(contender, results=results) as stage,
            stage.producer() as producer,
            stage.warm_worker(producer) as worker,
        ):
            count = contender.tasks(effort.seconds(_SECONDS))
            measured = drain(stage, worker, producer, count)
            memory = {"pss": worker.family.pss}
        variant = "results stored in Redis" if results else "results off"
        yield Sample(contender.name, number, variant, measured.values() | memory)


DRAIN = Section(
    name="drain",
    title="Drain of tasks that do nothing",
    note="The queue is filled while the worker's processes are stopped; rates are of tasks settled.",
    columns=(
        Column("tasks/s", "per_second"),
        Column("CPU µs/task", "worker_cpu", factor=1e6),
        Column("Redis µs/task", "redis_cpu", factor=1e6),
        Column("tasks", "tasks"),
    ),
    seconds=13,
    measure=measure,
)
