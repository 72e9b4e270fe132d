"""How fast one process enqueues: call by call, and by the library's bulk call."""

from __future__ import annotations

from collections.abc import Iterator

from contenders.lineup import Contender
from rig.stage import open_stage
from sections.section import Column, Effort, Sample, Section

__all__ = ["ENQUEUE"]

_CALLS = 20_000
_CALL_SECONDS = 1.5
_TRIAL = 1_000
_BULK_SECONDS = 1.5
_MOST_AT_ONCE = 100_000


def measure(contender: Contender, number: int, effort: Effort) -> Iterator[Sample]:
    with open_stage(contender) as stage, stage.producer() as producer:
        sent, seconds = producer.one_by_one(effort.count(_CALLS), effort.seconds(_CALL_SECONDS))
        values: dict[str, float] = {"per_second": sent / seconds, "tasks": sent}
        yield Sample(contender.name, number, "one by one", values)
        trial = producer.fill(_TRIAL)
        count = min(_MOST_AT_ONCE, round(_TRIAL * effort.seconds(_BULK_SECONDS) / trial) + 1)
        seconds = producer.fill(count)
        yield Sample(contender.name, number, "in bulk", {"per_second": count / seconds, "tasks": count})


ENQUEUE = Section(
    name="enqueue",
    title="Enqueueing from one process",
    note="No worker runs. Huey, Dramatiq and Taskiq have no bulk call that asks Redis once for many tasks.",
    columns=(Column("tasks/s", "per_second"), Column("tasks", "tasks")),
    seconds=4,
    measure=measure,
)
