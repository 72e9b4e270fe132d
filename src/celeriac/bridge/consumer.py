"""What remote control's handlers expect of a worker's consumer, answered by the engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from celery.utils.log import get_logger
from celery.worker.pidbox import Pidbox

from celeriac.bridge.control import engine_handlers
from celeriac.bridge.declare import declare_queues
from celeriac.bridge.stock_leftovers import StockLeftovers
from celeriac.bridge.time_outs import Pulse

__all__ = ["EngineConsumer"]

logger = get_logger("celeriac.control")

_RETRY_EVERY = 1.0
#: For answers: one try on a connection that is not stale. Kombu's own would wait for the broker, leases
#: would not be renewed meanwhile, and whoever has asked asks again.
_ONE_TRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class EngineConsumer:
    """Stands where Celery has its Consumer: ``worker.consumer`` and the handlers' ``state.consumer``.

    Remote control has a connection of its own; losing it stops no task, and it comes back by itself.
    """

    gossip = None
    timer = None

    def __init__(self, worker: Any) -> None:
        self.controller = worker
        self.app = worker.app
        self.hostname = worker.hostname
        self.connection: Any = None
        self.pool = worker.pool
        self.task_consumer = SimpleNamespace(queues=self._queues(), cancel=lambda: None)
        self.event_dispatcher = worker.heart.dispatcher
        self.pidbox = Pidbox(self)
        self.pidbox.node.handlers = engine_handlers()
        self.pidbox.node.reply = self._reply
        self._listens = bool(self.app.conf.worker_enable_remote_control)
        self._retry_at = 0.0
        self._pulse = Pulse()
        self._leftovers = StockLeftovers()

    def poll(self, timeout: float) -> None:
        """Answer remote control for about ``timeout`` seconds, connecting first if need be."""
        if (self.connection is None and not self._connect()) or not self._listens:
            time.sleep(timeout)
            return
        try:
            self._pulse.take(self.connection)
            self._leftovers.tick(self.pidbox.node.channel)
            self.connection.drain_events(timeout=timeout)
        except TimeoutError:
            return
        except Exception as error:
            # Whatever befell the connection, no task message was touched: connect anew.
            logger.warning("Remote control lost its connection: %s", error)
            self.stop()
            self._retry_at = time.monotonic() + _RETRY_EVERY

    def stop(self) -> None:
        """Listen no more."""
        if self.connection is not None:
            if self._listens:
                self.pidbox.shutdown(self)
            self.connection.release()
            self.connection = None

    @property
    def connection_errors(self) -> tuple[type[Exception], ...]:
        """What the connection may raise; remote control's own clean-up ignores it."""
        return tuple(self.connection.connection_errors)

    @property
    def channel_errors(self) -> tuple[type[Exception], ...]:
        """The same for a channel."""
        return tuple(self.connection.channel_errors)

    # -- What the handlers change

    def call_soon(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Call it at once: nothing here waits for an event loop."""
        function(*arguments, **options)

    def add_task_queue(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str | None = None,
        routing_key: str | None = None,
        **options: Any,
    ) -> None:
        """Consume from this queue too, making it if there is none of that name."""
        if not isinstance(queue, str):
            raise TypeError(f"the name of a queue is a text, not {queue!r}")
        queues = self.app.amqp.queues
        if queue in queues:
            added = queues.select_add(queues[queue])
        else:
            added = queues.select_add(
                queue,
                exchange=queue if exchange is None else exchange,
                exchange_type=exchange_type or "direct",
                routing_key=routing_key,
                **options,
            )
        if self.connection is not None:
            added(self.connection.default_channel).declare()
        self._consume()
        logger.info("Started consuming from %s", queue)

    def cancel_task_queue(self, queue: str) -> None:
        """Consume from this queue no longer; what has been claimed from it is run."""
        logger.info("Canceling queue %s", queue)
        self.app.amqp.queues.deselect(queue)
        self._consume()

    def reset_rate_limits(self) -> None:
        """Do nothing: the shards are told of new limits by notices."""

    def update_strategies(self) -> None:
        """Do nothing: the shards are forked anew."""

    def _update_prefetch_count(self, _change: int) -> None:
        """Do nothing: a shard claims what it can run at once."""

    def _reply(self, answer: Any, exchange: str, routing_key: str, ticket: str, **_: Any) -> None:
        node = self.pidbox.node
        node.mailbox._publish_reply(
            answer,
            exchange,
            routing_key,
            ticket,
            channel=node.channel,
            serializer=node.mailbox.serializer,
            retry_policy=_ONE_TRY,
        )

    def _queues(self) -> list[Any]:
        return list(self.app.amqp.queues.consume_from.values())

    def _consume(self) -> None:
        self.task_consumer.queues = self._queues()
        self.controller.engine.consume([queue.name for queue in self.task_consumer.queues])

    def on_decode_error(self, message: Any, _error: Exception) -> None:
        """Drop a control message that cannot be read."""
        message.ack()

    def _connect(self) -> bool:
        if time.monotonic() < self._retry_at:
            return False
        self.connection = self.app.connection_for_read()
        try:
            declare_queues(self.connection, self.task_consumer.queues)
            if self._listens:
                self.pidbox.start(self)
        except self.connection_errors + self.channel_errors as error:
            logger.warning("Remote control cannot connect: %s", error)
            self.connection.release()
            self.connection = None
            self._retry_at = time.monotonic() + _RETRY_EVERY
            return False
        return True
