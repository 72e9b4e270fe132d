"""Turns kombu's Redis URLs and transport options into a client of redis-py, with time-outs throughout."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from celeriac.core.errors import BrokerError, BrokerUnavailable, ConfigurationError, MissingExtra

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.exceptions import MasterDownError, OutOfMemoryError
    from redis.retry import Retry
    from redis.sentinel import Sentinel, SentinelManagedSSLConnection
except ImportError as error:  # pragma: no cover - shown by the test of the bare wheel
    _missing: ImportError | None = error
else:
    _missing = None
try:
    from redis.driver_info import DriverInfo
except ImportError:  # redis-py before 7.2 reads its own version once
    DriverInfo = None  # type: ignore[assignment, misc]

__all__ = [
    "PATIENCE",
    "client_on",
    "connection_options",
    "open_client",
    "refusal",
    "script_unknown",
    "translated",
]

#: Seconds to wait for a connection, and for an answer: a connection that is only half open, because a
#: machine or a firewall in between has forgotten it, gives neither an answer nor an error.
CONNECT_PATIENCE, PATIENCE = 5.0, 10.0
#: Options of kombu's transport that redis-py's connections take under the same name.
_SAME_NAME = ("client_name", "socket_connect_timeout", "socket_keepalive", "socket_timeout")
#: How Redis begins to refuse what it may accept later: the disk is full, a replica away, a script long.
_LATER = ("MISCONF ", "NOREPLICAS ", "BUSY ")
_CREDENTIALS = (("userid", "username"), ("password", "password"))
_SENTINEL_PORT = 26379
_CERT_REQS = {"CERT_NONE": "none", "CERT_OPTIONAL": "optional", "CERT_REQUIRED": "required"}


def connection_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what kombu's transport options (and ``userid``, ``password``, ``ssl``) mean to a connection."""
    found = {name: options[name] for name in _SAME_NAME if options.get(name) is not None}
    found |= {name: options[key] for key, name in _CREDENTIALS if options.get(key)}
    return found | dict(options.get("ssl") or {})


def open_client(
    url: str, connection: Mapping[str, Any], options: Mapping[str, Any], *, retries: int = 0
) -> Any:
    """Return a client; nothing is connected before its first command.

    What the URL says goes before ``connection``, redis-py's own options. ``options`` are kombu's, of
    which Sentinel has some. A command that may be sent twice can be tried again, on a new connection,
    ``retries`` times. Raises :class:`MissingExtra` without redis-py,
    :class:`ConfigurationError` for a URL that cannot be used.
    """
    if _missing is not None:
        raise MissingExtra("redis", "redis")
    kwargs = {"socket_connect_timeout": CONNECT_PATIENCE, "socket_timeout": PATIENCE, **connection}
    # By itself redis-py would send a claim twice behind our back.
    kwargs["retry"] = Retry(NoBackoff(), retries)
    if DriverInfo is not None:  # or each new connection would parse the metadata of its package
        kwargs["driver_info"] = DriverInfo()
    try:
        if url.startswith("sentinel://"):
            return _sentinel_client(url, kwargs, options)
        if url.startswith("redis+socket://"):
            return redis.Redis.from_url(_unix_url(url), **kwargs)
        kwargs.setdefault("socket_keepalive", True)
        return redis.Redis.from_url(_tls_url(url, kwargs), **kwargs)
    except ValueError as error:
        raise ConfigurationError(f"{url!r} is not a Redis URL: {error}") from None


def _unix_url(url: str) -> str:
    """kombu's ``redis+socket:///path?virtual_host=1`` as redis-py writes it."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if "virtual_host" in query:
        query["db"] = query.pop("virtual_host")
    return _joined("unix", parts, query)


def _tls_url(url: str, kwargs: dict[str, Any]) -> str:
    """The URL as redis-py takes it, with kombu's names and defaults for TLS."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if "ssl_cert_reqs" in query:
        query["ssl_cert_reqs"] = _CERT_REQS.get(query["ssl_cert_reqs"], query["ssl_cert_reqs"])
    scheme = parts.scheme
    if any(name.startswith("ssl_") for name in (*kwargs, *query)):
        scheme = "rediss"
    elif scheme == "rediss":
        query["ssl_cert_reqs"] = "none"  # as kombu has it, which warns of it
    return _joined(scheme, parts, query)


def _joined(scheme: str, parts: SplitResult, query: Mapping[str, str]) -> str:
    """The URL with its two slashes, which the standard library leaves out where no host is named."""
    return f"{scheme}://{parts.netloc}{parts.path}" + (f"?{urlencode(query)}" if query else "")


def _sentinel_client(url: str, kwargs: dict[str, Any], options: Mapping[str, Any]) -> Any:
    """Return a client of the master that the sentinels named in the URL agree upon."""
    name = options.get("master_name")
    if not name:
        raise ConfigurationError(
            "a sentinel:// broker needs the name of its master: broker_transport_options = "
            '{"master_name": "mymaster"}'
        )
    places = [urlsplit(part) for part in url.split(";")]
    for key in ("username", "password"):
        if given := getattr(places[0], key):
            kwargs[key] = unquote(given)
    if path := places[0].path.strip("/"):
        kwargs["db"] = int(path)
    if any(key.startswith("ssl_") for key in kwargs):
        kwargs["connection_class"] = SentinelManagedSSLConnection
    sentinels: Any = Sentinel(  # type: ignore[no-untyped-call]
        [(place.hostname or "localhost", place.port or _SENTINEL_PORT) for place in places],
        min_other_sentinels=options.get("min_other_sentinels", 0),
        sentinel_kwargs=options.get("sentinel_kwargs"),
        **kwargs,
    )
    return sentinels.master_for(name)


def client_on(pool: Any) -> Any:
    """Return a client that shares somebody else's connections."""
    return redis.Redis(connection_pool=pool)


def refusal() -> type[Exception]:
    """Return the error with which a server refuses a command."""
    return redis.ResponseError


def script_unknown() -> type[Exception]:
    """Return the error with which a server says that it does not know a script."""
    return redis.exceptions.NoScriptError


class translated:  # noqa: N801 - read as a verb, as the standard library's context managers are
    """Turns redis-py's errors into ours, here and nowhere else."""

    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is not None and isinstance(error, redis.RedisError):
            raise _in_our_words(error) from error


def _in_our_words(error: Exception) -> BrokerError:
    if isinstance(error, redis.ConnectionError | redis.TimeoutError | redis.ReadOnlyError):
        return BrokerUnavailable(f"Redis does not answer: {error}")
    if isinstance(error, OutOfMemoryError | MasterDownError) or str(error).startswith(_LATER):
        return BrokerUnavailable(f"Redis refuses for now: {error}")
    return BrokerError(f"Redis refused: {error}")
