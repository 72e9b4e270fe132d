from __future__ import annotations

import time
from typing import Any

from celery import shared_task
from celery_progress.backend import ProgressRecorder

from tests.packages.apps import folder, write_line


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task
def fail(text: str) -> None:
    raise ValueError(text)


@shared_task(bind=True, max_retries=2)
def again(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0.1, exc=KeyError("not yet"))
    return int(self.request.retries)


@shared_task(bind=True)
def walk(self: Any, key: str) -> str:
    """Go half of the way; go on once somebody says so."""
    recorder = ProgressRecorder(self)
    recorder.set_progress(1, 2, "half of the way")
    while not (folder() / key).exists():
        time.sleep(0.02)
    recorder.set_progress(2, 2, "all of it")
    return "arrived"


@shared_task
def tick(key: str) -> str:
    write_line("ticks", key)
    return key
