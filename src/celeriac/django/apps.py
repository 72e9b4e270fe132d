"""The Django app ``celeriac``."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import import_string

from celeriac.django.celery_side import CelerySide

__all__ = ["CeleriacConfig"]

#: Named and not imported, as it lies above this room.
_CELERY_SIDE = "celeriac.bridge.django.celery_side.DjangosCelery"


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
