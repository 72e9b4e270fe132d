"""The Task class of an app in a Django project."""

from __future__ import annotations

from typing import Any

from celery.contrib.django import task as stock

__all__ = ["DjangoTask"]


class DjangoTask(stock.DjangoTask):
    """Celery's own for Django. A retry leaves at once, as the transaction it is raised in is rolled back."""

    abstract = True

    def retry(self, *args: Any, **options: Any) -> Any:
        departures = self.app.departures
        if departures is None or self.request.is_eager:
            return super().retry(*args, **options)
        with departures.directly():
            return super().retry(*args, **options)
