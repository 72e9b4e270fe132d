"""How long one waits for the result of a task when nothing else is to be done."""

from __future__ import annotations

from collections.abc import Iterator

from contenders.lineup import Contender
from rig.stage import open_stage
from sections.quantiles import quantile
from sections.section import Column, Effort, Sample, Section

__all__ = ["ROUND_TRIP"]

_CALLS = 1_000
#: A contender that is not through by then has fewer calls.
_MOST_SECONDS = 6.0


def measure(contender: Contender, number: int, effort: Effort) -> Iterator[Sample]:
    with (
        open_stage(contender, results=True) as stage,
        stage.producer() as producer,
        stage.warm_worker(producer),
    ):
        taken = producer.round_trips(effort.count(_CALLS), effort.seconds(_MOST_SECONDS))
    values = {"p50": quantile(taken, 0.5), "p99": quantile(taken, 0.99), "calls": float(len(taken))}
    yield Sample(contender.name, number, "one call at a time", values)


ROUND_TRIP = Section(
    name="round_trip",
    title="Round trip on an idle worker, from the call to its result",
    note="Each waits as its library documents for speed; Taskiq only polls, here every millisecond.",
    columns=(
        Column("P50 ms", "p50", ".2f", factor=1e3),
        Column("P99 ms", "p99", ".2f", factor=1e3),
        Column("calls", "calls"),
    ),
    seconds=8,
    measure=measure,
)
