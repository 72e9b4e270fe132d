"""What the harness asks of a contender's module: an object named ``adapter`` with these methods."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["Adapter", "Arguments", "do_nothing"]

Arguments = tuple[Any, ...]


def do_nothing() -> None:
    """Stand where nobody wants to know."""


class Adapter(ABC):
    """Enqueues by the library's own calls; a library without threads overrides the loops as well."""

    #: Does ``enqueue_many`` put each message into the broker as an element of one plain list?
    bulk_is_list = False

    def connect(self) -> None:
        """Do what the library asks of a program that only enqueues, before its first call."""
        return

    @abstractmethod
    def enqueue(self, task: str, *arguments: Any) -> Any:
        """Send one task in the usual way; return what one waits on for its result."""

    @abstractmethod
    def enqueue_many(self, task: str, calls: Sequence[Arguments]) -> None:
        """Send many tasks in the quickest way that the library documents."""

    @abstractmethod
    def wait_for(self, handle: Any) -> Any:
        """Return the result, waiting in the quickest way that the library documents."""

    def enqueue_each(
        self, task: str, calls: Iterable[Arguments], after_each: Callable[[], None] = do_nothing
    ) -> None:
        """Send tasks one by one, each when the one before has been accepted."""
        for arguments in calls:
            self.enqueue(task, *arguments)
            after_each()

    def round_trips(self, count: int, seconds: float) -> list[float]:
        """Return how long each task took from the call to its result; end early after ``seconds``."""
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while len(taken) < count and (start := time.perf_counter()) < end:
            self.wait_for(self.enqueue("noop"))
            taken.append(time.perf_counter() - start)
        return taken
