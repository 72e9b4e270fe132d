"""Writes down signals of Celery's: which, who sent it, with what, and of which task."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from functools import partial
from typing import Any

import celery
from celery import signals
from celery.exceptions import Ignore, Reject

import celeriac

app = (celeriac.Celery if os.environ["ENGINE"] == "celeriac" else celery.Celery)(
    "signals", broker=os.environ["BROKER"], backend=os.environ["RESULTS"]
)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": os.environ["KEY_PREFIX"]},
    result_backend_transport_options={"global_keyprefix": os.environ["KEY_PREFIX"]},
)
app.conf.update(json.loads(os.environ.get("CONF", "{}")))


def note(key: str, what: str) -> None:
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpid(), time.time()))
    ledger.close()


def hear(signal: str, /, sender: Any = None, **told: Any) -> None:
    """Write the signal down under the id of the task, or of the worker."""
    told.pop("signal")
    request = told.get("request") or getattr(sender, "request", None)
    headers = told.get("headers") or getattr(told.get("message"), "headers", None) or {}
    known = told.get("task_id") or told.get("id") or headers.get("id")
    if sender is None or isinstance(sender, str):
        who = type(sender).__name__
    else:
        who = getattr(sender, "name", None) or type(sender).__name__
    facts = {key: type(value).__name__ for key, value in told.items()}
    note(str(known or getattr(request, "id", None) or "worker"), json.dumps([signal, who, facts]))


for name in os.environ.get("LISTENS", "").split():
    getattr(signals, name).connect(partial(hear, name), weak=False)

task = partial(app.task, shared=False)


@task()
def add(x: int, y: int) -> int:
    return x + y


@task()
def fail() -> None:
    raise ValueError("no good")


@task(throws=(LookupError,))
def expected() -> None:
    raise LookupError("as usual")


@task(bind=True, max_retries=1)
def again(self: Any) -> int:
    if self.request.retries == 0:
        raise self.retry(countdown=0.2, exc=KeyError("not yet"))
    return 1


@task(acks_late=True)
def reject() -> None:
    raise Reject("no good", requeue=False)


@task()
def ignore() -> None:
    raise Ignore


@task(soft_time_limit=1)
def soft() -> None:
    time.sleep(60)


@task(time_limit=1)
def hard() -> None:
    time.sleep(60)


@task()
def die() -> None:
    os.kill(os.getpid(), 9)


@task()
def sleep(seconds: float) -> None:
    note("sleep", "started")
    time.sleep(seconds)


@task()
def shout(text: str) -> None:
    celery.utils.log.get_task_logger("shop").warning("logged %s", text)
    print(f"printed {text}")  # noqa: T201
