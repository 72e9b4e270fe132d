"""Calls that are waited for one after the other: their results are subscribed to before they are called."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from celery import states
from redis import Redis

import celeriac
from celeriac.bridge.redis_ahead import AHEAD, WAITS_FIRST
from celeriac.bridge.redis_waiting import UNASKED
from tests.servers import RedisServer, wait_until

SHORT = 0.01


def _echo(*args: Any) -> Any:
    return args


class Shop:
    """An app that calls and waits, and what it calls."""

    def __init__(self, url: str) -> None:
        self.app = celeriac.Celery("calls", broker=f"{url}/6", backend=f"{url}/7", set_as_current=False)
        self.echo = self.app.task(name="echo")(_echo)
        self.app.finalize()
        self.queue = Redis.from_url(f"{url}/6")
        self._store = celeriac.Celery("store", backend=f"{url}/7", set_as_current=False).backend
        self.queue.flushdb()
        Redis.from_url(f"{url}/7").flushdb()

    @property
    def consumer(self) -> Any:
        return self.app.backend.result_consumer

    def finish(self, task_id: str, result: Any = "done") -> None:
        self._store.store_result(task_id, result, states.SUCCESS)

    @contextmanager
    def answering(self, pause: Callable[[], float] = lambda: 0.0) -> Iterator[None]:
        """Every call has its own id as its result."""
        ended = threading.Event()

        def answer() -> None:
            while not ended.is_set():
                popped = self.queue.brpop(["celery"], timeout=1)
                if popped is not None:
                    task_id = json.loads(popped[1])["headers"]["id"]
                    time.sleep(pause())
                    self.finish(task_id, task_id)

        with ThreadPoolExecutor(1) as threads:
            answered = threads.submit(answer)
            try:
                yield
            finally:
                ended.set()
        answered.result()

    def warm(self) -> None:
        """Call and wait until results are subscribed to ahead."""
        with self.answering():
            for _ in range(WAITS_FIRST + 2):
                result = self.echo.delay()
                assert result.get(timeout=10) == result.id
        assert self.consumer._ahead

    def call_ahead(self) -> Any:
        """Return the result of a call that is sure to be heard."""
        result = self.echo.delay()
        assert self.consumer._get_key_for_task(result.id) in self.consumer._sure
        return result


@pytest.fixture
def shop(redis: RedisServer) -> Iterator[Shop]:
    shop = Shop(redis.url.rsplit("/", 1)[0])
    yield shop
    shop.consumer.stop()


def commands_since(shop: Shop, action: Callable[[], Any]) -> dict[str, int]:
    shop.queue.config_resetstat()
    action()
    stats: Any = shop.queue.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in stats.items()}


def calls_channels(shop: Shop) -> int:
    """How many results this process is told of."""
    return len(shop.queue.pubsub_channels("celery-task-meta-*"))


def test_a_call_and_its_wait_ask_redis_once(shop: Shop) -> None:
    shop.warm()

    def call() -> None:
        result = shop.call_ahead()
        shop.finish(result.id, 5)
        assert result.get(timeout=10) == 5

    asked = commands_since(shop, call)
    assert asked["lpush"] == 1
    assert not {"subscribe", "unsubscribe"} & set(asked)
    assert asked.get("get", 0) == 1  # Celery's look before it stores a result; none of the wait


def test_nothing_is_subscribed_to_ahead_before_a_process_waits_again_and_again(shop: Shop) -> None:
    with shop.answering():
        for _ in range(WAITS_FIRST - 1):
            shop.echo.delay().get(timeout=10)
        for _ in range(2 * UNASKED):
            shop.echo.delay()
    assert not shop.consumer._early


def test_the_ids_used_up_are_replaced_and_what_is_over_is_unsubscribed(shop: Shop) -> None:
    seen = []
    with shop.answering():
        for _ in range(4 * AHEAD):
            result = shop.echo.delay()
            assert result.get(timeout=10) == result.id
            seen.append(result.id)
            assert calls_channels(shop) <= 2 * AHEAD + 1
    assert len(set(seen)) == len(seen)


def test_a_result_that_another_thread_has_heard_is_there(shop: Shop) -> None:
    shop.warm()
    first, second = shop.call_ahead(), shop.call_ahead()
    with ThreadPoolExecutor(1) as threads:
        got = threads.submit(second.get, timeout=10)
        shop.finish(first.id, 1)  # heard by the other thread, which waits for something else
        shop.finish(second.id, 2)
        assert got.result() == 2
    shop.app.backend._pending_messages.take(first.id)  # what is kept of unexpected results is bounded
    assert first.get(timeout=10) == 1


def test_no_result_is_missed_by_threads_that_read_each_others_messages(shop: Shop) -> None:
    """Some results are there before their wait begins, some after; a missed one times out."""
    shop.warm()
    moments = iter(range(10_000_000))

    def call(number: int) -> bool:
        result = shop.echo.delay()
        time.sleep(number % 7 * 1e-4)  # moves the wait along the store
        return bool(result.get(timeout=20) == result.id)

    with shop.answering(lambda: next(moments) % 5 * 1e-4), ThreadPoolExecutor(6) as threads:
        assert all(threads.map(call, range(600)))


def test_a_result_stored_while_the_connection_was_down_is_found(shop: Shop) -> None:
    shop.warm()
    result = shop.call_ahead()
    shop.queue.client_kill_filter(_type="pubsub")
    wait_until(lambda: not calls_channels(shop), what="the end of the connection")
    shop.finish(result.id, 5)
    assert result.get(timeout=10) == 5


def test_a_wait_hears_what_is_stored_while_its_connection_is_made_anew(shop: Shop) -> None:
    shop.warm()
    for number in range(20):
        result = shop.echo.delay()
        with ThreadPoolExecutor(1) as threads:
            got = threads.submit(result.get, timeout=10)
            shop.queue.client_kill_filter(_type="pubsub")
            time.sleep(number * 1e-4)  # moves the store along the reconnection
            shop.finish(result.id, number)
            assert got.result() == number


def test_a_forked_child_uses_none_of_its_parents_ids(shop: Shop) -> None:
    shop.warm()
    ahead = set(shop.consumer._ahead)
    pid = os.fork()
    if pid == 0:
        try:
            result = shop.echo.delay()
            shop.finish(result.id, 5)
            fine = result.id not in ahead and result.get(timeout=10) == 5
        except BaseException:  # the exit code tells the parent
            fine = False
        os._exit(0 if fine else 1)
    assert os.waitpid(pid, 0)[1] == 0
    result = shop.call_ahead()
    assert result.id in ahead
    shop.finish(result.id, 6)
    assert result.get(timeout=10) == 6


def test_ids_that_nobody_has_used_for_long_are_replaced(shop: Shop) -> None:
    shop.warm()
    old = set(shop.consumer._ahead)
    shop.consumer._use_until = time.monotonic() - SHORT
    with shop.answering():
        while not (shop.consumer._ahead and old.isdisjoint(shop.consumer._ahead)):
            result = shop.echo.delay()
            assert result.id not in old
            result.get(timeout=10)
    wait_until(lambda: calls_channels(shop) <= AHEAD, what="the end of the old subscriptions")


def test_a_call_that_cannot_be_published_leaves_its_id(shop: Shop) -> None:
    shop.warm()
    ahead = len(shop.consumer._ahead)
    with pytest.raises(Exception, match=r"(?i)not JSON serializable|encod"):
        shop.echo.delay(object())
    assert len(shop.consumer._ahead) == ahead


def test_results_that_are_waited_for_again_are_found(shop: Shop) -> None:
    shop.warm()
    result = shop.call_ahead()
    shop.finish(result.id, 5)
    assert result.get(timeout=10) == 5
    again = shop.app.AsyncResult(result.id)
    assert again.get(timeout=10) == 5
    again.forget()
    with ThreadPoolExecutor(1) as threads:
        third = threads.submit(shop.app.AsyncResult(result.id).get, timeout=10)
        wait_until(lambda: bool(shop.app.backend._pending_results[0].get(result.id)), what="the wait")
        shop.finish(result.id, 6)
        assert third.result() == 6


def test_calls_that_are_not_waited_for_are_forgotten(shop: Shop) -> None:
    shop.warm()
    for _ in range(2):
        results = [shop.echo.delay() for _ in range(AHEAD)]
        for result in results:
            shop.finish(result.id)
        del results, result
        shop.queue.delete("celery")
        with shop.answering():
            for _ in range(2):
                shop.echo.delay().get(timeout=10)
    wait_until(lambda: calls_channels(shop) <= AHEAD + UNASKED, what="the end of subscriptions")
    assert len(shop.consumer.subscribed_to) <= AHEAD + UNASKED


def test_what_redis_still_tells_of_results_that_were_given_up_is_kept_for_nobody(shop: Shop) -> None:
    with shop.answering():
        for _ in range(20):
            waited = shop.echo.delay()
            for _ in range(UNASKED):
                shop.echo.delay()  # subscribed to, and given up before its result is there
            assert waited.get(timeout=10) == waited.id
    assert len(shop.app.backend._pending_messages) == 0
