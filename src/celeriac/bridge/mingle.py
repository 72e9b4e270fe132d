"""What a worker asks of the others when it starts: which tasks are revoked, and what time it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from celery.utils.log import get_logger
from celery.worker import state
from kombu.utils.uuid import uuid

__all__ = ["Mingle"]

logger = get_logger("celeriac.control")

#: Seconds for which answers are waited for; tasks run meanwhile.
_LISTEN = 2.0


class Mingle:
    """Says hello once, over a connection of its own; the answers come while the worker works."""

    def __init__(self, app: Any, hostname: str, on_revoked: Callable[[Sequence[str]], None]) -> None:
        self._app = app
        self._hostname = hostname
        self._on_revoked = on_revoked
        self._connection: Any = None
        self._replies: Any = None
        self._until = 0.0

    def start(self) -> None:
        """Ask the other workers."""
        self._until = time.monotonic() + _LISTEN
        self._connection = self._app.connection_for_read()
        try:
            self._ask(self._connection)
        except self._connection.connection_errors + self._connection.channel_errors as error:
            logger.warning("mingle: other workers cannot be asked: %s", error)
            self.stop()

    def poll(self) -> None:
        """Take in the answers that have come; listen no longer if it is time."""
        if self._connection is None:
            return
        try:
            # Looked for and not consumed: kombu would block for a second when it stops to consume.
            while (
                reply := self._replies.get(no_ack=True, accept=self._app.control.mailbox.accept)
            ) is not None:
                self._on_reply(reply.payload)
            if time.monotonic() >= self._until:
                self.stop()
        except Exception as error:
            # It is a courtesy between workers: none of them depends on it.
            logger.warning("mingle: %s", error)
            self.stop()

    def stop(self) -> None:
        """Listen no longer."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        try:
            if self._replies is not None:
                self._replies.delete()
            connection.release()
        except Exception as error:
            # The broker forgets the queue by itself.
            logger.debug("mingle: %s", error)

    def _ask(self, connection: Any) -> None:
        mailbox = self._app.control.mailbox(connection)
        channel = connection.channel()
        self._replies = mailbox.reply_queue(channel)
        self._replies.declare()
        arguments = {"from_node": self._hostname, "revoked": list(state.revoked)}
        mailbox._publish("hello", arguments, reply_ticket=uuid(), channel=channel, timeout=_LISTEN)

    def _on_reply(self, body: Any) -> None:
        for node, answer in body.items():
            if node == self._hostname or not answer:
                continue
            logger.info("mingle: sync with %s", node)
            self._app.clock.adjust(answer.get("clock") or 0)
            if revoked := answer.get("revoked"):
                self._on_revoked([str(id_) for id_ in revoked])
