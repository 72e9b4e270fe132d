"""Locks and gates in Redis, for a fleet on any number of machines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from celeriac.brokers.redis_client import connection_options, open_client, translated
from celeriac.limits.gate import Gate
from celeriac.limits.store import Lock

__all__ = ["RedisStore"]


class RedisStore:
    """Talks to one Redis database; redis-py's connections may be shared by threads and survive a fork."""

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str = "",
        connection: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """``connection`` is for redis-py, ``options`` are kombu's; raise as ``open_client`` does."""
        # Once more, as the server may have closed an idle connection: every verb may be repeated.
        self._redis = open_client(url, connection or {}, options or {}, retries=1)
        self._ours = f"{key_prefix}celeriac:limits:"
        self._scripts = {name: self._redis.register_script(text) for name, text in _load_scripts().items()}

    @classmethod
    def from_options(cls, url: str, options: Mapping[str, Any]) -> RedisStore:
        """Return the store that kombu's URL and ``broker_transport_options`` describe."""
        prefix = options.get("global_keyprefix", "")
        return cls(url, key_prefix=prefix, connection=connection_options(options), options=options)

    def lock(self, locks: Sequence[Lock], now: float | None = None) -> list[str]:
        holders = self._run("lock", _given(now), *_flat(locks)) if locks else ()
        return [str(holder.decode()) for holder in holders]

    def extend(self, locks: Sequence[Lock], now: float | None = None) -> list[bool]:
        return [bool(did) for did in self._run("extend", _given(now), *_flat(locks))] if locks else []

    def unlock(self, locks: Sequence[Lock]) -> list[bool]:
        return [bool(did) for did in self._run("unlock", *_flat(locks))] if locks else []

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
        with translated():
            return self._scripts[script](args=[self._ours, *arguments])


def _given(number: float | None) -> str:
    return "" if number is None else repr(number)


def _flat(locks: Sequence[Lock]) -> list[Any]:
    return [value for lock in locks for value in (lock.key, lock.holder, lock.seconds)]


def _load_scripts() -> dict[str, str]:
    text = files("celeriac.limits").joinpath("redis_store.lua").read_text(encoding="utf-8")
    _, *sections = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    scripts = dict(zip(sections[::2], sections[1::2], strict=True))
    prelude = scripts.pop("prelude")
    return {name: prelude + body for name, body in scripts.items()}
