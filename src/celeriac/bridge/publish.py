"""Publishing on the fast path: one envelope, one broker call, no kombu channel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import msgspec
from celery import signals
from celery.app.amqp import AMQP
from kombu.exceptions import OperationalError
from kombu.utils.functional import retry_over_time

from celeriac.bridge.batches import Batch, Batches
from celeriac.bridge.capture import CapturingProducer
from celeriac.bridge.configuration import broker_for, single_url
from celeriac.bridge.connection import AppConnection
from celeriac.bridge.direct_calls import DirectCalls
from celeriac.bridge.installed_celery import TELLS_WHOLE_RETRY_POLICY, UNSAID_IGNORE_RESULT
from celeriac.bridge.plain_calls import PlainCalls, Prepared
from celeriac.bridge.wire import encode
from celeriac.bridge.wrapped import sending_is_wrapped
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
    """A message on its way out, as receivers of ``before_task_publish`` may still change it."""

    name: str
    body: Any
    headers: dict[str, Any]
    properties: dict[str, Any]
    queue: Any
    serializer: str
    delivery_mode: int
    retry: bool
    retry_policy: dict[str, Any]
    #: The policy that others are told of.
    told_policy: dict[str, Any] | None


class FastAMQP(AMQP):
    """Celery's message factory and router, with a sender of ours for plain task messages.

    Plain: to a queue through its direct exchange, on the app's own broker, uncompressed. Anything
    else goes out as Celery itself would send it.
    """

    Connection = AppConnection

    @cached_property
    def publishers(self) -> ThreadPublishers | None:
        """Where plain messages go; None if the app's broker is none of ours."""
        url = single_url(self.app.conf.broker_write_url)
        return ThreadPublishers(self.app, url) if url and self.app.owns_transport(url) else None

    @cached_property
    def create_task_message(self) -> Callable[..., Any]:
        """Celery's message factory; a web framework's own objects are replaced in what it is given."""
        create: Callable[..., Any] = super().create_task_message
        framework = self.app.framework
        if framework is None:
            return create
        return lambda *args, **options: create(*framework.outgoing(args), **framework.outgoing(options))

    @cached_property
    def batches(self) -> Batches:
        """What groups and bulk calls have ready to be sent."""
        return Batches(self._send)

    @cached_property
    def plain_calls(self) -> PlainCalls:
        """What prepares the messages of plain calls."""
        return PlainCalls(self)

    @cached_property
    def direct_calls(self) -> DirectCalls:
        """What prepares the messages of plain calls without options."""
        return DirectCalls(self.plain_calls, self.app)

    def send_plain(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Publish the task and return its result; do nothing and return None if the call is not plain."""
        producer = options.get("producer")
        batch = self.batches.find(producer, options.get("group_id"))
        if self.publishers is None or (producer is not None and batch is None):
            return None
        prepared = self.plain_calls.prepare(name, args, kwargs, options)
        if prepared is None:
            return None
        if batch is not None:
            batch.add(prepared.message, prepared.retry_policy)
        else:
            self._send_prepared(prepared, ignored=bool(options.get("ignore_result")))
        result = (options.get("result_cls") or self.app.AsyncResult)(prepared.task_id)
        result.ignored = options.get("ignore_result", UNSAID_IGNORE_RESULT)
        if prepared.parent is not None and options.get("add_to_parent", True):
            prepared.parent.add_trail(result)
        return result

    def call_directly(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do what ``task.apply_async(args, kwargs)`` does; do nothing and return None if it is not plain."""
        prepared = None if self.publishers is None else self.direct_calls.prepare(task, args, kwargs)
        if prepared is None:
            return None
        self._send_prepared(prepared, ignored=bool(task.ignore_result))
        result = task.AsyncResult(prepared.task_id)
        result.ignored = task.ignore_result
        if prepared.parent is not None:
            prepared.parent.add_trail(result)
        return result

    def _send_prepared(self, prepared: Prepared, *, ignored: bool) -> None:
        if not ignored:
            self.app.backend.on_task_call(None, prepared.task_id)
        self.batches.make_way()
        self._send((prepared.message,), prepared.retry_policy)

    def draft_message(
        self, name: str, message: Any, options: dict[str, Any]
    ) -> tuple[Message, dict[str, Any] | None] | None:
        """Return what would be sent, and its retry policy; None if it is not plain."""
        draft = None if any(map(options.get, _NOT_PLAIN)) else self._draft(name, message, options)
        return None if draft is None else (self._message(draft), draft.retry_policy if draft.retry else None)

    def _create_task_sender(self) -> Callable[..., Any]:
        stock: Callable[..., Any] = super()._create_task_sender()
        home = _place(self.app.connection_for_write())

        def send_stock(producer: Any, name: str, message: Any, **options: Any) -> Any:
            departures = self.app.departures
            database = None if departures is None else departures.transaction()
            if database is not None and _place(producer.connection) == home:
                producer = CapturingProducer(self.app, departures, database)
                message = message._replace(sent_event=None)  # it is not sent now
            return stock(producer, name, message, **options)

        if self.publishers is None:
            return send_stock

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            draft = None
            plain = not (sending_is_wrapped() or any(map(options.get, _NOT_PLAIN)))
            if plain and _place(producer.connection) == home:
                draft = self._draft(name, message, options)
            if draft is None:
                self.batches.make_way()
                return send_stock(producer, name, message, **options)
            self._publish(draft, self.batches.find(producer, draft.headers.get("group")))
            if message.sent_event:
                dispatcher = options.get("event_dispatcher") or self._event_dispatcher
                _send_event(dispatcher, producer, draft, message.sent_event)
            return None

        return send_task_message

    def _draft(self, name: str, message: Any, options: dict[str, Any]) -> _Draft | None:
        """Return the message ready to be sent, or None if it is not plain."""
        if (options.get("exchange_type") or "direct") != "direct" or self.app.conf.task_compression:
            return None
        queue = options.get("queue")
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
        retry, given_policy = options.get("retry"), options.get("retry_policy")
        retry_policy = {**conf.task_publish_retry_policy, **(given_policy or {})}
        return _Draft(
            name=name,
            body=body,
            headers=headers,
            properties=properties,
            queue=queue,
            serializer=options.get("serializer") or conf.task_serializer,
            delivery_mode=_delivery_mode(mode or conf.task_default_delivery_mode),
            retry=conf.task_publish_retry if retry is None else retry,
            retry_policy=retry_policy,
            told_policy=retry_policy if TELLS_WHOLE_RETRY_POLICY else given_policy,
        )

    def _publish(self, draft: _Draft, batch: Batch | None) -> None:
        if signals.before_task_publish.receivers:
            signals.before_task_publish.send(
                sender=draft.name,
                body=draft.body,
                exchange="",
                routing_key=draft.queue.name,
                declare=[draft.queue],
                headers=draft.headers,
                properties=draft.properties,
                retry_policy=draft.told_policy,
            )
        message = self._message(draft)
        retry_policy = draft.retry_policy if draft.retry else None
        if batch is None:
            self.batches.make_way()
            self._send((message,), retry_policy)
            _published(draft)
        else:
            batch.add(message, retry_policy, partial(_published, draft))

    def _message(self, draft: _Draft) -> Message:
        properties = _finished(draft.properties, draft.delivery_mode)
        queue = draft.queue.name
        payload = encode(
            draft.body,
            headers=draft.headers,
            properties=properties,
            queue=queue,
            serializer=draft.serializer,
        )
        return Message(
            queue=queue,
            payload=payload,
            priority=_priority(properties["priority"]),
            due=self.app.due_time(draft.headers.get("eta")),
        )

    def _send(self, messages: Sequence[Message], retry_policy: dict[str, Any] | None) -> None:
        departures = self.app.departures
        database = None if departures is None else departures.transaction()
        if database is not None:
            departures.keep(database, messages)
        elif self.publishers is not None:  # and without them nothing is drafted
            _send(self.publishers.get(), messages, retry_policy)


def _published(draft: _Draft) -> None:
    if signals.after_task_publish.receivers:
        signals.after_task_publish.send(
            sender=draft.name,
            body=draft.body,
            headers=draft.headers,
            exchange="",
            routing_key=draft.queue.name,
        )


#: Options with which a message goes out as Celery itself would send it.
_NOT_PLAIN = ("compression", "content_encoding", "content_type", "declare", "exchange", "timeout")

#: Options of ``send_task_message`` itself; all others become message properties.
_SENDER_OPTIONS = frozenset(
    {
        *_NOT_PLAIN,
        "confirm_timeout",
        "delivery_mode",
        "event_dispatcher",
        "exchange_type",
        "headers",
        "queue",
        "retry",
        "retry_policy",
        "routing_key",
        "serializer",
    }
)


#: Transport options that say where in the broker a queue lies.
_PLACES = ("global_keyprefix", "priority_steps", "sep")


def _place(connection: Any) -> tuple[Any, ...]:
    """Return what is the same for two connections whose queues are the same."""
    return (
        connection.hostname,
        connection.port,
        connection.virtual_host,
        connection.transport_cls,
        *map(connection.transport_options.get, _PLACES),
    )


def _finished(properties: dict[str, Any], delivery_mode: int) -> dict[str, Any]:
    """Return the properties as kombu's producer would complete them."""
    finished = {key: value for key, value in properties.items() if key not in _PRODUCER_OPTIONS}
    finished["delivery_mode"] = delivery_mode
    finished["priority"] = properties.get("priority") or 0
    if (expiration := properties.get("expiration")) is not None:
        finished["expiration"] = str(int(expiration * 1000))
    return finished


#: Properties that kombu's producer itself takes, and puts into no message as they are.
_PRODUCER_OPTIONS = frozenset({"expiration", "immediate", "mandatory", "priority"})


def _delivery_mode(mode: Any) -> int:
    return 1 if mode in (1, "transient") else 2


def _priority(priority: Any) -> int:
    try:
        return max(0, min(9, int(priority)))
    except (TypeError, ValueError):
        return 0


def _send(publisher: Publisher, messages: Sequence[Message], retry_policy: dict[str, Any] | None) -> None:
    """Publish, retrying as Celery's policy says; raise kombu's OperationalError as Celery does."""
    try:
        publisher.publish(messages)
    except BrokerUnavailable as error:
        if retry_policy is None:
            raise OperationalError(str(error)) from error
        _send_again(publisher, messages, retry_policy, error)
    except BrokerError as error:
        raise OperationalError(str(error)) from error


def _send_again(
    publisher: Publisher,
    messages: Sequence[Message],
    retry_policy: dict[str, Any],
    failure: BrokerUnavailable,
) -> None:
    """Retry what failed once already, which counts as the policy's first try."""
    failures = [failure]

    def publish() -> None:
        if failures:
            raise failures.pop()
        publisher.publish(messages)

    given = {key: value for key, value in retry_policy.items() if key in _RETRY_OPTIONS}
    try:
        retry_over_time(publish, BrokerUnavailable, **{**_RETRY_DEFAULTS, **given})
    except BrokerError as error:
        raise OperationalError(str(error)) from error


_RETRY_OPTIONS = frozenset({"max_retries", "interval_start", "interval_step", "interval_max"})
#: Seconds, as ``kombu.Connection.ensure`` has them where a policy says nothing.
_RETRY_DEFAULTS = {"interval_start": 1, "interval_step": 1, "interval_max": 1}


def _send_event(dispatcher: Any, producer: Any, draft: _Draft, event: dict[str, Any]) -> None:
    queue = draft.queue.name
    event.update(queue=queue, exchange="", routing_key=queue)
    dispatcher.publish("task-sent", event, producer, retry=draft.retry, retry_policy=draft.told_policy)
