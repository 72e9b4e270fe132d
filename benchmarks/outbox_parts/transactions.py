"""What a call adds to a transaction that writes one order."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from outbox_parts.site import Site, make_task

__all__ = ["measure_transactions"]

ORDER = "the order alone"
ROW = "and a row for the call, which a relay sends"
PREPARED = "and a row for the call, prepared on the server (prepare_threshold)"
SENT = "and a row for the call, which a thread sends after the commit"
INLINE = "and a row for the call, which the request sends after the commit"
CELERIAC = "and on_commit(delay), Celeriac without an outbox"
CELERY = "and on_commit(delay), Celery"
WARM = 50


def measure_transactions(site: Site, orders: int) -> dict[str, dict[str, list[float]]]:
    """Return the milliseconds of each transaction, and of CPU of this process, by kind.

    The kinds take turns, so that whatever else the machine does concerns all alike. Commits do not wait
    for the disk here, whose pace would hide the rest.
    """
    import celery
    from django.db import connection, transaction
    from tests.django.shop.models import Order

    from celeriac import Celery

    sent = make_task(Celery, site.url, "sent")
    inline = make_task(Celery, site.url, "inline", outbox_fast_thread=False)
    row = make_task(Celery, site.url, "row")
    row.app.framework.desk.outbox._fast_path.leave = lambda *_, **__: None
    plain = make_task(Celery, site.url, "plain", outbox_enabled=False)
    stock = make_task(celery.Celery, site.url, "stock")

    def call_prepared() -> None:
        connection.connection.prepare_threshold = 5
        row.delay(1, name="x")
        connection.connection.prepare_threshold = None

    kinds: dict[str, Callable[[], Any]] = {
        ORDER: lambda: None,
        ROW: lambda: row.delay(1, name="x"),
        PREPARED: call_prepared,
        SENT: lambda: sent.delay(1, name="x"),
        INLINE: lambda: inline.delay(1, name="x"),
        CELERIAC: lambda: transaction.on_commit(lambda: plain.delay(1, name="x")),
        CELERY: lambda: transaction.on_commit(lambda: stock.delay(1, name="x")),
    }
    _commit_at_once(connection)
    wall: dict[str, list[float]] = {name: [] for name in kinds}
    cpu: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(orders + WARM):
        for name, call in kinds.items():
            began, used = time.perf_counter(), time.process_time()
            with transaction.atomic():
                Order.objects.create(name="x")
                call()
            took = time.perf_counter() - began
            sent.app.framework.desk.outbox.finish(10)  # what a thread does is no burden of the next one
            if number >= WARM:
                wall[name].append(took * 1000)
                cpu[name].append((time.process_time() - used) * 1000)
    connection.close()
    return {"milliseconds": wall, "milliseconds of CPU": cpu}


def added(times: dict[str, list[float]], kind: str) -> float:
    """Return the median of what the kind takes beyond the order alone, turn by turn."""
    return statistics.median(more - less for more, less in zip(times[kind], times[ORDER], strict=True))


def _commit_at_once(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO OFF")
