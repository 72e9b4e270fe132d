"""The Task class of an app in a Django project."""

from __future__ import annotations

from celery.contrib.django import task as stock

from celeriac.bridge.django.row_arguments import RowArguments

__all__ = ["DjangoTask"]


class DjangoTask(RowArguments, stock.DjangoTask):
    """Celery's own for Django, whose tasks are given rows for the instances they are called with."""

    abstract = True
