"""An app with pools, for the scaler: what comes from its environment is the broker, and beat's schedule."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from celery.schedules import crontab

from celeriac import Celery

app = Celery("pooled", broker=os.environ["BROKER"], backend=os.environ.get("RESULTS"), set_as_current=False)
app.conf.update(
    broker_transport_options={"global_keyprefix": os.environ.get("KEY_PREFIX", "")},
    metrics_share="SILENT" not in os.environ,
    worker_hijack_root_logger=False,
    task_routes={"tests.apps.pooled.nap": {"queue": "naps"}},
    pools={
        "worker": {"queues": ["celery"], "concurrency": 4, "min": 1, "max": 20, "start": 20},
        "naps": {"queues": ["naps"], "concurrency": 1, "min": 0, "max": 30, "start": 20},
    },
)
if "CRON" in os.environ:
    every = {"schedule": crontab(**json.loads(os.environ["CRON"])), "task": "tests.apps.pooled.nap"}
    app.conf.beat_schedule = {"siesta": every}


@app.task
def nap(seconds: float = 0.0) -> None:
    time.sleep(seconds)


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(bind=True, max_retries=1)
def again(self: Any, countdown: float) -> None:
    if not self.request.retries:
        raise self.retry(countdown=countdown)
