"""Tasks that do nothing with an argument of 1 kB and of 100 kB."""

from __future__ import annotations

from collections.abc import Iterator

from contenders.lineup import Contender
from rig.stage import open_stage
from sections.full_queue import drain
from sections.section import Column, Effort, Sample, Section

__all__ = ["PAYLOAD"]

#: Bytes, and the most tasks: what lies in Redis stays below half a gigabyte.
_SIZES = ((1_000, 30_000), (100_000, 2_000))
_SECONDS = 1.5


def measure(contender: Contender, number: int, effort: Effort) -> Iterator[Sample]:
    with (
        open_stage(contender) as stage,
        stage.producer() as producer,
        stage.warm_worker(producer) as worker,
    ):
        for size, most in _SIZES:
            count = min(effort.count(most), contender.tasks(effort.seconds(_SECONDS)))
            measured = drain(stage, worker, producer, count, "take", "x" * size)
            yield Sample(contender.name, number, f"{size // 1000} kB", measured.values())


PAYLOAD = Section(
    name="payload",
    title="Drain of tasks with an argument",
    note="The argument is one string.",
    columns=(
        Column("tasks/s", "per_second"),
        Column("CPU µs/task", "worker_cpu", factor=1e6),
        Column("tasks", "tasks"),
    ),
    seconds=7,
    measure=measure,
)
