"""The figures of the last run as a table for people, made from the raw ones."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from outbox_parts.transactions import CELERIAC, CELERY, INLINE, PREPARED, ROW, SENT, added

__all__ = ["render"]


def render(outbox: Mapping[str, Any], tasks: Mapping[str, Any]) -> str:
    """Return the table; ``outbox`` and ``tasks`` are what the two measurements have kept."""
    setting, options = outbox["setting"], outbox["setting"]["options"]
    lines = ["| What | Median | |", "|---|---:|---|"]
    lines += [f"| {what} | {value} | {note} |" for what, value, note in _rows(outbox, tasks)]
    made = (
        f"Measured {setting['date'][:10]} with Python {setting['python']} on {setting['cores']} cores, with a"
        " private PostgreSQL and Redis on the same machine, which others used as well (load"
        f" {setting['load_at_the_end']} at the end): {options['orders']} transactions of each kind,"
        f" {options['rounds']} rounds of the relays, {options['kills']} kills of each kind."
    )
    return "\n".join([made, "", *lines])


def _rows(outbox: Mapping[str, Any], tasks: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield from _transactions(outbox["transactions"])
    for how, waits in outbox["latency"].items():
        yield (
            f"From the commit to the broker, sent {how}",
            _ms(waits, 1),
            f"P99 {_percentile(waits, 99):.1f} ms",
        )
    ours = statistics.median(outbox["relays"]["celeriac"])
    yield "Messages a second to Redis, one relay", f"{ours:,.0f}", _span(outbox["relays"]["celeriac"])
    for name, rates in outbox["relays"].items():
        if name != "celeriac":
            rate = statistics.median(rates)
            yield f"The same, {name}", f"{rate:,.0f}", f"{_span(rates)}; ours is {ours / rate:.0f} times that"
    for what, waits in outbox["recovery"].items():
        yield (
            f"From the commit to the broker, {what}",
            f"{statistics.median(waits):.2f} s",
            f"worst {max(waits):.2f} s",
        )
    yield from _tasks(tasks["milliseconds a task"])


def _transactions(found: Mapping[str, dict[str, list[float]]]) -> Iterator[tuple[str, str, str]]:
    wall, cpu = found["milliseconds"], found["milliseconds of CPU"]
    for kind in (ROW, PREPARED, SENT, INLINE, CELERIAC, CELERY):
        note = f"{added(cpu, kind):.2f} ms of the process' CPU"
        yield f"Added to a transaction: {kind.removeprefix('and ')}", f"{added(wall, kind):.2f} ms", note


def _tasks(times: Mapping[str, Sequence[float]]) -> Iterator[tuple[str, str, str]]:
    none, kept = times["no query"], times["one query, connection kept"]
    yield (
        "Added to a task: one query",
        f"{statistics.median(kept) - statistics.median(none):.2f} ms",
        f"{statistics.median(times[_FIX_UP]) - statistics.median(none):.2f} ms with Celery's fix-up",
    )
    plain = statistics.median(times["one effect in a transaction"])
    for kind in ("one effect, idempotent", "one effect, idempotent, with a result"):
        what = kind.removeprefix("one effect, ")
        yield f"Added to a transaction: {what}", f"{statistics.median(times[kind]) - plain:.2f} ms", ""


_FIX_UP = "one query, Celery's fix-up"


def _ms(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ms"


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def _span(values: Sequence[float]) -> str:
    return f"{min(values):,.0f} to {max(values):,.0f}"
