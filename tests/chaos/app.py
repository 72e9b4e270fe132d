"""Tasks whose every effect is a row of the ledger, in processes with a tripwire at every named step."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from celery.exceptions import Retry

from celeriac import Celery
from celeriac.bridge.executor import CeleryExecutor
from celeriac.brokers.redis import RedisBroker
from celeriac.brokers.sqlite import SqliteBroker
from tests.chaos.tripwires import Tripwires

__all__ = ["app", "note"]

app = Celery("chaos", broker=os.environ["BROKER"], backend=os.environ["RESULTS"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": os.environ.get("KEY_PREFIX", "")},
    engine_lease_seconds=float(os.environ["LEASE"]),
    engine_max_deliveries=50,
    worker_hijack_root_logger=False,
)

wires = Tripwires(Path(os.environ["TRIPWIRES"]))
_send = os.environ.get("SEND_STEP", "retry")

for _broker in (SqliteBroker, RedisBroker):
    wires.around(_broker, "send", lambda *_: _send)
    wires.around(_broker, "claim", lambda *_, ack=(), **__: "ack" if ack else "claim")
    wires.around(_broker, "ack", lambda *_: "ack")
    wires.around(_broker, "release", lambda *_: "release")
    wires.around(_broker, "delay", lambda *_: "delay")
    wires.around(_broker, "promote_due", lambda *_, **__: "promote")
    wires.around(_broker, "reap", lambda *_, **__: "reap")
wires.around(CeleryExecutor, "decode", lambda *_: "decode")
wires.around(CeleryExecutor, "run", lambda *_: "start")
wires.around(CeleryExecutor, "flush", lambda *_: "result")


def note(key: str, what: str) -> None:
    """Add a row to the ledger; once this returns it outlives the process."""
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpid(), time.time()))
    ledger.close()


def _effect(key: str, seconds: float) -> str:
    note(key, "started")
    wires.reach("run before")
    time.sleep(seconds)
    note(key, "done")
    wires.reach("run after")
    return key


@app.task(acks_late=True)
def late(key: str, seconds: float) -> str:
    return _effect(key, seconds)


@app.task(acks_late=True, ignore_result=True)
def late_silent(key: str, seconds: float) -> str:
    return _effect(key, seconds)


@app.task
def early(key: str, seconds: float) -> str:
    return _effect(key, seconds)


@app.task(ignore_result=True)
def early_silent(key: str, seconds: float) -> str:
    return _effect(key, seconds)


@app.task(bind=True, acks_late=True, max_retries=1)
def again(self: Any, key: str, seconds: float) -> str:
    """Its first attempt has its effect and asks for a second one, whose key has a mark."""
    if self.request.retries:
        return _effect(f"{key} again", seconds)
    note(key, "started")
    try:
        raise self.retry(countdown=0.2)
    except Retry:
        note(f"{key} again", "accepted")
        note(key, "done")
        raise
