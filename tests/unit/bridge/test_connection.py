"""Only Redis queues have delayed messages of ours; every other transport stays what it is."""

from __future__ import annotations

import pytest
from kombu import Connection
from kombu.transport import get_transport_cls

from celeriac import Celery


@pytest.mark.parametrize("url", ["amqp://guest@host//", "memory://", "filesystem://"])
def test_other_transports_are_left_alone(url: str) -> None:
    connection = Celery(broker=url, set_as_current=False).connection_for_write()
    assert connection.get_transport_cls() is Connection(url).get_transport_cls()


@pytest.mark.parametrize("url", ["redis://host/0", "rediss://host/0", "sentinel://a:1;sentinel://b:2"])
def test_redis_is_kombus_own_transport_with_more_to_purge(url: str) -> None:
    connection = Celery(broker=url, set_as_current=False).connection_for_write()
    scheme = url.partition(":")[0]
    assert connection.transport_cls == scheme
    assert issubclass(connection.get_transport_cls(), get_transport_cls(scheme))
    assert connection.clone().get_transport_cls() is connection.get_transport_cls()
