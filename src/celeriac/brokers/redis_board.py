"""What workers tell of themselves, in Redis, and what Redis tells of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celeriac.core.watch import Memory

__all__ = ["RedisBoard"]


class RedisBoard:
    """Texts by name, each of which is forgotten when its time is up.

    Keys: ``<prefix>posts`` is a zset of names with the Unix seconds at which they are forgotten,
    ``<prefix>post:<name>`` the text.
    """

    def __init__(self, client: Any, prefix: str) -> None:
        """``prefix`` comes before all keys of ours. The methods raise redis-py's errors."""
        self._client = client
        self._names = f"{prefix}posts"
        self._text = f"{prefix}post:"

    def post(self, name: str, text: bytes, keep_for: float) -> None:
        """Keep the text, in place of an earlier one, for so many seconds."""
        now = self._now()
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.zremrangebyscore(self._names, "-inf", now)
            pipeline.zadd(self._names, {name: now + keep_for})
            pipeline.set(f"{self._text}{name}", text, px=int(keep_for * 1000))
            pipeline.execute()

    def posted(self) -> Mapping[str, bytes]:
        """Return what is kept, by name."""
        names = [name.decode() for name in self._client.zrangebyscore(self._names, self._now(), "+inf")]
        if not names:
            return {}
        texts = self._client.mget([f"{self._text}{name}" for name in names])
        return {name: text for name, text in zip(names, texts, strict=True) if text is not None}

    def memory(self) -> Memory:
        """Return what the server takes of its machine's memory."""
        numbers = {**self._client.info("memory"), **self._client.info("stats")}
        return Memory(
            used_bytes=int(numbers["used_memory"]),
            most_bytes=int(numbers.get("maxmemory") or 0) or None,
            evicted_keys=int(numbers.get("evicted_keys") or 0),
        )

    def _now(self) -> float:
        """The server's clock, the only one that all nodes share."""
        seconds, microseconds = self._client.time()
        return float(seconds + microseconds / 1_000_000)
