"""How long a task waits, from the moment it was due to be enqueued to the start of its body.

Tasks are due at random moments (a Poisson process with a seed), whether or not earlier ones have been
started: a worker that falls behind is not spared. What the library says to enqueue each of them was
recorded before, so that no producer is a bottleneck and none costs more than another.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from random import Random

from contenders.lineup import Contender
from rig.private_redis import start_redis
from rig.producer import Producer
from rig.stage import Stage, open_stage
from rig.tally import MOST_STAMPS
from rig.worker import Worker
from sections.full_queue import drain
from sections.quantiles import quantile
from sections.section import Column, Effort, Sample, Section

__all__ = ["QUEUE_WAIT"]

_SHARES = (0.5, 0.8)
_SECONDS = 4.0
_CAPACITY_SECONDS = 1.5
#: The share of a run at its beginning that is not counted, while batches and processes settle.
_HEAD = 0.1


def measure(contender: Contender, number: int, effort: Effort) -> Iterator[Sample]:
    with (
        open_stage(contender) as stage,
        stage.producer() as producer,
        start_redis() as studio,
        stage.recording_producer(studio) as recording,
        stage.warm_worker(producer) as worker,
    ):
        load = _Load(stage, recording, worker, seed=number)
        capacity = load.capacity(producer, effort.seconds(_CAPACITY_SECONDS))
        for share in _SHARES:
            waits, late = load.run(share * capacity, effort.seconds(_SECONDS))
            yield Sample(
                contender.name,
                number,
                f"{share:.0%} of capacity",
                {
                    "p50": quantile(waits, 0.5),
                    "p99": quantile(waits, 0.99),
                    "p999": quantile(waits, 0.999),
                    "tasks": len(waits),
                    "offered": share * capacity,
                    "capacity": capacity,
                    "producer_late": late,
                },
            )


class _Load:
    """Plays recorded tasks to a worker."""

    def __init__(self, stage: Stage, recording: Producer, worker: Worker, seed: int) -> None:
        self._stage = stage
        self._recording = recording
        self._worker = worker
        self._random = Random(seed)

    def capacity(self, producer: Producer, seconds: float) -> float:
        """Return tasks per second that are started while as many arrive as the worker can drain."""
        count = self._stage.contender.tasks(seconds)
        drained = drain(self._stage, self._worker, producer, count).per_second
        due, starts, _ = self._play(drained, seconds)
        begin, end = due[round(len(due) * _HEAD)], due[-1]
        return min(drained, sum(begin <= start < end for start in starts) / (end - begin))

    def run(self, rate: float, seconds: float) -> tuple[list[float], float]:
        """Return the wait of each task after the head, and by how much the harness was late at worst."""
        due, starts, late = self._play(rate, seconds)
        waits = [start - moment for moment, start in zip(due, starts, strict=True)]
        return waits[round(len(waits) * _HEAD) :], late

    def _play(self, rate: float, seconds: float) -> tuple[list[float], list[float], float]:
        count = min(MOST_STAMPS, max(50, round(rate * seconds)))
        tape = self._stage.record(self._recording, 0, count)
        due = list(accumulate(self._random.expovariate(rate) for _ in range(count)))
        tally, before = self._stage.tally, self._worker.runs
        tally.clear_stamps()
        moments, late = tape.play(self._stage.redis.port, due)
        self._worker.wait_until(lambda runs: runs >= before + count)
        self._worker.wait_until(self._stage.is_settled)
        return moments, tally.stamps(count), late


QUEUE_WAIT = Section(
    name="queue_wait",
    title="Queue wait, from the moment a task is due to the start of its body",
    note="Open loop, Poisson arrivals with a seed; capacity is each contender's own, with the same producer.",
    columns=(
        Column("P99 ms", "p99", ".2f", factor=1e3),
        Column("P50 ms", "p50", ".2f", factor=1e3),
        Column("P99.9 ms", "p999", ".2f", factor=1e3),
        Column("offered/s", "offered"),
        Column("late ms", "producer_late", ".1f", factor=1e3),
    ),
    seconds=17,
    measure=measure,
)
