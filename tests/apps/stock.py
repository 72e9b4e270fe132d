"""The tasks of tests.apps.ledger on a plain Celery app, for a stock worker."""

from __future__ import annotations

import os
import sqlite3
import time

from celery import Celery

app = Celery("stock", broker=os.environ["BROKER"], backend=os.environ["RESULTS"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "global_keyprefix": os.environ.get("KEY_PREFIX", ""),
        "visibility_timeout": float(os.environ.get("VISIBILITY", "3600")),
    },
)


@app.task(name="tests.apps.ledger.effect", acks_late=True)
def effect(key: str, seconds: float = 0) -> str:
    note(key, "started by stock")
    time.sleep(seconds)
    note(key, "done by stock")
    return key


def note(key: str, what: str) -> None:
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpid(), time.time()))
    ledger.close()


@app.task(name="tests.apps.ledger.add")
def add(x: int, y: int) -> int:
    return x + y
