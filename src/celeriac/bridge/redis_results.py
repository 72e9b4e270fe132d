"""Celery's results in Redis, stored by a shard for many tasks at once.

Keys, values, expiry and channels are those of Celery's own backend: either may read what the other
has stored.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import msgspec
from celery import states
from celery._state import task_join_will_block
from celery.backends.redis import RedisBackend
from kombu.serialization import registry
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import JSONEncoder
from kombu.utils.json import dumps as kombu_dumps
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from celeriac.bridge.redis_ahead import AheadConsumer
from celeriac.brokers.redis_client import PATIENCE
from celeriac.brokers.redis_line import Line, Script
from celeriac.core.errors import BrokerUnavailable

__all__ = ["RedisResults"]

#: Stores and publishes each value whose key holds nothing; returns the numbers of the others.
STORE_NEW: Final = """
local taken = {}
for i, key in ipairs(KEYS) do
    local value, expires = ARGV[2 * i - 1], ARGV[2 * i]
    local stored
    if expires == '0' then
        stored = redis.call('SET', key, value, 'NX')
    else
        stored = redis.call('SET', key, value, 'NX', 'EX', expires)
    end
    if stored then redis.call('PUBLISH', key, value) else taken[#taken + 1] = i end
end
return taken
"""
#: Stores and publishes a task's RETRY unless its key holds an end.
STORE_RETRY: Final = """
local stored = redis.call('GET', KEYS[1])
if stored then
    local readable, meta = pcall(cjson.decode, stored)
    local ends = {SUCCESS = true, FAILURE = true, REVOKED = true}
    if readable and type(meta) == 'table' and ends[meta.status] then return 0 end
end
if ARGV[2] == '0' then
    redis.call('SET', KEYS[1], ARGV[1])
else
    redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
"""
#: Results and bytes that go to Redis in one call.
CHUNK_RESULTS, CHUNK_BYTES = 256, 1 << 20
#: Bytes from which on a result is stored at once, and all held results are.
LARGE, FULL = 1 << 18, 1 << 23
#: States after which nothing else is stored for the same run of a task, and STARTED, which nobody acts on.
HELD_STATES: Final = frozenset({states.STARTED, states.SUCCESS, states.FAILURE})


class _Held(msgspec.Struct, frozen=True):
    """A result that is not stored yet."""

    value: str | bytes
    #: Seconds, or 0 for never.
    expires: int
    state: str


class RedisResults(RedisBackend):
    """Celery's Redis backend; a shard's may hold results back, and publishing needs no answer of it.

    After :meth:`hold` the results of tasks stay in memory, where this process' reads see them, until
    :meth:`flush` stores all of them, a call for hundreds. Holding goes on after a flush. What others
    act upon at once is not held: parts of chords, failures with errbacks, retries, states of the
    task's own. A process that dies loses what it holds: settle no task before ``flush`` has returned.
    """

    ResultConsumer = AheadConsumer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: dict[bytes, _Held] = {}
        self._held_bytes = 0
        #: The process that holds results; a task's own forked child does not.
        self._holder: int | None = None
        self._extended = True
        #: Before 5.7 Celery keeps failures as long as everything else.
        self._failure_expires = getattr(self, "failure_expires", self.expires)
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        json = self.serializer == "json" and registry._encoders["json"][2] is kombu_dumps
        self._json = JSONEncoder() if json and not getattr(self, "compression", None) else None

    # -- Holding back

    def hold(self) -> None:
        """The results of this process' tasks stay in memory from now on, until the next :meth:`flush`."""
        if self._holder != os.getpid():
            self._held = {}
        self._extended = bool(self.app.conf.find_value_for_key("extended", "result"))
        self._holder = os.getpid()

    def flush(self) -> None:
        """All that was held is stored; if this raises BrokerUnavailable, what is not stored is still held."""
        if self._held and self._holder == os.getpid():
            try:
                self._store_held()
            except (RedisError, OSError) as error:
                raise BrokerUnavailable(f"the result store does not answer: {error}") from error

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        return isinstance(exc, BrokerUnavailable) or bool(super().exception_safe_to_retry(exc))

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        if not self._may_hold(state, request):
            if state == states.RETRY:
                self._drop_held(self.get_key_for_task(task_id))
            self._store_held_first()
            return super()._store_result(task_id, result, state, traceback, request=request, **kwargs)
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        meta["task_id"] = bytes_to_str(task_id)
        value = self.encode(meta)
        if len(value) > LARGE:
            self._store_held_first()
            return super()._store_result(task_id, result, state, traceback, request=request, **kwargs)
        expires = self._failure_expires if state == states.FAILURE else self.expires
        self._keep(self.get_key_for_task(task_id), _Held(value, expires or 0, state))
        return result

    def _may_hold(self, state: str, request: Any) -> bool:
        return (
            request is not None
            and self._holder is not None
            and state in HELD_STATES
            and not request.chord
            and not (state == states.FAILURE and (request.errbacks or request.chain))
            and self._holder == os.getpid()
        )

    def _keep(self, key: bytes, result: _Held) -> None:
        with self._lock:
            before = self._held.get(key)
            if before is not None:
                if before.state == states.SUCCESS:
                    return
                self._held_bytes -= len(before.value)
            self._held[key] = result
            self._held_bytes += len(result.value)
            is_full = self._held_bytes > FULL
        if is_full:
            with suppress(BrokerUnavailable):  # it stays held, and the shard's next flush meets the same
                self.flush()

    def _drop_held(self, key: bytes) -> None:
        """A STARTED that a retry follows is not stored over what the retry has come to."""
        with self._lock:
            if (held := self._held.get(key)) is not None and held.state == states.STARTED:
                del self._held[key]
                self._held_bytes -= len(held.value)

    def _store_held_first(self) -> None:
        """Others may act on what is stored next; what it follows is stored before, with Celery's retries."""
        if self._held and self._holder == os.getpid():
            self.ensure(self._store_held, ())

    def _store_held(self) -> None:
        with self._flushing:
            with self._lock:
                held = list(self._held.items())
            for chunk in _chunks(held):
                self._store_chunk(chunk)
                with self._lock:
                    for key, result in chunk:
                        if self._held.get(key) is result:  # else dropped, or a later state of the same task
                            del self._held[key]
                            self._held_bytes -= len(result.value)

    def _store_chunk(self, chunk: Sequence[tuple[bytes, _Held]]) -> None:
        """Store results, but none over a SUCCESS.

        Celery reads before each store to see that. Here the store itself says which keys held
        something, which is rare: a task that was started before or delivered twice. Only those are
        read, and compared as Celery does.
        """
        arguments = [argument for _, result in chunk for argument in (result.value, result.expires)]
        taken = self._store_new([key for key, _ in chunk], arguments)
        if not taken:
            return
        again = [chunk[number - 1] for number in taken]
        stored = self.impatient_client.mget([key for key, _ in again])
        with self.impatient_client.pipeline() as pipeline:
            for (key, result), value in zip(again, stored, strict=True):
                if not self._is_success(value):
                    pipeline.set(key, result.value, ex=result.expires or None)
                    pipeline.publish(key, result.value)
            pipeline.execute()

    def _is_success(self, value: Any) -> bool:
        try:
            return bool(value) and self.decode(value)["status"] == states.SUCCESS
        except Exception:
            return False  # nobody can read what is there, so it is nobody's result

    @cached_property
    def impatient_client(self) -> Any:
        """A client that gives up at once: its users have their own patience with a store that is away."""
        patience = getattr(self.app, "time_outs", {}).get("socket_timeout", PATIENCE)
        own = {"retry": Retry(NoBackoff(), 1), "socket_timeout": patience}
        return self._create_client(**{**self.connparams, **own})

    def _store_new(self, keys: Sequence[bytes], arguments: Sequence[Any]) -> Any:
        try:
            return self._new_results(arguments, keys)
        except RedisConnectionError:  # what is stored already is found and compared
            return self._new_results(arguments, keys)

    @cached_property
    def _new_results(self) -> Script:
        return Script(self.impatient_client, Line(self.impatient_client), STORE_NEW)

    # -- What Celery's backend does, with what is held in view

    def get(self, key: bytes) -> Any:
        held = self._held.get(key)
        return super().get(key) if held is None else held.value

    def mget(self, keys: Iterable[bytes]) -> list[Any]:
        keys = list(keys)
        values = super().mget(keys)
        if not self._held:
            return list(values)
        return [
            value if (held := self._held.get(key)) is None else held.value
            for key, value in zip(keys, values, strict=True)
        ]

    def _set_with_state(self, key: bytes, value: Any, state: str) -> Any:
        if state != states.RETRY:
            return super()._set_with_state(key, value, state)
        # The retry was sent before this, and may have ended since Celery looked at what is stored.
        return self.ensure(self._store_retry, ([key], [value, self.expires or 0]))

    @cached_property
    def _store_retry(self) -> Any:
        return self.client.register_script(STORE_RETRY)

    def delete(self, key: bytes) -> None:
        self._store_held_first()
        super().delete(key)

    def expire(self, key: bytes, value: int) -> Any:
        self._store_held_first()
        return super().expire(key, value)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> Any:
        self._store_held_first()
        return super().on_chord_part_return(request, state, result, **kwargs)

    @property
    def is_lazy(self) -> bool:
        """Whether a task may be published without a word to this backend."""
        return not self.result_consumer.is_eager

    @property
    def ids_ahead(self) -> AheadConsumer:
        """Where calls may take their ids from."""
        consumer: AheadConsumer = self.result_consumer
        return consumer

    def on_task_call(self, producer: Any, task_id: str) -> None:
        if not self.is_lazy:
            super().on_task_call(producer, task_id)
        elif not task_join_will_block():
            self.result_consumer.hear_of_call(task_id)

    # -- The same values as Celery's, made faster

    def encode(self, data: Any) -> Any:
        if self._json is not None:
            try:
                return self._json.encode(data)
            except (TypeError, ValueError, OverflowError, RecursionError):
                pass  # Celery's own way raises what the tracer expects
        return super().encode(data)

    def get_key_for_task(self, task_id: Any, key: Any = "") -> bytes:
        if type(task_id) is str and task_id and not key:
            return bytes(self.task_keyprefix + task_id.encode())
        return bytes(super().get_key_for_task(task_id, key))

    def _get_result_meta(
        self, result: Any, state: str, traceback: Any, request: Any, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        if self._extended or args or kwargs:
            return dict(super()._get_result_meta(result, state, traceback, request, *args, **kwargs))
        is_ready = state in states.READY_STATES
        meta = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": self.current_task_children(request),
            # What app.now() says, without going through two time zones.
            "date_done": datetime.now(self.app.timezone).isoformat() if is_ready else None,
        }
        if request and request.group:
            meta["group_id"] = request.group
        if request and request.parent_id:
            meta["parent_id"] = request.parent_id
        return meta


def _chunks(held: Sequence[tuple[bytes, _Held]]) -> Iterator[Sequence[tuple[bytes, _Held]]]:
    """Yield all of it in parts that Redis takes at once."""
    chunk: list[tuple[bytes, _Held]] = []
    size = 0
    for key, result in held:
        if chunk and (len(chunk) == CHUNK_RESULTS or size + len(result.value) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((key, result))
        size += len(result.value)
    if chunk:
        yield chunk
