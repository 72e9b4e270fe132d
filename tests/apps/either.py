"""The same tasks for Celery's worker and for Celeriac's; the environment variable ENGINE says whose."""

from __future__ import annotations

import os
import time
from typing import Any

import celery
from celery.exceptions import Ignore, Reject

import celeriac

app = (celeriac.Celery if os.environ["ENGINE"] == "celeriac" else celery.Celery)(
    "either", broker=os.environ["BROKER"], backend=os.environ["RESULTS"]
)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": os.environ.get("KEY_PREFIX", "")},
    worker_hijack_root_logger=False,
    worker_pool_restarts=True,
)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def fail(text: str) -> None:
    raise ValueError(text)


@app.task(bind=True, max_retries=1)
def again(self: Any) -> int:
    if self.request.retries == 0:
        raise self.retry(countdown=0.1, exc=ValueError("not yet"))
    return 1


@app.task(acks_late=True)
def reject() -> None:
    raise Reject("no good", requeue=False)


@app.task
def ignore() -> None:
    raise Ignore


@app.task
def sleep(seconds: float) -> None:
    time.sleep(seconds)


@app.task(rate_limit="5/s")
def limited(key: str) -> float:
    return time.time()
