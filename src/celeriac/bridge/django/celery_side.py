"""Celery, as Django's side asks for it."""

from __future__ import annotations

from django.utils.module_loading import import_string

from celeriac.bridge.django.checks import register_checks
from celeriac.bridge.django.project_app import project_app

__all__ = ["DjangosCelery"]

#: Named and not imported, as importing it makes an app.
_DEFAULT_APP = "celeriac.django.celery.app"


class DjangosCelery:
    """Fulfils :class:`celeriac.django.celery_side.CelerySide`."""

    def join(self) -> None:
        if project_app() is None:
            import_string(_DEFAULT_APP)
        register_checks()
