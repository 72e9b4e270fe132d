"""Publishing on the fast path: one envelope, one broker call, no kombu channel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
from celery import signals
from celery.app.amqp import AMQP
from kombu.exceptions import OperationalError
from kombu.utils.functional import retry_over_time

from celeriac.bridge.configuration import broker_for, single_url
from celeriac.bridge.wire import encode
from celeriac.core.errors import BrokerError, BrokerUnavailable
from celeriac.core.message import Message
from celeriac.core.publisher import BrokerPublisher, Publisher

__all__ = ["FastAMQP", "ThreadPublishers"]


class ThreadPublishers:
    """One publisher for each thread, as a broker is not shared by threads."""

    def __init__(self, app: Any, url: str) -> None:
        self._app = app
        self._url = url
        self._local = threading.local()

    def get(self) -> Publisher:
        """Return the calling thread's publisher."""
        try:
            publisher: Publisher = self._local.publisher
        except AttributeError:
            broker = broker_for(self._app, self._url)
            publisher = self._local.publisher = BrokerPublisher(broker, self._app.layers)
        return publisher


class _Draft(msgspec.Struct):
    """A message on its way out, and where it goes."""

    name: str
    body: Any
    headers: dict[str, Any]
    properties: dict[str, Any]
    queue: str
    serializer: str
    retry_policy: dict[str, Any] | None


class FastAMQP(AMQP):
    """Celery's message factory and router, with a sender of ours for plain task messages.

    Plain: to a queue through its direct exchange, on the app's own broker, uncompressed. Anything
    else goes out as Celery itself would send it.
    """

    def _create_task_sender(self) -> Callable[..., Any]:
        stock: Callable[..., Any] = super()._create_task_sender()
        conf = self.app.conf
        url = single_url(conf.broker_write_url)
        if url is None or not self.app.owns_transport(url):
            return stock
        publishers = ThreadPublishers(self.app, url)
        home = self.app.connection_for_write()

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            draft = None
            if _same_broker(producer.connection, home) and not options.get("timeout"):
                draft = self._draft(name, message, options)
            if draft is None:
                return stock(producer, name, message, **options)
            self._publish(draft, publishers.get())
            if message.sent_event:
                self._send_event(producer, draft, message.sent_event)
            return None

        return send_task_message

    def _draft(self, name: str, message: Any, options: dict[str, Any]) -> _Draft | None:
        """Return the message ready to be sent, or None if it is not plain."""
        conf = self.app.conf
        queue = options.get("queue")
        if (
            options.get("exchange")
            or options.get("declare")
            or options.get("exchange_type", "direct") != "direct"
        ):
            return None
        if options.get("compression") or conf.task_compression:
            return None
        if queue is None:
            queue = self.default_queue
        elif isinstance(queue, str):
            queue = self.queues[queue]
        if queue.exchange is not None and queue.exchange.type != "direct":
            return None
        return self._fill(name, message, queue, options)

    def _fill(self, name: str, message: Any, queue: Any, options: dict[str, Any]) -> _Draft:
        conf = self.app.conf
        headers, properties, body, _ = message
        if extra := options.get("headers"):
            headers.update(extra)
        properties.update((key, value) for key, value in options.items() if key not in _SENDER_OPTIONS)
        mode = options.get("delivery_mode") or getattr(queue.exchange, "delivery_mode", None)
        properties["delivery_mode"] = _delivery_mode(mode or conf.task_default_delivery_mode)
        properties["priority"] = _priority(properties.get("priority"))
        if (expiration := properties.pop("expiration", None)) is not None:
            properties["expiration"] = str(int(expiration * 1000))
        retry = options.get("retry")
        retry = conf.task_publish_retry if retry is None else retry
        return _Draft(
            name=name,
            body=body,
            headers=headers,
            properties=properties,
            queue=queue.name,
            serializer=options.get("serializer") or conf.task_serializer,
            retry_policy={**conf.task_publish_retry_policy, **(options.get("retry_policy") or {})}
            if retry
            else None,
        )

    def _publish(self, draft: _Draft, publisher: Publisher) -> None:
        if signals.before_task_publish.receivers:
            signals.before_task_publish.send(
                sender=draft.name,
                body=draft.body,
                exchange="",
                routing_key=draft.queue,
                declare=[],
                headers=draft.headers,
                properties=draft.properties,
                retry_policy=draft.retry_policy,
            )
        payload = encode(
            draft.body,
            headers=draft.headers,
            properties=draft.properties,
            queue=draft.queue,
            serializer=draft.serializer,
        )
        _send(
            publisher,
            Message(
                queue=draft.queue,
                payload=payload,
                priority=draft.properties["priority"],
                due=self.app.due_time(draft.headers.get("eta")),
            ),
            draft.retry_policy,
        )
        if signals.after_task_publish.receivers:
            signals.after_task_publish.send(
                sender=draft.name,
                body=draft.body,
                headers=draft.headers,
                exchange="",
                routing_key=draft.queue,
            )

    def _send_event(self, producer: Any, draft: _Draft, event: dict[str, Any]) -> None:
        event.update(queue=draft.queue, exchange="", routing_key=draft.queue)
        self._event_dispatcher.publish(
            "task-sent",
            event,
            producer,
            retry=draft.retry_policy is not None,
            retry_policy=draft.retry_policy,
        )


#: Options of ``send_task_message`` itself; all others become message properties.
_SENDER_OPTIONS = frozenset(
    {
        "compression",
        "confirm_timeout",
        "declare",
        "delivery_mode",
        "event_dispatcher",
        "exchange",
        "exchange_type",
        "headers",
        "queue",
        "retry",
        "retry_policy",
        "routing_key",
        "serializer",
        "timeout",
    }
)


def _same_broker(connection: Any, home: Any) -> bool:
    return bool(
        connection.hostname == home.hostname
        and connection.port == home.port
        and connection.virtual_host == home.virtual_host
        and connection.transport_cls == home.transport_cls
    )


def _delivery_mode(mode: Any) -> int:
    return 1 if mode in (1, "transient") else 2


def _priority(priority: Any) -> int:
    try:
        return max(0, min(9, int(priority)))
    except (TypeError, ValueError):
        return 0


def _send(publisher: Publisher, message: Message, retry_policy: dict[str, Any] | None) -> None:
    """Publish, retrying as Celery's policy says; raise kombu's OperationalError as Celery does."""
    try:
        try:
            publisher.publish((message,))
        except BrokerUnavailable:
            if retry_policy is None:
                raise
            policy = {key: value for key, value in retry_policy.items() if key in _RETRY_OPTIONS}
            retry_over_time(publisher.publish, BrokerUnavailable, args=((message,),), **policy)
    except BrokerError as error:
        raise OperationalError(str(error)) from error


_RETRY_OPTIONS = frozenset({"max_retries", "interval_start", "interval_step", "interval_max"})
