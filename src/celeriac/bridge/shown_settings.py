"""The configuration as people may see it, passwords masked; Celery can only do so for kombu's transports."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celery.app.utils import bugreport, filter_hidden_settings
from celery.utils.text import pretty

__all__ = ["bug_report", "shown_settings"]

_BROKER_URLS = ("broker_url", "broker_read_url", "broker_write_url")


def shown_settings(app: Any, *, with_defaults: bool = False) -> dict[str, Any]:
    """Return the settings by name, those that were changed or all of them."""
    settings = app.conf.table(with_defaults=with_defaults, censored=False)
    urls = {
        name: app.connection(settings.pop(name)).as_uri(mask="*" * 8)
        for name in _BROKER_URLS
        if settings.get(name)
    }
    return {**filter_hidden_settings(settings), **urls}


def bug_report(app: Any) -> str:
    """Return what ``celery report`` prints."""

    def humanize() -> str:
        return "\n".join(f"{key}: {pretty(value, width=50)}" for key, value in shown_settings(app).items())

    conf = SimpleNamespace(result_backend=app.conf.result_backend, humanize=humanize)
    return str(bugreport(SimpleNamespace(connection=app.connection, conf=conf, loader=app.loader)))
