"""kombu's connection, for which a queue in Redis has delayed messages as well as waiting ones."""

from __future__ import annotations

from functools import cache
from typing import Any

from kombu.connection import Connection

from celeriac.brokers.redis import drop_delayed
from celeriac.brokers.redis_client import client_on

__all__ = ["AppConnection"]


class AppConnection(Connection):
    """What a Celeriac app connects with, under the same names as with Celery."""

    def get_transport_cls(self) -> Any:
        transport = super().get_transport_cls()
        has_lists = hasattr(getattr(transport, "Channel", None), "_q_for_pri")
        return _with_delayed(transport) if has_lists else transport


class _DelayedToo:
    """Part of a channel: purging a queue drops what waits there for its time too."""

    def _purge(self, queue: str) -> int:
        channel: Any = self
        waiting: int = super()._purge(queue)  # type: ignore[misc]
        prefix = channel.global_keyprefix or ""
        sources = [f"{prefix}{channel._q_for_pri(queue, step)}" for step in channel.priority_steps]
        # The channel's own client puts the prefix before keys, and not before those of every command.
        return waiting + drop_delayed(client_on(channel.pool), prefix, sources)


@cache
def _with_delayed(transport: Any) -> Any:
    """Return the transport, kombu's own or one of its subclasses, with such a channel."""
    channel = type(transport.Channel.__name__, (_DelayedToo, transport.Channel), {})
    return type(transport.__name__, (transport,), {"Channel": channel})
