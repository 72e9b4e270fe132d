"""The Task class of an app in a Django project."""

from __future__ import annotations

from celery.contrib.django import task as stock

__all__ = ["DjangoTask"]


class DjangoTask(stock.DjangoTask):
    """Celery's own for Django."""

    abstract = True
