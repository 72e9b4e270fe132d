"""The same application on Celeriac."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac import Celery
from contenders.adapter import Arguments
from contenders.celery_tasks import CeleryAdapter, configure

app = configure(Celery("bench"))


class Celeriac(CeleryAdapter):
    bulk_is_list = True

    def enqueue_many(self, task: str, calls: Sequence[Arguments]) -> None:
        self.tasks[task].delay_many(calls)


adapter = Celeriac(app)
