"""The Django app ``celeriac``."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.apps import AppConfig
from django.utils.module_loading import import_string

from celeriac.django.celery_side import CelerySide

__all__ = ["CeleriacConfig"]

#: Named and not imported, as it lies above this room.
_CELERY_SIDE = "celeriac.bridge.django.celery_side.DjangosCelery"
#: Named and not imported, as they need models.
_OLD_ROWS = "celeriac.django.old_rows.OldRows"
_DELETE_RECORDS = "celeriac.django.tasks.old_records.delete_finished_before"


class CeleriacConfig(AppConfig):
    name = "celeriac.django"
    label = "celeriac"
    verbose_name = "Celeriac"
    default_auto_field = "django.db.models.BigAutoField"
    #: What can be asked of Celery, once Django is ready.
    celery_side: CelerySide

    def ready(self) -> None:
        self.celery_side = import_string(_CELERY_SIDE)()
        self.celery_side.join()

    @cached_property
    def old_records(self) -> Any:
        """What deletes records of tasks that finished long ago, told of each one that has finished."""
        seconds = self.celery_side.settings().task_records_retention_seconds
        return import_string(_OLD_ROWS)(import_string(_DELETE_RECORDS), seconds)
