"""kombu on an SQLite file: for producers, remote control, events, beat and Celery's stock worker.

The messages are the engine's, in the same broker. A stock worker holds leases too, so what a killed
one was running goes back to its queue.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from queue import Empty
from typing import Any, Final

from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu.log import get_logger
from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments
from kombu.utils.json import dumps, loads

from celeriac.bridge.consumer_leases import ConsumerLeases, Rounds, Settlement
from celeriac.brokers.connect import parse_sqlite_url
from celeriac.brokers.sqlite import SqliteBroker
from celeriac.core.errors import BrokerError, BrokerUnavailable, ConfigurationError
from celeriac.core.lease import Lease
from celeriac.core.message import Message

__all__ = ["SqliteChannel", "SqliteTransport"]

logger = get_logger(__name__)

#: Seconds a lease lasts unless renewed. Longer than the engine's, whose supervisor renews from a
#: process of its own: here a task that keeps the interpreter's lock for long holds up the renewal.
LEASE_SECONDS: Final = 30.0
#: Deliveries a message gets when its worker dies each time, before it is buried.
MAX_DELIVERIES: Final = 5
#: Seconds between two rounds of looking after leases and queues, at most.
ROUND: Final = 1.0
#: Seconds of one wait for messages.
WAIT: Final = 10.0
#: The same with a full prefetch window, which another thread's acknowledgement may open at any time:
#: at least, at most, and as a share of the time waited.
FULL_FIRST, FULL_LAST, FULL_SHARE = 0.002, 0.1, 0.05
#: Seconds of a caller's timeout that are too few to tell whether ``wait`` returned early.
HURRY: Final = 0.05
#: Seconds without a consumer after which an auto-delete queue without ``x-expires`` is forgotten.
AUTO_DELETE_AFTER: Final = 60.0


class LeaseQoS(virtual.QoS):
    """Settles leases as messages are acknowledged, rejected or let go of; by whatever thread."""

    def __init__(self, channel: SqliteChannel, prefetch_count: int = 0) -> None:
        super().__init__(channel, prefetch_count)
        # Kept here because a task may end after its channel was closed and lost its connection.
        self._transport: SqliteTransport = channel.connection

    def ack(self, delivery_tag: str) -> None:
        self._transport.settle("ack", delivery_tag)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self._transport.settle("release" if requeue else "bury", delivery_tag)
        super().ack(delivery_tag)

    def restore_unacked(self) -> list[Any]:
        """All messages not acknowledged are back in their queues, or will be when their lease ends."""
        self._flush()
        for delivery_tag in reversed(self._delivered):
            self._transport.settle("release", delivery_tag)
        self._delivered.clear()
        return []


class SqliteChannel(virtual.Channel):
    """Queues, bindings and messages of one kombu channel, all kept in the transport's broker."""

    QoS = LeaseQoS
    supports_fanout = True

    def __init__(self, connection: SqliteTransport, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._auto_delete: set[str] = set()

    # -- Publishing

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        self._send([queue], message)

    def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: str, **_: Any) -> None:
        self._send(self._lookup(exchange, routing_key), message)

    def _send(self, queues: Iterable[str], message: dict[str, Any]) -> None:
        payload = dumps(message).encode("utf-8")
        priority = self._get_message_priority(message)
        due = _due_time(message.get("headers"))
        self.connection.broker.send(
            [Message(queue=queue, payload=payload, priority=priority, due=due) for queue in queues]
        )

    # -- Queues and bindings

    def prepare_queue_arguments(self, arguments: Any, **kwargs: Any) -> Any:
        return to_rabbitmq_queue_arguments(arguments, **kwargs)

    def _new_queue(
        self, queue: str, auto_delete: bool = False, arguments: dict[str, Any] | None = None, **_: Any
    ) -> None:
        milliseconds = (arguments or {}).get("x-expires")
        if milliseconds is not None:
            self.connection.expire_queue(queue, float(milliseconds) / 1000)
        elif auto_delete:
            self.connection.expire_queue(queue, AUTO_DELETE_AFTER)
        if auto_delete:
            self._auto_delete.add(queue)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        self.connection.bind(queue, (exchange, routing_key or "", pattern or ""))

    def get_table(self, exchange: str) -> Any:
        return self.connection.broker.bindings(exchange)

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **_: Any) -> None:  # noqa: ARG002 - who else uses it is not known
        """The queue is forgotten with its messages and bindings."""
        if if_empty and self._size(queue):
            return
        self.connection.forget_queue(queue)
        self.state.queue_bindings_delete(queue)
        self._auto_delete.discard(queue)

    def _size(self, queue: str) -> int:
        return int(self.connection.broker.stats([queue])[queue].ready)

    def _purge(self, queue: str) -> int:
        return int(self.connection.broker.purge([queue]))

    # -- Consuming

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002 - kombu's signature
        return self.connection.next_message([queue])[1]

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if message is not None and no_ack:
            self.connection.settle("ack", message.delivery_tag)
        return message

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> None:
        super().basic_consume(queue, no_ack, *args, **kwargs)
        self.connection.consuming(queue, no_ack)

    def basic_cancel(self, consumer_tag: str) -> None:
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue in self._auto_delete and queue not in self._active_queues:
            try:
                self.queue_delete(queue)
            except BrokerUnavailable as error:
                logger.warning("queue %s will expire instead of being deleted: %s", queue, error)


class SqliteTransport(virtual.Transport):
    """One kombu connection: a broker, and the leases taken through it.

    Transport options: ``lease_seconds`` (defaults to 30) and ``max_deliveries`` (defaults to 5).
    Raises :class:`~celeriac.core.errors.ConfigurationError` for a wrong URL or option.
    """

    Channel = SqliteChannel
    can_parse_url = True
    driver_type = "sqlite"
    driver_name = "sqlite3"
    implements = virtual.Transport.implements.extend(exchange_type=frozenset({"direct", "topic", "fanout"}))
    connection_errors: Any = (*virtual.Transport.connection_errors, BrokerUnavailable)
    recoverable_connection_errors = connection_errors
    channel_errors: Any = (*virtual.Transport.channel_errors, BrokerError)
    recoverable_channel_errors = virtual.Transport.channel_errors

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self._address = parse_sqlite_url(client.hostname)
        lease_for = _option(client.transport_options, "lease_seconds", LEASE_SECONDS, 0.1)
        self._leases = ConsumerLeases(lease_for)
        self._max_deliveries = int(_option(client.transport_options, "max_deliveries", MAX_DELIVERIES, 1))
        self._without_ack: set[str] = set()
        self._lock = threading.RLock()
        self._expiries: dict[str, float] = {}
        self._bindings: dict[str, set[tuple[str, str, str]]] = {}
        self._turns: dict[str, int] = {}
        self._tended_at: dict[str, float] = {}
        self._rounds = Rounds(self._tend, min(ROUND, lease_for / 3))

    @cached_property
    def broker(self) -> SqliteBroker:
        """The broker of all threads: an SqliteBroker, unlike others, may be shared by them."""
        return SqliteBroker(self._address.path, synchronous=self._address.synchronous)

    def driver_version(self) -> str:
        return sqlite3.sqlite_version

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:  # noqa: ARG002 - a file has no password
        return uri

    def establish_connection(self) -> Any:
        self.broker.stats([])  # raises now if the file cannot be used
        return super().establish_connection()

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        self._rounds.stop()
        self.broker.close()

    # -- Consuming

    def next_message(self, queues: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """Return a queue and its next message, now leased; raise Empty if there is none."""
        lease = self._leases.claim(self.broker, queues)
        if lease is None:
            raise Empty
        self._rounds.start()
        try:
            message = _received(lease)
            virtual.Message(message, channel=self.channels[0])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            logger.error("a message of queue %s is buried, it is not kombu's: %r", lease.message.queue, error)
            self.settle("bury", lease.id)
            raise Empty from None
        return lease.message.queue, message

    def settle(self, how: Settlement, delivery_tag: str) -> None:
        """The message is done, back or buried."""
        self._leases.settle(self.broker, how, delivery_tag)

    def consuming(self, queue: str, no_ack: bool) -> None:
        """The queue has a consumer from now on."""
        (self._without_ack.add if no_ack else self._without_ack.discard)(queue)
        self._rounds.start()

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:  # noqa: ARG002 - kombu's signature
        """One message has been delivered; raise socket.timeout if none came in ``timeout`` seconds."""
        started = time.monotonic()
        deadline = started + (math.inf if timeout is None else timeout)
        while True:
            queues, full = self._open_queues()
            now = time.monotonic()
            limit = min(max(FULL_FIRST, (now - started) * FULL_SHARE), FULL_LAST) if full else WAIT
            patience = max(0.0, min(deadline - now, limit))
            if queues:
                self.broker.wait(queues, patience)
            else:
                time.sleep(patience)
            # A claim writes, and so wakes all others: only when ``wait`` seems to have seen something.
            came_early = time.monotonic() < now + patience
            hurried = deadline - now < HURRY
            if queues and (came_early or hurried) and self._deliver_one(queues):
                return
            if time.monotonic() >= deadline:
                raise TimeoutError

    def _deliver_one(self, queues: Sequence[str]) -> bool:
        try:
            queue, message = self.next_message(queues)
        except Empty:
            return False
        self._turns[queue] = max(self._turns.values(), default=0) + 1
        if queue in self._without_ack:
            self.settle("ack", message["properties"]["delivery_tag"])
        self._deliver(message, queue)
        return True

    def _open_queues(self) -> tuple[list[str], bool]:
        """Return the queues to claim from, the one longest unserved first; and if any must not be."""
        consuming = [channel for channel in self.channels if channel._active_queues]
        ready = [channel for channel in consuming if channel.qos.can_consume()]
        queues = {queue for channel in ready for queue in channel._active_queues}
        return sorted(queues, key=lambda queue: self._turns.get(queue, 0)), len(ready) < len(consuming)

    # -- Looked after by a thread of its own, as the consumer may be busy with a task

    def expire_queue(self, queue: str, after: float) -> None:
        """The queue is forgotten once nobody consumed from it for ``after`` seconds."""
        with self._lock:
            self._expiries[queue] = after
            self._rounds.hasten(after / 3)
            self.broker.expire_queue(queue, after)

    def bind(self, queue: str, binding: tuple[str, str, str]) -> None:
        """Messages to the exchange that match (exchange, routing key, pattern) reach the queue."""
        with self._lock:
            self._bindings.setdefault(queue, set()).add(binding)
            self.broker.bind(*binding, queue)

    def forget_queue(self, queue: str) -> None:
        """The queue's messages and bindings are gone."""
        with self._lock:
            self._expiries.pop(queue, None)
            self._bindings.pop(queue, None)
            self.broker.purge([queue])
            self.broker.forget_queue(queue)

    def _tend(self) -> None:
        """Leases and consumed queues last longer; what dead workers left behind goes back."""
        self._leases.settle_rest(self.broker)
        if self._leases and self._is_time("leases", self._leases.lease_for / 3):
            self._leases.renew(self.broker)
        consumed = {queue for channel in list(self.channels) for queue in list(channel._active_queues)}
        for queue in consumed:
            self._keep_queue(queue)
        if consumed - self._without_ack:
            for letter in self.broker.reap(max_deliveries=self._max_deliveries).buried:
                logger.error("a message of queue %s is buried: %s", letter.message.queue, letter.reason)
            self.broker.promote_due()

    def _keep_queue(self, queue: str) -> None:
        with self._lock:
            after = self._expiries.get(queue)
            if after is None or not self._is_time(queue, after / 3):
                return
            self.broker.expire_queue(queue, after)
            # It may have been forgotten already, while this process or the machine was stopped.
            for binding in self._bindings.get(queue, ()):
                self.broker.bind(*binding, queue)

    def _is_time(self, duty: str, every: float) -> bool:
        now = time.monotonic()
        if now - self._tended_at.get(duty, -math.inf) < every:
            return False
        self._tended_at[duty] = now
        return True


def _received(lease: Lease) -> dict[str, Any]:
    """Return the message as kombu delivers it, with the lease's id as its delivery tag."""
    message: dict[str, Any] = loads(lease.message.payload)
    properties = message["properties"]
    properties["delivery_tag"] = lease.id
    if lease.deliveries > 1:
        message.setdefault("headers", {})["redelivered"] = True
        properties.setdefault("delivery_info", {})["redelivered"] = True
    return message


def _due_time(headers: Any) -> float | None:
    """Return the Unix seconds of the ``eta`` header; None if there is none, or none that can be read."""
    eta = headers.get("eta") if isinstance(headers, dict) else None
    try:
        return maybe_make_aware(maybe_iso8601(eta)).timestamp() if eta else None
    except (AttributeError, OverflowError, TypeError, ValueError):
        return None  # whoever consumes it says what is wrong with it


def _option(options: Any, name: str, default: float, at_least: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < at_least:
        raise ConfigurationError(
            f"broker_transport_options[{name!r}] is {value!r}; it must be a number from {at_least:g} up"
        )
    return value
