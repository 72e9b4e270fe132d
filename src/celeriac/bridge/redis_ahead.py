"""Ids of calls to come, of whose results Redis tells already: such a wait asks Redis for nothing."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import Any, Final

from celery import states
from celery.backends.redis import ResultConsumer
from kombu.utils.encoding import bytes_to_str, ensure_bytes
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from celeriac.bridge.redis_waiting import PATIENCE, UNASKED, LazyConsumer
from celeriac.bridge.template import fresh_id

__all__ = ["AHEAD", "WAITS_FIRST", "AheadConsumer"]

#: Ids that are subscribed to at once.
AHEAD: Final = 32
#: Calls that were waited for before any other was made, after which ids are subscribed to ahead.
WAITS_FIRST: Final = 3
#: Seconds for which an id may be used: a connection that nobody has used for long may be gone.
_FRESH_FOR: Final = 30.0
#: Whether Celery reads messages under a lock of its own, as it does since 5.7.
_CAN_HEAR: Final = hasattr(ResultConsumer, "_drain_one")


class AheadConsumer(LazyConsumer):
    """Subscribes a process that calls and waits, again and again, to the results of its next calls.

    A result is *sure to be heard* if Redis had confirmed the subscription before its task was sent, nobody
    has heard it yet, and the connection is still the same. Only then does a wait not look for it. What is
    sure changes under the lock under which messages are read, and a wait has noted its result as pending
    before it takes that lock: so whoever reads the message finds whom to give it to. When the connection
    is made anew, nothing is sure any more, and those who wait look once the new subscriptions hold.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ahead: deque[str] = deque()
        self._use_until = 0.0
        #: Keys of results that are sure to be heard, of those not called yet too.
        self._sure: set[bytes] = set()
        #: Ids subscribed to, by key, that Redis has not confirmed.
        self._unconfirmed: dict[bytes, str] = {}
        #: Keys subscribed to ahead, and those of them that nobody waits for any more.
        self._early: set[bytes] = set()
        self._spent: set[bytes] = set()
        self._latest: bytes | None = None
        self._waits = 0
        self._is_renewed = False

    def take_id(self) -> str | None:
        """Return an id for a call, whose result is sure to be heard; None if there is none."""
        if not self._ahead or time.monotonic() > self._use_until or self._pid != os.getpid():
            return None
        try:
            return self._ahead.popleft()
        except IndexError:  # another thread has just taken the last one
            return None

    def put_id_back(self, task_id: str) -> None:
        """No message was made with this id."""
        self._ahead.append(task_id)

    # -- What is told of calls and waits

    def hear_of_call(self, task_id: str) -> None:
        self._latest = key = self._get_key_for_task(task_id)
        if not self._is_sure(key):
            super().hear_of_call(task_id)

    def consume_from(self, task_id: str) -> None:
        key = self._get_key_for_task(task_id)
        if self._is_sure(key):
            return
        if key in self._spent:
            self._leave_inherited()
            with self._exclusively():
                self._spent.discard(key)
                self._early.discard(key)
        super().consume_from(task_id)

    def cancel_for(self, task_id: str) -> None:
        key = self._get_key_for_task(task_id)
        if key in self._early and self._pid == os.getpid():
            self._wanted.discard(key)
            self._sure.discard(key)
            self._spent.add(key)
        else:
            super().cancel_for(task_id)

    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        if not self._is_heard_for_sure(getattr(result, "id", None)):
            super().on_wait_for_pending(result, **kwargs)

    def _is_heard_for_sure(self, task_id: str | None) -> bool:
        """Whether a wait for this result needs no look; there will be ids for the next calls."""
        if not task_id or self.is_eager or not _CAN_HEAR:
            return False
        key = self._get_key_for_task(task_id)
        if key == self._latest:
            self._latest = None
            self._waits += 1
        self._leave_inherited()
        with self._exclusively():
            if self._unconfirmed and self._pubsub is not None and not self._socket_waiter:
                self._drain_one(self._pubsub, 0)
            if self._waits >= WAITS_FIRST:
                self._subscribe_ahead()
            if not self._is_sure(key):
                return False
        self._unasked = UNASKED
        return True

    def on_state_change(self, meta: Any, message: Any) -> None:
        if meta["status"] in states.READY_STATES:
            key = self._get_key_for_task(meta["task_id"])
            self._sure.discard(key)
            if key in self._spent and message is not None:
                return  # stored again, when nobody waits for it any more
        super().on_state_change(meta, message)

    def _is_sure(self, key: bytes) -> bool:
        return key in self._sure and self._pid == os.getpid()

    # -- Subscribing

    def _subscribe_ahead(self) -> None:
        """There will be ids again, if all are used or too old; nothing is subscribed to for nobody."""
        if self._unconfirmed or (self._ahead and time.monotonic() < self._use_until):
            return
        while (unused := self._pop_unused()) is not None:
            self._sure.discard(unused)
            self._spent.add(unused)
        ids = {self._get_key_for_task(task_id): task_id for task_id in (fresh_id() for _ in range(AHEAD))}
        try:
            pubsub = self._open()
            if spent := self._take_spent():
                pubsub.unsubscribe(*spent)
            pubsub.subscribe(*ids)
            pubsub.connection.register_connect_callback(self._on_renewed)
        except (RedisError, OSError):
            self._waits = 0
            return
        self.subscribed_to.update(ids)
        self._early.update(ids)
        self._unconfirmed = ids

    def _pop_unused(self) -> bytes | None:
        try:
            return bytes(self._get_key_for_task(self._ahead.popleft()))
        except IndexError:
            return None

    def _take_spent(self) -> set[bytes]:
        """Forget the keys of results that nobody waits for; return them."""
        spent: set[bytes] = set()
        while self._spent:  # popped one by one, as results are cancelled by the garbage collector, too
            spent.add(self._spent.pop())
        self.subscribed_to -= spent
        self._early -= spent
        return spent

    # -- Hearing

    def _drain_one(self, pubsub: Any, timeout: float | None) -> bool:
        """Celery's, without redis-py's way around each message."""
        if self._is_renewed:
            self._look_again()
        connection = pubsub.connection
        if connection is None or connection.health_check_interval or not pubsub.subscribed:
            return bool(super()._drain_one(pubsub, timeout))
        with self.reconnect_on_error():
            if not connection.can_read(timeout=0):
                return False
            while True:
                self._hear(connection.read_response(disconnect_on_error=False, push_request=True))
                if self._pubsub is not pubsub or not connection.can_read(timeout=0):
                    break
        return True

    def _hear(self, response: Any) -> None:
        if isinstance(response, list) and bytes_to_str(response[0]) == "subscribe":
            self._note_confirmed(ensure_bytes(response[1]))
        super()._hear(response)

    def _note_confirmed(self, key: bytes) -> None:
        task_id = self._unconfirmed.pop(key, None)
        if task_id is not None:
            self._sure.add(key)
            self._use_until = time.monotonic() + _FRESH_FOR
            self._ahead.append(task_id)

    def _reconnect_pubsub(self) -> None:
        self._on_renewed(None)
        super()._reconnect_pubsub()

    def _on_renewed(self, _connection: Any) -> None:
        """The connection is another one: nothing is sure that was."""
        self._is_renewed = True
        self._sure.clear()
        while (unused := self._pop_unused()) is not None:
            self._spent.add(unused)
        self._spent.update(self._unconfirmed)
        self._unconfirmed = {}

    def _look_again(self) -> None:
        """Whoever waits has got what was stored before the new connection's subscriptions held."""
        self._is_renewed = False
        with self.reconnect_on_error():
            self._wait_for_pong()
            keys = list(self.subscribed_to - self._spent)
            for value in self.backend.mget(keys) if keys else ():
                if value:
                    self.on_state_change(self._decode_result(value), None)

    def _wait_for_pong(self) -> None:
        """All subscriptions hold that were asked for before."""
        mark = fresh_id().encode()
        self._pubsub.ping(mark)
        give_up = time.monotonic() + PATIENCE
        while (remaining := give_up - time.monotonic()) > 0:
            response = self._pubsub.parse_response(block=False, timeout=remaining)
            if response == mark or (isinstance(response, list) and response[-1] == mark):
                return
            if response:
                self._hear(response)
        raise RedisConnectionError("Redis does not answer on the connection of subscriptions")

    def _leave_inherited(self) -> None:
        if self._pid != os.getpid():
            while (unused := self._pop_unused()) is not None:
                self._spent.add(unused)
            self.subscribed_to -= self._spent
            self.subscribed_to -= self._unconfirmed.keys()
            for keys in (self._sure, self._early, self._spent, self._unconfirmed):
                keys.clear()
        super()._leave_inherited()
