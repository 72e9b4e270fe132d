"""Tasks of every kind that an application has; whatever they do is a row of the ledger."""

from __future__ import annotations

import os
import sqlite3
import time
from typing import Any

from celery.exceptions import Retry
from celery.signals import task_revoked

from celeriac import Celery
from tests.soak.books import ALONE

__all__ = ["app", "note"]

#: Seconds that results are kept, so that their number is steady after the warm-up.
RESULTS_EXPIRE = 60

app = Celery("soak", broker=os.environ["BROKER"], backend=os.environ["RESULTS"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": os.environ.get("KEY_PREFIX", "")},
    result_expires=RESULTS_EXPIRE,
    worker_hijack_root_logger=False,
    worker_max_tasks_per_child=int(os.environ.get("TASKS_EACH", "0")) or None,
)


def note(key: str, what: str) -> None:
    """Add a row to the ledger; once this returns it outlives the process."""
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpid(), time.time()))
    ledger.close()


@task_revoked.connect
def _note_revoked(request: Any, **_: Any) -> None:
    note(request.args[0], "revoked")


@app.task
def work(key: str, seconds: float = 0.0, load: str = "") -> str:
    note(key, "started")
    time.sleep(seconds)
    note(key, "done")
    return f"{key}{load}"


@app.task(acks_late=True)
def late(key: str, seconds: float = 0.0) -> str:
    note(key, "started")
    time.sleep(seconds)
    note(key, "done")
    return key


@app.task
def spin(key: str, seconds: float) -> None:
    """Use the processor for so long."""
    note(key, "started")
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    note(key, "done")


@app.task
def fail(key: str) -> None:
    note(key, "started")
    note(key, "done")
    raise ValueError(f"{key} fails, as it is meant to")


@app.task(bind=True, acks_late=True, max_retries=1)
def again(self: Any, key: str) -> str:
    """Fail once, and succeed under a key with a mark when it is run again."""
    mark = " again" if self.request.retries else ""
    note(f"{key}{mark}", "started")
    if not mark:
        try:
            raise self.retry(countdown=0.5)
        except Retry:
            note(f"{key} again", "accepted")
            note(key, "done")
            raise
    note(f"{key}{mark}", "done")
    return key


@app.task(acks_late=True)
def gather(parts: list[str], key: str) -> int:
    """Run as the body of a chord, or as the second of a chain."""
    note(key, "started")
    note(key, "done")
    return len(parts)


@app.task(unique=True)
def once(key: str) -> str:
    note(key, "started")
    time.sleep(0.2)
    note(key, "done")
    return key


@app.task(max_concurrency=ALONE)
def alone(key: str) -> None:
    note(key, "started")
    time.sleep(0.15)
    note(key, "done")


@app.task(global_rate_limit="4/s")
def paced(key: str) -> None:
    note(key, "started")
    note(key, "done")
