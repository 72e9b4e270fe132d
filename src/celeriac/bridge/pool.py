"""The engine's shards as the pool that Celery's remote control changes."""

from __future__ import annotations

from typing import Any

__all__ = ["EnginePool"]


class EnginePool:
    """Stands where Celery has its pool: ``worker.pool`` and ``state.consumer.pool``."""

    signal_safe = True
    is_green = False

    def __init__(self, engine: Any, name: str, options: dict[str, Any]) -> None:
        """``options`` are shown to those who ask."""
        self._engine = engine
        self._name = name
        self._options = options

    @property
    def num_processes(self) -> int:
        """How many shards there are to be."""
        return int(self._engine.count)

    @property
    def info(self) -> dict[str, Any]:
        """What ``inspect stats`` says of the pool."""
        return {
            "implementation": f"celeriac:{self._name}",
            "max-concurrency": self.num_processes,
            "processes": self._engine.pids(),
            "put-guarded-by-semaphore": False,
            "writes": "N/A",
            **self._options,
        }

    def grow(self, n: int = 1) -> None:
        """Start ``n`` more shards."""
        self._engine.resize(self.num_processes + n)

    def shrink(self, n: int = 1) -> None:
        """Let ``n`` shards finish what they run and end; at least one stays."""
        if self.num_processes - n < 1:
            raise ValueError(f"cannot shrink the pool by {n}: it has {self.num_processes}, and one must stay")
        self._engine.resize(self.num_processes - n)

    def restart(self) -> None:
        """Replace every shard once it has finished what it runs."""
        self._engine.restart()
