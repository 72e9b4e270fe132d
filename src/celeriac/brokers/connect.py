"""Turns a broker URL into a broker; the only place that knows all of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from celeriac.core.broker import Broker
from celeriac.core.errors import ConfigurationError, did_you_mean

__all__ = ["SCHEMES", "SqliteAddress", "open_broker", "parse_sqlite_url", "scheme_of"]

#: URL schemes of brokers that several processes can share.
SCHEMES = ("redis", "rediss", "redis+socket", "sentinel", "sqlite")

#: Where the brokers are: a worker imports the one it uses, as all its processes hold what it imports.
_REDIS, _SQLITE = "celeriac.brokers.redis:RedisBroker", "celeriac.brokers.sqlite:SqliteBroker"
_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")


class SqliteAddress(msgspec.Struct, frozen=True):
    """Where an SQLite broker's file lies and how eagerly it is flushed to disk."""

    path: Path
    synchronous: str = "NORMAL"


def scheme_of(url: str) -> str:
    """Return the URL's scheme in lower case, an empty string if it has none."""
    return url.partition("://")[0].lower() if "://" in url else ""


def open_broker(url: str, options: Mapping[str, Any] | None = None) -> Broker:
    """Return the broker for the URL; nothing is connected before its first call.

    ``options`` are Celery's ``broker_transport_options``. Raises :class:`ConfigurationError` for a
    URL that names no broker of ours.
    """
    try:
        return _open(url, options or {})
    except ValueError as error:  # Python's own, for brackets, ports and characters that no URL has
        raise ConfigurationError(f"broker URL {url!r} cannot be read: {error}") from None


def _open(url: str, options: Mapping[str, Any]) -> Broker:
    scheme = scheme_of(url)
    if scheme == "sqlite":
        address = parse_sqlite_url(url)
        _check_folder(address.path)
        on_file: Broker = resolve_name(_SQLITE)(address.path, synchronous=address.synchronous)
        return on_file
    if scheme in SCHEMES:
        on_server: Broker = resolve_name(_REDIS).from_options(url, options)
        return on_server
    raise ConfigurationError(
        f"broker URL {url!r} has no known scheme{did_you_mean(scheme, SCHEMES)} (known: {', '.join(SCHEMES)})"
    )


def _check_folder(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise ConfigurationError(
            f"the folder {folder} of the broker's file {path.name} does not exist: create it"
        )
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise ConfigurationError(
            f"the broker's file {path} cannot be written: change its permissions or the URL"
        )


def parse_sqlite_url(url: str) -> SqliteAddress:
    """Return what ``sqlite:///relative.db`` or ``sqlite:////absolute.db`` points to.

    ``?synchronous=FULL`` makes every accepted message survive a power failure too. Raises
    :class:`ConfigurationError` for anything else.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme != "sqlite" or parts.netloc or not path.strip("/"):
        raise ConfigurationError(
            f"{url!r} is not an SQLite URL: write sqlite:///file.db, or sqlite:////folder/file.db"
        )
    query = dict(parse_qsl(parts.query))
    synchronous = query.pop("synchronous", "NORMAL").upper()
    if query:
        unknown = next(iter(query))
        raise ConfigurationError(
            f"unknown option {unknown!r} in {url!r}{did_you_mean(unknown, ['synchronous'])}"
        )
    if synchronous not in _SYNCHRONOUS:
        raise ConfigurationError(f"synchronous in {url!r} must be one of {', '.join(_SYNCHRONOUS)}")
    return SqliteAddress(Path(path[1:]), synchronous)
