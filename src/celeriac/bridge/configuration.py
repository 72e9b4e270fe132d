"""Celeriac's settings and broker, read from a Celery app's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kombu.transport import TRANSPORT_ALIASES

from celeriac.brokers.connect import SCHEMES, open_broker, scheme_of
from celeriac.core.broker import Broker
from celeriac.core.errors import ConfigurationError, did_you_mean
from celeriac.core.settings import PREFIXES, Settings

__all__ = [
    "broker_for",
    "broker_options",
    "check_broker",
    "named_settings",
    "read_settings",
    "single_url",
    "transport_options",
]


def read_settings(app: Any) -> Settings:
    """Return the app's Celeriac settings; raise ConfigurationError for a misspelt or bad one.

    With a namespace (``CELERY`` in Django) a setting is ``CELERY_ENGINE_LEASE_SECONDS``; without,
    it is ``engine_lease_seconds``.
    """
    return Settings.from_mapping(named_settings(app, lambda name: name.startswith(PREFIXES)))


def named_settings(app: Any, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """Return what the app's configuration says of every wanted name, in lower case and without namespace."""
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
            if wanted(name):
                found[name] = mapping[key]
    return found


def single_url(url: Any) -> str | None:
    """Return the URL if it names exactly one broker that Celeriac has, else None.

    Several sentinels watch over one broker: they are joined by semicolons.
    """
    parts = ";".join(url) if _is_list_of_text(url) else url
    if not isinstance(parts, str) or not parts:
        return None
    schemes = {scheme_of(part) for part in parts.split(";")}
    if ";" in parts and schemes != {"sentinel"}:
        return None
    return parts if schemes <= set(SCHEMES) else None


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


def broker_for(app: Any, url: str, more: Mapping[str, Any] | None = None) -> Broker:
    """Return a new broker for the URL with the app's transport options, and a worker's time-outs.

    ``more`` are options that go before these.
    """
    return open_broker(url, {**broker_options(app), **(more or {})})


def broker_options(app: Any) -> dict[str, Any]:
    """Return how the app's broker is to be connected to, besides its URL."""
    options = transport_options(app)
    options |= {"userid": app.conf.broker_user, "password": app.conf.broker_password}
    if isinstance(app.conf.broker_use_ssl, Mapping):
        options["ssl"] = dict(app.conf.broker_use_ssl)
    return options


def transport_options(app: Any) -> dict[str, Any]:
    """Return the app's transport options, and a worker's time-outs: what holds for any server."""
    return {**getattr(app, "time_outs", {}), **(app.conf.broker_transport_options or {})}


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)


def _names(mapping: Any) -> list[str]:
    return [key for key in mapping if isinstance(key, str)]
