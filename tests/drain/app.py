"""An app under load: tasks of both kinds of acknowledgement, each of which says what it does in a ledger."""

from __future__ import annotations

import os
import sqlite3
import time

from celeriac import Celery

app = Celery("drained", broker=os.environ.get("BROKER", "redis://broker:6379/0"))
app.conf.update(
    task_ignore_result=True,
    task_time_limit=float(os.environ.get("LONGEST", "12")),
    engine_lease_seconds=2,
    worker_soft_shutdown_timeout=2,
    worker_hijack_root_logger=False,
    broker_transport_options={"global_keyprefix": os.environ.get("KEY_PREFIX", "")},
    k8s_image="drained/celery:1.0.0",
    # A pod has an address of its own; here they share one.
    metrics_port=int(os.environ.get("METRICS_PORT", "9540")),
    pools={"worker": {"concurrency": 2, "min": 1, "longest": float(os.environ.get("LONGEST", "12"))}},
)


def note(key: str, what: str) -> None:
    """Write it down with the process group, which is the pod."""
    with sqlite3.connect(os.environ["LEDGER"], timeout=60) as ledger:
        # The machine stays on: to hand it to the kernel is enough.
        ledger.execute("PRAGMA synchronous = OFF")
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpgrp(), time.time()))
    ledger.close()


@app.task(acks_late=True)
def late(key: str, seconds: float) -> None:
    note(key, "started")
    time.sleep(seconds)
    note(key, "done")


@app.task
def early(key: str, seconds: float) -> None:
    note(key, "started")
    time.sleep(seconds)
    note(key, "done")
