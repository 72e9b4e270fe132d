"""sentry-sdk: errors and traces of tasks go to a server, from a thread in the background."""

from __future__ import annotations

import os
from typing import Any

import sentry_sdk
from celery import signals
from sentry_sdk.integrations.celery import CeleryIntegration

from tests.packages.apps import make_app

app = make_app("sentry", task_ignore_result=True)


def init(**_: Any) -> None:
    """Watch this process and what is forked from it."""
    sentry_sdk.init(
        os.environ["SENTRY"],
        traces_sample_rate=1.0,
        integrations=[CeleryIntegration()],
        default_integrations=False,
        shutdown_timeout=20,
    )


if os.environ.get("INIT") == "celeryd_init":  # as Sentry's documentation has it for a worker
    signals.celeryd_init.connect(init)
else:
    init()


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def fail(text: str) -> None:
    raise ValueError(text)


@app.task(bind=True, max_retries=1)
def again(self: Any) -> None:
    if self.request.retries == 0:
        raise self.retry(countdown=0, exc=KeyError("not yet"))


def scenario() -> str:
    """Call the tasks in every way within a trace; return its id."""
    with sentry_sdk.start_transaction(op="test", name="the producer") as transaction:
        add.delay(1, 2)
        fail.delay("boom")
        again.delay()
        app.send_task(add.name, (3, 4))
        (add.s(5, 6) | add.s(7)).delay()
    sentry_sdk.flush()
    return str(transaction.trace_id)


def many() -> str:
    """The same for Celeriac's bulk call."""
    with sentry_sdk.start_transaction(op="test", name="the producer") as transaction:
        add.delay_many([(1, 2), (3, 4), (5, 6)])
    sentry_sdk.flush()
    return str(transaction.trace_id)
