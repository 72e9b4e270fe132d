"""Tasks of an app that stays with Celery's own worker, on an SQLite broker."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from celery import Celery

app = Celery("stock", broker=os.environ["BROKER"], backend=os.environ["RESULTS"])
app.conf.update(
    broker_transport="celeriac.bridge.transport:SqliteTransport",
    broker_transport_options={"lease_seconds": float(os.environ.get("LEASE", "30"))},
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    beat_schedule={"tick": {"task": "tests.compat.apps.stock.note", "schedule": 1.0, "args": ["tick"]}},
)


@app.task
def note(key: str) -> str:
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, 'ran', ?, ?)", (key, os.getpid(), time.time()))
    ledger.close()
    return key


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def fail(text: str) -> None:
    raise ValueError(text)


@app.task(bind=True, max_retries=5)
def flaky(self: Any, failures: int) -> int:
    if self.request.retries < failures:
        raise self.retry(countdown=0.1)
    return int(self.request.retries)


@app.task(bind=True, acks_late=True)
def hold(self: Any, key: str, until: str) -> bool:
    """Runs until the file exists; tells whether the message had been delivered before."""
    note(key)
    while not Path(until).exists():
        time.sleep(0.01)
    return bool(self.request.delivery_info["redelivered"])
