"""Turns a URL into the store of locks and gates that it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any, Final

from celeriac.brokers.connect import parse_sqlite_url, scheme_of
from celeriac.core.errors import ConfigurationError
from celeriac.limits.memory_store import MemoryStore
from celeriac.limits.redis_store import RedisStore
from celeriac.limits.store import LimitStore

__all__ = ["has_store", "open_store"]


def open_store(url: str, options: Mapping[str, Any] | None = None) -> LimitStore:
    """Return the store for the URL; nothing is connected before its first call.

    ``options`` are Celery's ``broker_transport_options``. A broker's URL names the store beside it.
    Raises :class:`ConfigurationError` for a URL that names no store.
    """
    if not has_store(url):
        raise ConfigurationError(
            f"unique=, max_concurrency= and global_rate_limit= need a store that all processes share, and "
            f"{url!r} is none: set limits_url to a redis:// or sqlite:// URL"
        )
    return _STORES[scheme_of(url)](url, options or {})


def has_store(url: str) -> bool:
    """Whether the URL names a store: one, which several sentinels may watch over."""
    schemes = {scheme_of(part) for part in url.split(";")}
    return len(schemes) == 1 and schemes <= (_WATCHED if ";" in url else _STORES.keys())


def _open_sqlite(url: str, _options: Mapping[str, Any]) -> LimitStore:
    address = parse_sqlite_url(url)
    # Imported where it is used: SQLite takes a megabyte that a worker on another store has no use for.
    kind = resolve_name("celeriac.limits.sqlite_store:SqliteStore")
    store: LimitStore = kind(address.path.with_name(f"{address.path.name}.limits"))
    return store


def _open_memory(_url: str, _options: Mapping[str, Any]) -> LimitStore:
    return MemoryStore()


_STORES: Final[Mapping[str, Callable[[str, Mapping[str, Any]], LimitStore]]] = {
    "redis": RedisStore.from_options,
    "rediss": RedisStore.from_options,
    "redis+socket": RedisStore.from_options,
    "sentinel": RedisStore.from_options,
    "sqlite": _open_sqlite,
    "memory": _open_memory,
}
#: Of URLs that may be joined by semicolons.
_WATCHED: Final = frozenset({"sentinel"})
