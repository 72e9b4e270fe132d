"""What Celery calls for every app that is made, to find out whether it belongs to a Django project."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from celery.fixups import django as stock
from celery.utils.imports import symbol_by_name

__all__ = ["fixup"]

#: Named and not imported, as Django is optional.
_FRAMEWORK = "celeriac.bridge.django.framework:DjangoFramework"
_CONNECTIONS = "celeriac.bridge.django.connections:WorkerConnections"


def fixup(app: Any, env: str = "DJANGO_SETTINGS_MODULE") -> Any:
    """The app knows its Django project, if the environment names one; return what is attached to it."""
    if not os.environ.get(env) or "django" in app.loader_cls.lower() or find_spec("django") is None:
        return stock.fixup(app, env)
    found = _DjangoFixup(app).install()
    symbol_by_name(_FRAMEWORK)(app)
    return found


class _DjangoFixup(stock.DjangoFixup):
    """Celery's own, whose workers deal in another way with the database."""

    _worker_fixup: Any

    @property
    def worker_fixup(self) -> Any:
        """Made late, as it reads the configuration."""
        if self._worker_fixup is None:
            self._worker_fixup = symbol_by_name(_CONNECTIONS)(self.app)
        return self._worker_fixup
