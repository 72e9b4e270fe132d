"""The Celery app of a Django project that defines none: ``celery -A celeriac.django worker``.

Its settings are Django's, with the prefix ``CELERY_``; every installed app's ``tasks`` module is found.
"""

from __future__ import annotations

import os

from django.conf import settings

from celeriac import Celery
from celeriac.core.errors import ConfigurationError

__all__ = ["app"]


def _project() -> str:
    """Return the package that the settings are in; raise ConfigurationError if nobody says which."""
    named = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    if not named and not settings.configured:
        raise ConfigurationError(
            "no Django project is named: set DJANGO_SETTINGS_MODULE, or write python manage.py celery ..."
        )
    return named.partition(".")[0] or "django"


app = Celery(_project())
app.set_default()  # every thread's, where a Celery app is only current in the thread that made it
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
