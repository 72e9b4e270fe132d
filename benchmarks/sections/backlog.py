"""What a task costs when the queue before it is a thousand or a million long."""

from __future__ import annotations

from collections.abc import Iterator

from contenders.lineup import Contender
from rig.stage import open_stage
from sections.full_queue import drain
from sections.section import Column, Effort, Sample, Section

__all__ = ["BACKLOG"]

_LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
#: Longer drains are left out.
_MOST_SECONDS = 60


def measure(contender: Contender, number: int, effort: Effort) -> Iterator[Sample]:
    with (
        open_stage(contender) as stage,
        stage.producer() as producer,
        stage.warm_worker(producer) as worker,
    ):
        for length in _LENGTHS:
            if length <= contender.tasks(effort.seconds(_MOST_SECONDS)):
                measured = drain(stage, worker, producer, length)
                yield Sample(contender.name, number, f"{length:,} waiting", measured.values())


BACKLOG = Section(
    name="backlog",
    title="Cost of a task as the backlog grows",
    note="The same worker drains one backlog after the other; lengths that take a minute are left out.",
    columns=(
        Column("tasks/s", "per_second"),
        Column("CPU µs/task", "worker_cpu", ".1f", factor=1e6),
        Column("Redis µs/task", "redis_cpu", ".1f", factor=1e6),
    ),
    seconds=50,
    measure=measure,
    most_rounds=1,
    only=("celery tuned", "celeriac"),
)
