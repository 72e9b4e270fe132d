"""How soon after a commit a call is at the broker."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from typing import Any

import redis

from outbox_parts.site import QUEUE, Site, make_task

__all__ = ["measure_latency"]

#: Seconds between two transactions: the relay has gone back to its slow pace.
REST = 0.02


def measure_latency(site: Site, orders: int) -> dict[str, list[float]]:
    """Return the milliseconds from the beginning of each commit until a consumer has the message."""
    from celeriac import Celery

    fast = make_task(Celery, site.url, QUEUE)
    inline = make_task(Celery, site.url, QUEUE, outbox_fast_thread=False)
    left = make_task(Celery, site.url, QUEUE)
    left.app.framework.desk.outbox._fast_path.leave = lambda *_, **__: None
    found = {}
    for name, task in (("by a thread", fast), ("by the request", inline), ("by a relay", left)):
        with site.relay() if task is left else nullcontext():
            found[name] = _waits(task, site.url, orders)
    return found


def _waits(task: Any, url: str, orders: int) -> list[float]:
    from django.db import transaction

    client = redis.Redis.from_url(url)
    client.delete(QUEUE)
    arrived: list[float] = []
    there = threading.Semaphore(0)

    def listen() -> None:
        for _ in range(orders + 1):
            client.brpop([QUEUE])
            arrived.append(time.perf_counter())
            there.release()

    listener = threading.Thread(target=listen)
    listener.start()
    committed = []
    for _ in range(orders + 1):
        with transaction.atomic():
            task.delay(1, name="x")
            committed.append(time.perf_counter())
        there.acquire()
        time.sleep(REST)
    listener.join()
    # The first one waits for a relay to start, or for connections.
    return [(end - begin) * 1000 for begin, end in zip(committed, arrived, strict=True)][1:]
