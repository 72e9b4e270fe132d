"""What a worker takes: time to its first task, and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

from contenders.lineup import Contender
from rig.stage import open_stage
from sections.full_queue import drain
from sections.section import Column, Effort, Sample, Section

__all__ = ["FOOTPRINT"]

_SECONDS = 0.5
#: Those that are measured with more processes as well, and how many.
_GROWING, _MANY = ("celery", "celeriac", "celeriac worker"), 8


def measure(contender: Contender, number: int, effort: Effort) -> Iterator[Sample]:
    yield _sample(contender, number, effort, "after some tasks")
    if contender.name in _GROWING:
        grown = contender.with_processes(_MANY)
        yield _sample(grown, number, effort, f"after some tasks, {_MANY} processes that run them")


def _sample(contender: Contender, number: int, effort: Effort, variant: str) -> Sample:
    with open_stage(contender) as stage, stage.producer() as producer:
        started = time.monotonic()
        with stage.start_worker() as worker:
            first, _ = worker.wait_until(lambda runs: runs > 0)
            worker.wait_until(stage.is_settled)
            drain(stage, worker, producer, contender.tasks(effort.seconds(_SECONDS)))
            values = {
                "startup": first - started,
                "pss": float(worker.family.pss),
                "processes": float(len(worker.family.pids)),
            }
    return Sample(contender.name, number, variant, values)


FOOTPRINT = Section(
    name="footprint",
    title="What a worker takes",
    note="PSS of all its processes; start-up is from the command to the first task done, which was waiting.",
    columns=(
        Column("PSS MB", "pss", ".1f", factor=1e-6),
        Column("start-up s", "startup", ".2f"),
        Column("processes", "processes"),
    ),
    seconds=5,
    measure=measure,
)
