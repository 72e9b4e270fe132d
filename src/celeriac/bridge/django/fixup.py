"""What Celery calls for every app that is made, to find out whether it belongs to a Django project."""

from __future__ import annotations

from typing import Any

from celery.fixups import django as stock
from celery.utils.imports import symbol_by_name

__all__ = ["fixup"]

_FRAMEWORK = "celeriac.bridge.django.framework:DjangoFramework"


def fixup(app: Any, env: str = "DJANGO_SETTINGS_MODULE") -> Any:
    """The app knows its Django project, if the environment names one; return Celery's own fix-up, or None.

    Named and not imported, as Django is optional.
    """
    found = stock.fixup(app, env)
    if found is not None:
        symbol_by_name(_FRAMEWORK)(app)
    return found
