"""Celeriac's settings and broker, read from a Celery app's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu.transport import TRANSPORT_ALIASES

from celeriac.brokers.connect import SCHEMES, open_broker, scheme_of
from celeriac.core.broker import Broker
from celeriac.core.errors import ConfigurationError, did_you_mean
from celeriac.core.settings import PREFIXES, Settings

__all__ = ["broker_for", "check_broker", "read_settings", "single_url"]


def read_settings(app: Any) -> Settings:
    """Return the app's Celeriac settings; raise ConfigurationError for a misspelt or bad one.

    With a namespace (``CELERY`` in Django) a setting is ``CELERY_ENGINE_LEASE_SECONDS``; without,
    it is ``engine_lease_seconds``.
    """
    app.conf.finalize()
    namespace = f"{app.namespace.rstrip('_').lower()}_" if app.namespace else ""
    found: dict[str, Any] = {}
    for mapping in reversed(app.conf.maps):
        for key in _names(mapping):
            name = key
            if namespace and key.lower().startswith(namespace):
                name = key[len(namespace) :].lower()
            elif namespace and mapping is app.loader.conf:
                continue  # of the configuration object only this namespace is ours
            if name.startswith(PREFIXES):
                found[name] = mapping[key]
    return Settings.from_mapping(found)


def single_url(url: Any) -> str | None:
    """Return the URL if it names exactly one broker that Celeriac has, else None."""
    if isinstance(url, list | tuple) and len(url) == 1:
        url = url[0]
    if not isinstance(url, str) or ";" in url:
        return None
    return url if scheme_of(url) in SCHEMES else None


def check_broker(app: Any) -> None:
    """Return if the app's broker URL can be used; raise ConfigurationError saying what to change."""
    url = app.conf.broker_read_url
    if (single := single_url(url)) is not None:
        broker_for(app, single).close()
        return
    scheme = scheme_of(url) if isinstance(url, str) else ""
    known = {*SCHEMES, *TRANSPORT_ALIASES}
    if scheme and "+" not in scheme and ":" not in scheme and scheme not in known:
        raise ConfigurationError(f"broker URL {url!r} has no known scheme{did_you_mean(scheme, known)}")


def broker_for(app: Any, url: str) -> Broker:
    """Return a new broker for the URL with the app's transport options."""
    options: dict[str, Any] = dict(app.conf.broker_transport_options or {})
    if isinstance(app.conf.broker_use_ssl, Mapping):
        options["ssl"] = dict(app.conf.broker_use_ssl)
    return open_broker(url, options)


def _names(mapping: Any) -> list[str]:
    return [key for key in mapping if isinstance(key, str)]
