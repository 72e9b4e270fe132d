"""Celery as it comes."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery, group

from contenders.adapter import Arguments
from contenders.celery_tasks import CeleryAdapter, configure

app = configure(Celery("bench"))


class StockCelery(CeleryAdapter):
    def enqueue_many(self, task: str, calls: Sequence[Arguments]) -> None:
        signature = self.tasks[task].s
        group(signature(*arguments) for arguments in calls).apply_async()


adapter = StockCelery(app)
