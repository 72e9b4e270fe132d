"""Tasks whose results can or cannot be stored; the variable ENGINE says whose worker runs them."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from functools import partial
from typing import Any

import celery

import celeriac

app = (celeriac.Celery if os.environ["ENGINE"] == "celeriac" else celery.Celery)(
    "stores", broker=os.environ["BROKER"], backend=os.environ["RESULTS"]
)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": os.environ["KEY_PREFIX"]},
    result_backend_transport_options={"global_keyprefix": os.environ["KEY_PREFIX"]},
)
app.conf.update(json.loads(os.environ.get("CONF", "{}")))

task = partial(app.task, shared=False)


def note(key: str, what: str) -> None:
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpid(), time.time()))
    ledger.close()


@task(bind=True)
def opaque(self: Any) -> object:
    """Returns what no serializer knows."""
    note(self.request.id, "ran")
    return object()


@task(bind=True, acks_late=True)
def opaque_late(self: Any) -> object:
    """The same, acknowledged late."""
    note(self.request.id, "ran")
    return object()


@task(bind=True)
def plain(self: Any, value: int) -> int:
    """Returns what was given."""
    note(self.request.id, "ran")
    return value


@task(bind=True, acks_late=True)
def plain_late(self: Any, value: int) -> int:
    """The same, acknowledged late."""
    note(self.request.id, "ran")
    return value


@task(bind=True, acks_late=True)
def fail_late(self: Any) -> None:
    """Fails."""
    note(self.request.id, "ran")
    raise ValueError("no good")
