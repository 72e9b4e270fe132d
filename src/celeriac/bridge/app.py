"""The Celery app of Celeriac: ``from celeriac import Celery``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import celery
from celery.utils.time import maybe_iso8601, maybe_make_aware

from celeriac.bridge.configuration import read_settings, single_url
from celeriac.bridge.pools import PoolOption
from celeriac.brokers.connect import scheme_of
from celeriac.core.layer import Layer

__all__ = ["Celery"]

#: kombu transports of ours, by URL scheme; kombu has one of its own for the others.
_TRANSPORTS = {"sqlite": "celeriac.bridge.transport:SqliteTransport"}


class Celery(celery.Celery):
    """A drop-in for ``celery.Celery`` whose worker is Celeriac's engine.

    ``layers`` wrap publishing and running, the first one outermost.
    """

    amqp_cls = "celeriac.bridge.publish:FastAMQP"

    def __init__(self, *args: Any, layers: Sequence[Layer] = (), **kwargs: Any) -> None:
        self.layers: tuple[Layer, ...] = tuple(layers)
        super().__init__(*args, **kwargs)
        self.user_options["worker"].add(PoolOption())

    @cached_property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        """The worker that ``celery worker`` starts."""
        return self.subclass_with_self("celeriac.bridge.worker:Worker", name="Worker")

    def owns_transport(self, url: str) -> bool:
        """Whether messages to ``url`` go through a broker of ours, not a transport set by hand."""
        transport = self.conf.broker_transport
        scheme = scheme_of(url)
        return not transport or transport in (scheme, _TRANSPORTS.get(scheme))

    def due_time(self, eta: Any) -> float | None:
        """Return the Unix seconds of a message's ``eta`` header; None if there is none or it is no time."""
        if eta is None:
            return None
        try:
            moment = maybe_make_aware(maybe_iso8601(eta), self.conf.timezone)
            return float(moment.timestamp())
        except (AttributeError, TypeError, ValueError, OverflowError):
            return None

    def _connection(self, url: Any, *args: Any, transport: Any = None, **kwargs: Any) -> Any:
        if transport is None and not self.conf.broker_transport:
            transport = _TRANSPORTS.get(scheme_of(single_url(url or self.conf.broker_url) or ""))
            if transport is not None:
                # A stock worker on this transport buries what the engine would bury.
                limit = {"max_deliveries": read_settings(self).engine_max_deliveries}
                kwargs["transport_options"] = {**limit, **(kwargs.get("transport_options") or {})}
        return super()._connection(url, *args, transport=transport, **kwargs)

    def __reduce_keys__(self) -> dict[str, Any]:
        return {**super().__reduce_keys__(), "layers": self.layers}
