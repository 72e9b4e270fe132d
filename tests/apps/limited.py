"""Unique and limited tasks that write down what they do; where STOCK is set, on Celery's worker."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from celeriac import Celery, Concurrency, Unique

app = Celery("limited", broker=os.environ["BROKER"], backend=os.environ["RESULTS"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": os.environ.get("KEY_PREFIX", "")},
    engine_lease_seconds=2,
    limits_lease_seconds=2,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=1,
)
app.conf.update(json.loads(os.environ.get("CONF", "{}")))
if "STOCK" in os.environ:
    # Celery's own consumer, under another name than the one that the engine stands in for.
    app.conf.worker_consumer = "celery.worker.consumer.consumer:Consumer"


def note(key: str, what: str) -> None:
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpid(), time.time()))
    ledger.close()


def wait_for(file: str | None) -> None:
    while file is not None and not Path(file).exists():
        time.sleep(0.01)


@app.task(bind=True, max_concurrency=Concurrency(3, key=("account",)))
def few(self: Any, key: str, account: str, seconds: float = 0.0) -> int:
    note(account, "started")
    time.sleep(seconds)
    note(account, "ended")
    return int(self.request.retries)


@app.task(max_concurrency=1)
def alone(key: str, until: str | None = None) -> None:
    note(key, "started")
    wait_for(until)
    note(key, "ended")


@app.task(acks_late=True, reject_on_worker_lost=True, max_concurrency=1)
def alone_late(key: str, until: str | None = None) -> None:
    note(key, "started")
    wait_for(until)
    note(key, "ended")


@app.task(global_rate_limit="10/s")
def rated(key: str) -> None:
    note(key, "started")


@app.task(bind=True, unique=Unique(args=("key",)), max_retries=3)
def once(self: Any, key: str, until: str | None = None, then: str = "succeed") -> str:
    note(key, "started")
    wait_for(until)
    if then == "retry" and self.request.retries == 0:
        raise self.retry(countdown=0.5)
    if then == "fail":
        raise ValueError("as asked")
    return key


@app.task(unique=Unique(until="started"))
def once_started(key: str) -> str:
    note(key, "started")
    wait_for(os.environ["UNTIL"])
    return key


@app.task(unique=Unique(until="started"), max_concurrency=1)
def once_and_alone(key: str, until: str | None = None) -> None:
    note(key, "started")
    wait_for(until)


async def wait_native(file: str | None) -> None:
    while file is not None and not Path(file).exists():
        await asyncio.sleep(0.01)


@app.task(bind=True, max_concurrency=Concurrency(3, key=("account",)))
async def few_native(self: Any, key: str, account: str, seconds: float = 0.0) -> int:
    note(account, "started")
    await asyncio.sleep(seconds)
    note(account, "ended")
    return int(self.request.retries)


@app.task(max_concurrency=1)
async def alone_native(key: str, until: str | None = None) -> None:
    note(key, "started")
    try:
        await wait_native(until)
    finally:
        note(key, "ended")


@app.task(global_rate_limit="10/s")
async def rated_native(key: str) -> None:
    note(key, "started")


@app.task(bind=True, unique=Unique(args=("key",)), max_retries=3)
async def once_native(self: Any, key: str, until: str | None = None, then: str = "succeed") -> str:
    note(key, "started")
    await wait_native(until)
    if then == "retry" and self.request.retries == 0:
        raise self.retry(countdown=0.5)
    if then == "fail":
        raise ValueError("as asked")
    return key


@app.task
async def longest_pause(until: str) -> float:
    """Return the most seconds that the loop was kept from a coroutine that slept for 5 ms."""
    worst = 0.0
    while not Path(until).exists():
        before = time.monotonic()
        await asyncio.sleep(0.005)
        worst = max(worst, time.monotonic() - before)
    return worst


@app.task
def total(numbers: list[Any]) -> int:
    return len(numbers)
