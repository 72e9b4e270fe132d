"""Tasks that write down what they do in an SQLite file outside the system under test."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from celeriac import Celery

app = Celery("ledger", broker=os.environ["BROKER"], backend=os.environ.get("RESULTS"))
app.conf.update(
    task_ignore_result="RESULTS" not in os.environ,
    broker_connection_retry_on_startup=True,
    engine_lease_seconds=float(os.environ.get("LEASE", "2")),
    engine_max_deliveries=3,
    worker_hijack_root_logger=False,
    broker_transport_options={"global_keyprefix": os.environ.get("KEY_PREFIX", "")},
)
app.conf.update(json.loads(os.environ.get("CONF", "{}")))

if pool := os.environ.get("POOL"):
    app.conf.worker_pool = pool

if misspelt := os.environ.get("CELERIAC_TEST_SETTING"):
    app.conf[misspelt] = 1


def note(key: str, what: str) -> None:
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpid(), time.time()))
    ledger.close()


@app.task(acks_late=True)
def effect(key: str, seconds: float = 0) -> str:
    note(key, "started")
    time.sleep(seconds)
    note(key, "done")
    return key


@app.task
def early(key: str, seconds: float = 0) -> str:
    note(key, "started")
    time.sleep(seconds)
    note(key, "done")
    return key


@app.task(acks_late=True)
def suicide(key: str) -> None:
    note(key, "started")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def early_suicide(key: str) -> None:
    note(key, "started")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def add(x: Any, y: Any) -> Any:
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task
def fail(text: str) -> None:
    raise ValueError(text)


@app.task(bind=True, max_retries=5)
def flaky(self: Any, key: str, failures: int) -> int:
    note(key, "started")
    if self.request.retries < failures:
        raise self.retry(countdown=0.1)
    return int(self.request.retries)


@app.task(bind=True, acks_late=True, max_retries=1)
def once_more(self: Any, key: str, after: str) -> None:
    """Retry as soon as the file ``after`` is there."""
    note(key, "started")
    while not Path(after).exists():
        time.sleep(0.01)
    if not self.request.retries:
        raise self.retry(countdown=0.1)
    note(key, "done")


@app.task(bind=True, max_retries=2, dead_letter=True)
def hopeless(self: Any, key: str) -> None:
    note(key, "started")
    raise self.retry(countdown=0.1, exc=ValueError("no luck"))


@app.task(bind=True)
def remember(self: Any, result: Any, key: str) -> None:
    note(key, f"linked {result}")


@app.task(acks_late=True)
def reject(key: str) -> None:
    note(key, "started")
    raise Reject("no good", requeue=False)


@app.task
def ignore(key: str) -> None:
    note(key, "started")
    raise Ignore


@app.task(soft_time_limit=0.3)
def slow_soft(key: str) -> str:
    try:
        time.sleep(20)
    except SoftTimeLimitExceeded:
        note(key, "interrupted")
        return "interrupted"
    return "ran on"


@app.task(time_limit=0.5, acks_late=True)
def slow_hard(key: str) -> None:
    note(key, "started")
    time.sleep(60)


@app.task
def fill(megabytes: int) -> int:
    held = bytearray(megabytes << 20)
    held[::4096] = b"x" * len(held[::4096])
    return os.getpid()


@app.task(bind=True)
def whoami(self: Any) -> dict[str, Any]:
    return {"pid": os.getpid(), "redelivered": self.request.delivery_info["redelivered"]}
