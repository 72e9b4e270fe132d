"""celery-batches: a task that runs once for many calls."""

from __future__ import annotations

from typing import Any

from celery_batches import Batches

from tests.packages.apps import make_app

app = make_app("batches", worker_prefetch_multiplier=100)


@app.task(base=Batches, flush_every=5, flush_interval=2)
def total(requests: Any) -> None:
    for request in requests:
        app.backend.mark_as_done(request.id, [request.args[0], len(requests)], request=request)


@app.task
def add(x: int, y: int) -> int:
    return x + y


def scenario() -> Any:
    """Call the tasks; return what each call of `total` was told: its own number, and of how many."""
    results = [total.delay(number) for number in range(7)]
    return [result.get(timeout=20) for result in results], add.delay(1, 2).get(timeout=20)
