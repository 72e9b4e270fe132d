"""The Celery app that a command's ``-A`` names, and the broker behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery.app.utils import find_app as find_by_name

from celeriac.bridge.configuration import broker_for, single_url
from celeriac.core.broker import Broker
from celeriac.core.errors import ConfigurationError

__all__ = ["broker_of", "find_app"]


def find_app(app: Any) -> Any:
    """Return the app of that name; an app itself is returned as it is.

    Raises :class:`ConfigurationError` if there is none.
    """
    if not app:
        raise ConfigurationError("no app is named: write celeriac -A proj ..., as for the celery command")
    if not isinstance(app, str):
        return app
    try:
        return find_by_name(app)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"cannot load the app {app!r} from {Path.cwd()}: {error}; check the name given to -A"
        ) from None


def broker_of(app: Any) -> Broker:
    """Return a new broker on the app's queues; raise ConfigurationError if Celeriac has none for its URL."""
    url = single_url(app.conf.broker_read_url)
    if url is None:
        raise ConfigurationError(
            f"the broker of {app.main or 'this app'!r} is not one of Celeriac's: set broker_url to one URL,"
            " redis://... or sqlite:///..."
        )
    return broker_for(app, url)
