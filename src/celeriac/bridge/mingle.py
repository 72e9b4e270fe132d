"""What a worker asks of the others when it starts: which tasks are revoked, and what time it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from celery.utils.log import get_logger
from celery.worker import state
from kombu.messaging import Consumer
from kombu.utils.uuid import uuid

__all__ = ["Mingle"]

logger = get_logger("celeriac.control")

#: Seconds for which answers are waited for; tasks run meanwhile.
_LISTEN = 2.0


class Mingle:
    """Says hello once; the answers come while the worker listens to remote control."""

    def __init__(self, app: Any, hostname: str, on_revoked: Callable[[Sequence[str]], None]) -> None:
        self._app = app
        self._hostname = hostname
        self._on_revoked = on_revoked
        self._channel: Any = None
        self._until = 0.0

    def start(self, connection: Any) -> None:
        """Ask the other workers."""
        mailbox = self._app.control.mailbox(connection)
        self._channel = connection.channel()
        self._until = time.monotonic() + _LISTEN
        consumer = Consumer(
            self._channel,
            [mailbox.reply_queue],
            accept=mailbox.accept,
            no_ack=True,
            callbacks=[self._on_reply],
        )
        consumer.consume()
        arguments = {"from_node": self._hostname, "revoked": list(state.revoked)}
        mailbox._publish("hello", arguments, reply_ticket=uuid(), channel=self._channel, timeout=_LISTEN)

    def tick(self) -> None:
        """Listen no longer if it is time."""
        if self._channel is not None and time.monotonic() >= self._until:
            self._channel.close()
            self._channel = None

    def forget(self) -> None:
        """The connection is gone, and the answers with it."""
        self._channel = None

    def _on_reply(self, body: Any, _message: Any) -> None:
        for node, answer in body.items():
            if node == self._hostname or not answer:
                continue
            logger.info("mingle: sync with %s", node)
            self._app.clock.adjust(answer.get("clock") or 0)
            if revoked := answer.get("revoked"):
                self._on_revoked(list(revoked))
