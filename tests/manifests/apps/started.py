"""An app whose rendered commands are really run: its broker is in the environment, as from a Secret."""

from __future__ import annotations

import os

from celeriac import Celery

app = Celery("started", broker=os.environ.get("BROKER", "redis://broker:6379/0"))
app.conf.update(
    task_time_limit=5,
    task_ignore_result=True,
    k8s_image="started/celery:1.0.0",
    beat_schedule={"often": {"task": "started.add", "schedule": 40.0, "args": (1, 2)}},
    pools={"worker": {"min": 0, "max": 5, "start": 10, "autoscale": "keda-push"}},
)


@app.task(name="started.add")
def add(a: int, b: int) -> int:
    return a + b
