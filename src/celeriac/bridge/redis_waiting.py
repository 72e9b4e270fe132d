"""Waiting for results in Redis: few are subscribed to when their task is published, the others by a wait."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from celery.backends.asynchronous import Drainer
from celery.backends.redis import ResultConsumer
from kombu.utils.encoding import bytes_to_str, ensure_bytes
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

__all__ = ["PATIENCE", "UNASKED", "LazyConsumer"]

#: Channels in one SUBSCRIBE.
_SUBSCRIBE_CHUNK: Final = 1000
#: Seconds after which a connection that does not confirm a subscription is given up.
PATIENCE: Final = 5.0
#: Results that are subscribed to as they are published: a process' first ones, and the next after each wait.
UNASKED: Final = 16


class LazyConsumer(ResultConsumer):
    """Celery's consumer of results, which costs a producer next to nothing until it waits.

    As Celery's, it subscribes to a result when its task is published; but only to few, and to the next
    few after each wait. The others are left to the wait itself. It looks for the result first, so that
    one that is there is returned at once. If it is not, the wait subscribes, lets Redis confirm that, and
    looks again: whatever was stored before the subscription held is found then, whatever is stored later
    is heard.
    """

    subscribed_to: set[bytes]
    _pubsub: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Keys that somebody may wait for, not subscribed to yet.
        self._wanted: set[bytes] = set()
        self._pid = os.getpid()
        self._unasked = UNASKED
        # Under gevent and eventlet a greenlet hears of results that nobody waits for at the moment.
        self.is_eager = type(self.drainer) is not Drainer

    def consume_from(self, task_id: str) -> None:
        if self.is_eager:
            super().consume_from(task_id)
            return
        self._wanted.add(self._get_key_for_task(task_id))
        if self._pubsub is not None:
            self.hear_of_call(task_id)

    def cancel_for(self, task_id: str) -> None:
        key = self._get_key_for_task(task_id)
        self._wanted.discard(key)
        # A forked child must not end the subscriptions of its parent, whose connection it has inherited.
        if key in self.subscribed_to and self._pid == os.getpid():
            super().cancel_for(task_id)

    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        super().on_wait_for_pending(result, **kwargs)
        if not (self.is_eager or result.on_ready.ready):
            self._subscribe()
            super().on_wait_for_pending(result, **kwargs)
            self._unasked = UNASKED

    def on_state_change(self, meta: Any, message: Any) -> None:
        # Of a result that was given up Redis may still tell; Celery would keep it for whoever asks next.
        given_up = message is not None and self._get_key_for_task(meta["task_id"]) not in self.subscribed_to
        if self.is_eager or not given_up:
            super().on_state_change(meta, message)

    def hear_of_call(self, task_id: str) -> None:
        """Redis has been asked for the result, if it is one of few and Redis is there."""
        if self._unasked < 1:
            return
        key = self._get_key_for_task(task_id)
        self._unasked -= 1
        self._leave_inherited()
        try:
            with self._exclusively():
                if hasattr(self, "_pending_unsubscribe"):
                    self._pending_unsubscribe.discard(key)
                if key not in self.subscribed_to:
                    self._open().subscribe(key)
                    self.subscribed_to.add(key)
        except (RedisError, OSError):
            self._unasked = 0
        else:
            self._wanted.discard(key)

    def _open(self) -> Any:
        if self._pubsub is None:
            self._pubsub = self.backend.impatient_client.pubsub(ignore_subscribe_messages=True)
        return self._pubsub

    def _subscribe(self) -> None:
        """Redis tells this process from now on of every result that somebody may wait for."""
        self._leave_inherited()
        # The lock is held until Redis has confirmed, so that other threads look again after that, too.
        with self._exclusively():
            keys = self._take_wanted()
            self._open()
            for start in range(0, len(keys), _SUBSCRIBE_CHUNK):
                unconfirmed = set(keys[start : start + _SUBSCRIBE_CHUNK])
                with self.reconnect_on_error():
                    self._pubsub.subscribe(*unconfirmed)
                    self._confirm(unconfirmed)
                # Connected anew, and subscribed again on the way, but for those whose results were there.
                while unconfirmed := unconfirmed & self.subscribed_to:
                    with self.reconnect_on_error():
                        self._confirm(unconfirmed)

    def _take_wanted(self) -> list[bytes]:
        """Note the wanted keys as subscribed to; return those that were not."""
        wanted: set[bytes] = set()
        while self._wanted:  # popped one by one, as other threads add to the set meanwhile
            wanted.add(self._wanted.pop())
        if hasattr(self, "_pending_unsubscribe"):
            self._pending_unsubscribe -= wanted
        wanted -= self.subscribed_to
        self.subscribed_to |= wanted
        return list(wanted)

    def _confirm(self, unconfirmed: set[bytes]) -> None:
        """Take keys out of the set until Redis has confirmed all; hear of results meanwhile."""
        give_up = time.monotonic() + PATIENCE
        while unconfirmed:
            remaining = give_up - time.monotonic()
            if remaining <= 0:
                raise RedisConnectionError("Redis has not confirmed a subscription")
            response = self._pubsub.parse_response(block=False, timeout=remaining)
            if response:
                self._hear(response)
            if response and bytes_to_str(response[0]) == "subscribe":
                unconfirmed.discard(ensure_bytes(response[1]))

    def _hear(self, response: Any) -> None:
        """Do what something that Redis has said on the connection asks for."""
        message = self._pubsub.handle_message(response)
        if message and message["type"] == "message":
            self.on_state_change(self._decode_result(message["data"]), message)

    def _leave_inherited(self) -> None:
        """A forked child takes no part in its parent's connection, and wants what it had subscribed to."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._wanted |= self.subscribed_to
            self.subscribed_to = set()
            self._pubsub = None
            if hasattr(self, "_reset_sync"):
                self._reset_sync()

    def _exclusively(self) -> AbstractContextManager[Any]:
        """Celery's lock around its subscriptions, which it has since 5.7."""
        return self._locked() if hasattr(self, "_locked") else nullcontext()
