"""An app that declares nothing about its pools: one of them, with the defaults."""

from __future__ import annotations

from celeriac import Celery

app = Celery("proj", broker="redis://broker:6379/0", backend="redis://broker:6379/1")
app.conf.update(task_time_limit=60, k8s_image="proj/celery:1.8.0")


@app.task
def add(a: int, b: int) -> int:
    return a + b
