"""Tasks that are terminated by one signal or another; ENGINE says whose worker runs them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from functools import partial
from typing import Any

import celery
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import task_failure, task_revoked

import celeriac

app = (celeriac.Celery if os.environ["ENGINE"] == "celeriac" else celery.Celery)(
    "terminated", broker=os.environ["BROKER"], backend=os.environ["RESULTS"]
)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": os.environ["KEY_PREFIX"]},
    result_backend_transport_options={"global_keyprefix": os.environ["KEY_PREFIX"]},
)
app.conf.update(json.loads(os.environ.get("CONF", "{}")))

task = partial(app.task, shared=False)


def signum(name: str) -> signal.Signals:
    return getattr(signal, name)  # type: ignore[no-any-return]


def note(key: str, what: str) -> None:
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpid(), time.time()))
    ledger.close()


@task_revoked.connect
def revoked(request: Any, terminated: bool, signum: int | None, expired: bool, **_: Any) -> None:
    note(f"{request.id} signals", f"revoked terminated={terminated} signum={signum!r} expired={expired}")


@task_failure.connect
def failed(task_id: str, exception: Exception, **_: Any) -> None:
    note(f"{task_id} signals", f"failed {type(exception).__name__}")


def sleep_noted(task_id: str, seconds: float) -> str:
    note(task_id, "started")
    try:
        time.sleep(seconds)
    finally:
        note(task_id, "cleaned up")
    return "done"


@task(bind=True)
def hold(self: Any, seconds: float = 60) -> str:
    """Takes long and does nothing about signals."""
    return sleep_noted(self.request.id, seconds)


@task(bind=True, acks_late=True)
def hold_late(self: Any, seconds: float = 60) -> str:
    """The same, acknowledged late."""
    return sleep_noted(self.request.id, seconds)


@task(bind=True)
def nap(self: Any) -> str:
    """Is soon done anyway."""
    note(self.request.id, "started")
    time.sleep(2)
    note(self.request.id, "cleaned up")
    return "done"


@task(bind=True, acks_late=True)
def stubborn(self: Any) -> None:
    """Does not end when it is told to."""
    note(self.request.id, "started")
    try:
        time.sleep(60)
    finally:
        note(self.request.id, "stays")
        time.sleep(60)


@task(bind=True)
def catch(self: Any, seconds: float = 60) -> str:
    """Is done for this time when it is told to end."""
    note(self.request.id, "started")
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded as error:
        note(self.request.id, f"caught {type(error).__name__}")
        time.sleep(0.5)
    return "caught"


@task(bind=True)
def listen(self: Any, name: str, seconds: float = 60) -> str:
    """Has a handler of its own, which others of this process then have too."""
    heard: list[int] = []
    before = signal.signal(getattr(signal, name), lambda number, _frame: heard.append(number))
    try:
        note(self.request.id, "started")
        until = time.monotonic() + seconds
        while not heard and time.monotonic() < until:
            time.sleep(0.01)
        for number in heard:
            note(self.request.id, f"heard {signal.Signals(number).name}")
        time.sleep(0.5)
    finally:
        signal.signal(getattr(signal, name), before)
    return "heard"


@task
def add(x: int, y: int) -> int:
    return x + y
