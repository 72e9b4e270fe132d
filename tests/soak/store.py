"""How much a broker and the results beside it keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from redis import Redis

__all__ = ["measure"]


def measure(url: str, folder: Path) -> Mapping[str, int]:
    """Return KiB and, of Redis, keys; of SQLite the size of each file in the folder but the ledger's."""
    return dict(_redis(url) if url.startswith("redis") else _files(folder))


def _redis(url: str) -> Iterator[tuple[str, int]]:
    with closing(Redis.from_url(url)) as client:
        yield "redis memory", client.info("memory")["used_memory"] // 1024
        keys = client.info("keyspace")
        yield "redis keys", sum(one["keys"] for one in keys.values())


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for file in sorted(folder.glob("*.db*")):
        if not file.name.startswith("ledger") and not file.name.endswith("-shm"):
            yield file.name, file.stat().st_size // 1024
