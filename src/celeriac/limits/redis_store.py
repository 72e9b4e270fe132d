"""Locks and gates in Redis, for a fleet on any number of machines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from celeriac.core.errors import BrokerError, BrokerUnavailable, ConfigurationError, MissingExtra
from celeriac.limits.gate import Gate

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:  # pragma: no cover - shown by the test of the bare wheel
    _missing: ImportError | None = error
else:
    _missing = None

__all__ = ["RedisStore", "unix_url"]

#: Options of kombu's transport that redis-py's connections take under the same name.
_CONNECTION_OPTIONS: Final = ("client_name", "socket_connect_timeout", "socket_keepalive", "socket_timeout")
#: Seconds for which a call waits for an answer, unless the options say otherwise.
_PATIENCE: Final = 5


class RedisStore:
    """Talks to one Redis database; redis-py's connections may be shared by threads and survive a fork."""

    def __init__(
        self, url: str, *, key_prefix: str = "", connection_options: Mapping[str, Any] | None = None
    ) -> None:
        """Raise :class:`MissingExtra` without redis-py, :class:`ConfigurationError` for a bad URL."""
        if _missing is not None:
            raise MissingExtra("redis", "redis")
        patience = {"socket_connect_timeout": _PATIENCE, "socket_timeout": _PATIENCE}
        try:
            # Once more, as the server may have closed an idle connection: every verb may be repeated.
            self._redis = redis.Redis.from_url(
                url, retry=Retry(NoBackoff(), 1), **{**patience, **(connection_options or {})}
            )
        except ValueError as error:
            raise ConfigurationError(f"{url!r} is not a Redis URL: {error}") from None
        self._ours = f"{key_prefix}celeriac:limits:"
        self._scripts = {name: self._redis.register_script(text) for name, text in _load_scripts().items()}

    @classmethod
    def from_options(cls, url: str, options: Mapping[str, Any]) -> RedisStore:
        """Return the store that redis-py's URL and ``broker_transport_options`` describe."""
        connection = {name: options[name] for name in _CONNECTION_OPTIONS if name in options}
        if not url.startswith("unix:"):
            connection.setdefault("socket_keepalive", True)
            connection |= options.get("ssl") or {}
        prefix = options.get("global_keyprefix", "")
        return cls(url, key_prefix=prefix, connection_options=connection)

    def lock(self, key: str, holder: str, seconds: float, now: float | None = None) -> str:
        return str(self._run("lock", key, holder, seconds, _given(now)).decode())

    def extend(self, key: str, holder: str, seconds: float, now: float | None = None) -> bool:
        return bool(self._run("extend", key, holder, seconds, _given(now)))

    def unlock(self, key: str, holder: str) -> bool:
        return bool(self._run("unlock", key, holder))

    def enter(
        self, gates: Sequence[Gate], task_id: str, *, chance: float, now: float | None = None
    ) -> float | None:
        described: list[Any] = []
        for gate in gates:
            described += (gate.key, gate.limit, _given(gate.window), gate.lease)
        due = self._run("enter", task_id, chance, _given(now), *described)
        return None if due is None else float(due)

    def renew(self, keys: Sequence[str], task_id: str, seconds: float, now: float | None = None) -> None:
        self._run("renew", task_id, seconds, _given(now), *keys)

    def leave(self, keys: Sequence[str], task_id: str, now: float | None = None) -> None:
        self._run("leave", task_id, _given(now), *keys)

    def close(self) -> None:
        self._redis.close()

    def _run(self, script: str, *arguments: Any) -> Any:
        with _translated():
            return self._scripts[script](args=[self._ours, *arguments])


def _given(number: float | None) -> str:
    return "" if number is None else repr(number)


def unix_url(url: str) -> str:
    """kombu's ``redis+socket:///path?virtual_host=1`` as redis-py writes it."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if "virtual_host" in query:
        query["db"] = query.pop("virtual_host")
    return f"unix://{parts.netloc}{parts.path}?{urlencode(query)}"


def _load_scripts() -> dict[str, str]:
    text = files("celeriac.limits").joinpath("redis_store.lua").read_text(encoding="utf-8")
    _, *sections = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    scripts = dict(zip(sections[::2], sections[1::2], strict=True))
    prelude = scripts.pop("prelude")
    return {name: prelude + body for name, body in scripts.items()}


@contextmanager
def _translated() -> Iterator[None]:
    """Turns redis-py's errors into ours, here and nowhere else."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError) as error:
        raise BrokerUnavailable(f"Redis does not answer: {error}") from error
    except redis.RedisError as error:
        raise BrokerError(f"Redis refused: {error}") from error
