"""Tasks that wait for 1 ms and for 100 ms, as most real ones do."""

from __future__ import annotations

from collections.abc import Iterator

from contenders.lineup import Contender
from rig.stage import open_stage
from sections.full_queue import drain
from sections.section import Column, Effort, Sample, Section

__all__ = ["SLEEP"]

#: Seconds of each pause, and for how long all slots take them: what comes before and after counts for little.
_PAUSES = ((0.001, 2.0), (0.1, 8.0))


def measure(contender: Contender, number: int, effort: Effort) -> Iterator[Sample]:
    with (
        open_stage(contender) as stage,
        stage.producer() as producer,
        stage.warm_worker(producer) as worker,
    ):
        for pause, lasts in _PAUSES:
            seconds = effort.seconds(lasts)
            ideal = contender.slots / pause
            count = round(min(contender.tasks(seconds), ideal * seconds))
            rounds_of_slots = max(4, -(-count // contender.slots))
            measured = drain(stage, worker, producer, rounds_of_slots * contender.slots, "pause", pause)
            more = {"slots": contender.slots, "share": measured.per_second_at_all / ideal}
            yield Sample(contender.name, number, f"{pause * 1e3:g} ms", measured.values() | more)


SLEEP = Section(
    name="sleep",
    title="Tasks that wait",
    note="Compare the shares of the ideal, which is one task after the other in every slot; slots differ.",
    columns=(
        Column("share of ideal", "share", ".3f"),
        Column("tasks/s", "per_second_at_all"),
        Column("slots", "slots"),
        Column("CPU µs/task", "worker_cpu", factor=1e6),
    ),
    seconds=13,
    measure=measure,
)
