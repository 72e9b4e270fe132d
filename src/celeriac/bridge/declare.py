"""The exchanges and bindings of a worker's queues, for producers that name only an exchange."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["declare_queues"]


def declare_queues(connection: Any, queues: Iterable[Any]) -> None:
    """What is sent to the queues' exchanges reaches them from now on; raises as the connection does."""
    with connection.channel() as channel:
        for queue in queues:
            queue(channel).declare()
