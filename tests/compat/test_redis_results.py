"""Celery results in Redis: the same as Celery's own, held back by a shard, never missed by a wait."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import celery
import pytest
from celery import group, states
from celery.app.task import Context
from celery.backends.base import DisabledBackend
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.exceptions import TimeoutError as ResultTimeout
from redis import Redis

import celeriac
from celeriac.bridge import redis_results
from celeriac.bridge.redis_results import RedisResults
from celeriac.bridge.redis_waiting import UNASKED
from celeriac.core.errors import BrokerUnavailable
from tests.servers import RedisServer, redis_server, wait_until
from tests.stage import APP, Stage

MakeApp = Callable[..., Any]


@pytest.fixture
def url(redis: RedisServer) -> Iterator[str]:
    """A database of the server that nobody else uses."""
    url = f"{redis.url[:-1]}7"
    Redis.from_url(url).flushdb()
    yield url
    Redis.from_url(url).flushdb()


@pytest.fixture
def server(url: str) -> Redis:
    return Redis.from_url(url)


@pytest.fixture
def make_app(url: str) -> MakeApp:
    """Makes Celeriac apps, or stock ones, with one and the same result store."""

    def make(kind: type[Any] = celeriac.Celery, backend: str = url, **settings: Any) -> Any:
        app = kind("results", backend=backend, set_as_current=False)
        app.conf.update(broker_url=f"{url[:-1]}6", **settings)
        return app

    return make


@pytest.fixture
def store(make_app: MakeApp) -> RedisResults:
    """A backend that holds results back."""
    backend: RedisResults = make_app().backend
    backend.hold()
    return backend


def request(task_id: str, **values: Any) -> Context:
    return Context({"id": task_id, "root_id": task_id, **values})


def subscribed(server: Redis, task_id: str) -> bool:
    """Whether anybody waits for the task's result."""
    return f"celery-task-meta-{task_id}".encode() in server.pubsub_channels()


def finish(
    backend: Any, task_id: str, result: Any = None, state: str = states.SUCCESS, **values: Any
) -> None:
    backend.store_result(task_id, result, state, request=request(task_id, **values))


# -- Which backend


@pytest.mark.parametrize("scheme", ["redis://", "redis+socket://", "rediss://"])
def test_redis_urls_get_our_backend(scheme: str) -> None:
    query = "?ssl_cert_reqs=required" if scheme == "rediss://" else ""
    app = celeriac.Celery(
        "any", backend=f"{scheme}/somewhere/1{query}" if "+" in scheme else f"{scheme}h/1{query}"
    )
    assert type(app.backend) is RedisResults


class OwnBackend(RedisBackend):
    """What an application brings along."""


def test_other_backends_stay_as_they_are() -> None:
    sentinel = celeriac.Celery("any", backend="sentinel://one:26379")
    own = celeriac.Celery("any", backend=f"{__name__}:{OwnBackend.__name__}")
    assert type(sentinel.backend) is SentinelBackend
    assert type(own.backend) is OwnBackend
    assert type(celeriac.Celery("any").backend) is DisabledBackend
    assert type(celery.Celery("any", backend="redis://").backend) is RedisBackend


def test_the_backend_can_be_pickled(make_app: MakeApp) -> None:
    app = make_app()
    app.set_current()
    copy = pickle.loads(pickle.dumps(app.backend))
    assert type(copy) is RedisResults
    copy.store_result("a", 1, states.SUCCESS)
    assert app.AsyncResult("a").get(timeout=1) == 1


# -- The same as Celery's


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"result_extended": True},
        {"result_serializer": "pickle", "result_accept_content": ["pickle"]},
        {"result_compression": "gzip"},
        {"result_expires": None},
        {"result_expires": 50, "timezone": "Asia/Tokyo"},
        {"result_backend_transport_options": {"global_keyprefix": "shop"}},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("state", "result"),
    [
        (states.SUCCESS, {"n": [1, 2.5, None, "ä"], "at": b"bytes"}),
        (states.FAILURE, ValueError("no good")),
        (states.STARTED, {"pid": 1, "hostname": "h"}),
    ],
    ids=["success", "failure", "started"],
)
@pytest.mark.shows("setting", "result_backend")
def test_what_is_stored_is_what_celery_stores(
    make_app: MakeApp, server: Redis, settings: dict[str, Any], state: str, result: Any
) -> None:
    values = {"task": "shop.add", "args": [1], "kwargs": {}, "group": "g", "parent_id": "p", "hostname": "h"}
    stored = {}
    for kind in (celery.Celery, celeriac.Celery):
        backend = make_app(kind, **settings).backend
        if kind is celeriac.Celery:
            backend.hold()
        pubsub = server.pubsub(ignore_subscribe_messages=True)
        pubsub.psubscribe("*")
        finish(backend, "same-id", result, state, delivery_info={"routing_key": "q"}, **values)
        if kind is celeriac.Celery:
            backend.flush()
        (key,) = server.keys()
        message = None
        while message is None:
            message = pubsub.get_message(timeout=5)
        assert message["channel"] == key
        assert message["data"] == server.get(key)
        meta = backend.decode(server.get(key))
        when = meta.pop("date_done")
        offset = None if when is None else when[-6:]
        length = None if when is None else len(when)
        stored[kind] = (key, repr(meta), offset, length, server.ttl(key))
        pubsub.close()
        server.flushdb()
    assert stored[celeriac.Celery] == stored[celery.Celery]


def test_the_bytes_are_those_of_celery(make_app: MakeApp, server: Redis) -> None:
    meta = {"status": "SUCCESS", "result": {"ä": [1.5, None, float("inf"), b"x"]}, "children": []}
    assert make_app().backend.encode(meta) == make_app(celery.Celery).backend.encode(meta)


def test_a_result_that_cannot_be_encoded_raises_as_in_celery(store: RedisResults, make_app: MakeApp) -> None:
    with pytest.raises(Exception) as stock:
        finish(make_app(celery.Celery).backend, "a", object())
    with pytest.raises(type(stock.value)):
        finish(store, "a", object())


@pytest.mark.shows("setting", "result_failure_expires")
def test_failures_expire_as_configured(make_app: MakeApp, server: Redis) -> None:
    backend = make_app(result_expires=1000, result_failure_expires=50).backend
    backend.hold()
    finish(backend, "good")
    finish(backend, "bad", ValueError("no"), states.FAILURE)
    backend.flush()
    assert 900 < server.ttl(backend.get_key_for_task("good")) <= 1000
    assert 0 < server.ttl(backend.get_key_for_task("bad")) <= 50


# -- Holding back


def test_held_results_are_stored_by_a_flush_and_holding_goes_on(store: RedisResults, server: Redis) -> None:
    for number in range(3):
        finish(store, f"task-{number}", number)
    assert not server.keys()
    store.flush()
    assert len(server.keys()) == 3
    finish(store, "later")
    assert len(server.keys()) == 3
    store.flush()
    assert len(server.keys()) == 4


def test_many_results_take_few_calls(store: RedisResults, server: Redis) -> None:
    finish(store, "first")
    store.flush()
    for number in range(500):
        finish(store, f"task-{number}", number)
    before = server.info("commandstats")["cmdstat_evalsha"]["calls"]  # type: ignore[index]
    store.flush()
    assert server.info("commandstats")["cmdstat_evalsha"]["calls"] - before == 2  # type: ignore[index]
    assert server.dbsize() == 501


def test_this_process_reads_what_is_held(store: RedisResults) -> None:
    finish(store, "a", 1)
    assert store.app.AsyncResult("a").get(timeout=1) == 1
    assert store.get_state("a") == states.SUCCESS
    key, other = store.get_key_for_task("a"), store.get_key_for_task("b")
    assert [value is None for value in store.mget([other, key])] == [True, False]


def test_a_result_stored_over_a_held_one_is_the_one_that_counts(store: RedisResults) -> None:
    finish(store, "a", {"pid": 1}, states.STARTED)
    finish(store, "a", 1)
    finish(store, "a", {"pid": 2}, states.STARTED)
    store.flush()
    assert store.app.AsyncResult("a").get(timeout=1) == 1


def test_a_state_stored_before_is_followed_by_the_next(store: RedisResults, make_app: MakeApp) -> None:
    finish(store, "a", {"pid": 1}, states.STARTED)
    store.flush()
    finish(store, "a", ValueError("no"), states.FAILURE)
    store.flush()
    finish(store, "a", 3)
    store.flush()
    assert make_app().AsyncResult("a").get(timeout=1) == 3


@pytest.mark.parametrize("later", [states.STARTED, states.FAILURE, states.SUCCESS])
def test_a_stored_success_is_never_overwritten(store: RedisResults, make_app: MakeApp, later: str) -> None:
    make_app(celery.Celery).backend.store_result("a", "first", states.SUCCESS)
    finish(store, "a", ValueError("second") if later == states.FAILURE else "second", later)
    finish(store, "b", "new")
    store.flush()
    assert make_app().AsyncResult("a").get(timeout=1) == "first"
    assert make_app().AsyncResult("b").get(timeout=1) == "new"


def test_a_retry_that_has_ended_already_is_not_overwritten(make_app: MakeApp, server: Redis) -> None:
    backend = make_app().backend
    error = {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}
    retried = backend.encode({"status": "RETRY", "result": error})
    ends = {"quick": "SUCCESS", "bad": "FAILURE", "stopped": "REVOKED", "slow": "STARTED"}
    for task_id, state in ends.items():
        finish(backend, task_id, ValueError("no") if state in ("FAILURE", "REVOKED") else 1, state)
        backend._set_with_state(backend.get_key_for_task(task_id), retried, states.RETRY)
    assert [backend.get_state(task_id) for task_id in ends] == ["SUCCESS", "FAILURE", "REVOKED", "RETRY"]
    assert server.ttl(backend.get_key_for_task("slow")) > 0


def test_a_held_start_is_not_stored_over_what_a_retry_has_come_to(
    store: RedisResults, make_app: MakeApp
) -> None:
    finish(store, "a", {"pid": 1}, states.STARTED)
    make_app(celery.Celery).backend.store_result("a", ValueError("no"), states.FAILURE)
    finish(store, "a", ValueError("again"), states.RETRY)
    assert make_app().AsyncResult("a").state == states.FAILURE


def test_what_nobody_can_read_is_overwritten(store: RedisResults, server: Redis, make_app: MakeApp) -> None:
    server.set(store.get_key_for_task("a"), b"\x00rubbish")
    finish(store, "a", 1)
    store.flush()
    assert make_app().AsyncResult("a").get(timeout=1) == 1


@pytest.mark.parametrize(
    ("state", "values"),
    [
        (states.SUCCESS, {"chord": {"task": "body"}}),
        (states.FAILURE, {"errbacks": [{"task": "told"}]}),
        (states.RETRY, {}),
        ("PROGRESS", {}),
    ],
)
def test_what_others_act_upon_is_stored_at_once_after_what_was_held(
    store: RedisResults, server: Redis, state: str, values: dict[str, Any]
) -> None:
    finish(store, "before")
    error = state in (states.FAILURE, states.RETRY)
    finish(store, "now", ValueError("no") if error else 1, state, **values)
    assert server.exists(store.get_key_for_task("before"), store.get_key_for_task("now")) == 2


def test_what_is_stored_outside_a_task_is_not_held(store: RedisResults, server: Redis) -> None:
    store.store_result("a", 1, states.SUCCESS)
    assert server.exists(store.get_key_for_task("a"))


def test_large_results_are_not_held(store: RedisResults, server: Redis) -> None:
    finish(store, "small")
    finish(store, "large", "x" * redis_results.LARGE)
    assert server.dbsize() == 2


def test_much_is_not_held_for_long(store: RedisResults, server: Redis) -> None:
    text = "x" * (redis_results.LARGE // 2)
    for number in range(redis_results.FULL // len(text) + 1):
        finish(store, f"task-{number}", text)
    assert server.dbsize() >= redis_results.FULL // len(text)


def test_a_forgotten_result_is_gone(store: RedisResults, server: Redis) -> None:
    finish(store, "a")
    store.app.AsyncResult("a").forget()
    store.flush()
    assert not server.keys()


def test_flushing_in_one_thread_and_storing_in_another_loses_nothing(
    store: RedisResults, server: Redis
) -> None:
    done = threading.Event()

    def flush_again_and_again() -> None:
        while not done.is_set():
            store.flush()

    keeper = threading.Thread(target=flush_again_and_again)
    keeper.start()
    try:
        for number in range(3000):
            finish(store, f"task-{number}", {"pid": 1}, states.STARTED)
            finish(store, f"task-{number}", number)
    finally:
        done.set()
        keeper.join()
    store.flush()
    results = store.mget([store.get_key_for_task(f"task-{number}") for number in range(3000)])
    assert [store.decode(value)["result"] for value in results] == list(range(3000))


def test_a_forked_child_of_a_task_holds_nothing(store: RedisResults, server: Redis) -> None:
    finish(store, "parents")
    pid = os.fork()
    if pid == 0:
        finish(store, "childs", "child")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert server.keys() == [store.get_key_for_task("childs")]
    store.flush()
    assert server.dbsize() == 2


def test_a_store_that_is_away_keeps_everything_held() -> None:
    with redis_server() as private:
        app = celeriac.Celery("away", backend=private.url, set_as_current=False)
        store = app.backend
        store.hold()
        finish(store, "a", 1)
        private.stop()
        with pytest.raises(BrokerUnavailable, match="result store"):
            store.flush()
        finish(store, "b", 2)
        with pytest.raises(BrokerUnavailable):
            store.flush()
        private.start()
        store.flush()
        assert [app.AsyncResult(each).get(timeout=5) for each in "ab"] == [1, 2]


def test_a_store_that_is_full_keeps_everything_held(store: RedisResults, server: Redis) -> None:
    finish(store, "a", "x" * 1000)
    server.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerUnavailable):
            store.flush()
    finally:
        server.config_set("maxmemory", "0")
    store.flush()
    assert store.app.AsyncResult("a").get(timeout=1) == "x" * 1000


# -- Waiting


def test_a_process_subscribes_to_few_results_before_it_waits(make_app: MakeApp, server: Redis) -> None:
    app = make_app()
    app.finalize()
    first = [app.send_task("any") for _ in range(UNASKED)]
    wait_until(lambda: all(subscribed(server, result.id) for result in first), what="all subscriptions")
    results = [app.send_task("any") for _ in range(3)]
    assert "cmdstat_subscribe" not in _commandstats_since(server, lambda: app.send_task("any"))
    assert not any(subscribed(server, result.id) for result in results)
    with pytest.raises(ResultTimeout):
        results[0].get(timeout=0.05)
    assert [subscribed(server, result.id) for result in results] == [True, False, False]
    next_one = app.send_task("any")
    wait_until(lambda: subscribed(server, next_one.id), what="a subscription after a wait")


def test_publishing_does_not_fail_with_the_store(make_app: MakeApp) -> None:
    with redis_server() as private:
        app = make_app(backend=private.url)
        app.finalize()
        private.stop()
        result = app.send_task("any")
        private.start()
        make_app(celery.Celery, backend=private.url).backend.store_result(result.id, 1, states.SUCCESS)
        assert result.get(timeout=10) == 1


def _commandstats_since(server: Redis, action: Callable[[], Any]) -> set[str]:
    server.config_resetstat()
    action()
    return set(server.info("commandstats"))


def test_a_result_that_is_there_is_returned_without_subscribing(make_app: MakeApp, server: Redis) -> None:
    app = make_app()
    app.backend.store_result("a", 1, states.SUCCESS)
    stats = _commandstats_since(server, lambda: make_app().AsyncResult("a").get(timeout=5))
    assert "cmdstat_get" in stats
    assert "cmdstat_subscribe" not in stats


def test_a_result_stored_while_somebody_waits_arrives(make_app: MakeApp, server: Redis) -> None:
    waiting = make_app().AsyncResult(uuid4().hex)
    with ThreadPoolExecutor(1) as threads:
        got = threads.submit(waiting.get, timeout=20)
        wait_until(lambda: subscribed(server, waiting.id), what="subscription")
        make_app(celery.Celery).backend.store_result(waiting.id, 5, states.SUCCESS)
        assert got.result() == 5
    wait_until(lambda: not subscribed(server, waiting.id), what="end of the subscription")


def test_no_result_is_missed_whenever_it_is_stored(make_app: MakeApp) -> None:
    """Results are stored at every instant around the beginning of a wait; a missed one times out."""
    app, worker = make_app(), make_app().backend
    for number in range(300):
        task_id = uuid4().hex
        storing = threading.Thread(target=worker.store_result, args=(task_id, number, states.SUCCESS))
        storing.start()
        time.sleep(number * 5e-6)  # moves the wait along the store
        assert app.AsyncResult(task_id).get(timeout=10) == number
        storing.join()


def test_a_timed_out_wait_may_be_tried_again(make_app: MakeApp) -> None:
    app = make_app()
    result = app.AsyncResult("a")
    with pytest.raises(ResultTimeout):
        result.get(timeout=0.05)
    make_app().backend.store_result("a", 1, states.SUCCESS)
    assert result.get(timeout=10) == 1


def test_many_threads_wait_for_the_same_and_for_different_results(make_app: MakeApp) -> None:
    app, worker = make_app(result_backend_thread_safe=True), make_app().backend
    names = [f"task-{number % 20}" for number in range(40)]
    with ThreadPoolExecutor(40) as threads:
        waiting = [threads.submit(app.AsyncResult(name).get, timeout=20) for name in names]
        for number in range(20):
            worker.store_result(f"task-{number}", f"task-{number}", states.SUCCESS)
        assert [each.result() for each in waiting] == names


def test_a_group_of_many_results_is_joined(make_app: MakeApp) -> None:
    app, worker = make_app(), make_app().backend
    worker.hold()
    ids = [f"task-{number}" for number in range(2500)]
    for number in range(0, 2500, 2):  # half of them before the join begins
        finish(worker, ids[number], number)
    worker.flush()
    members = app.ResultSet([app.AsyncResult(task_id) for task_id in ids])

    def store_rest() -> None:
        for number in range(1, 2500, 2):
            finish(worker, ids[number], number)
        worker.flush()

    storing = threading.Thread(target=store_rest)
    storing.start()
    assert members.join_native(timeout=30) == list(range(2500))
    storing.join()


def test_results_are_yielded_as_they_come(make_app: MakeApp) -> None:
    app, worker = make_app(), make_app().backend
    members = app.GroupResult("g", [app.AsyncResult("a"), app.AsyncResult("b")])
    worker.store_result("b", 2, states.SUCCESS)
    found = members.iter_native(timeout=20)
    assert next(found)[0] == "b"
    worker.store_result("a", 1, states.SUCCESS)
    assert next(found)[0] == "a"
    assert members.ready()


def test_a_forked_producer_and_its_parent_both_hear_of_their_results(
    make_app: MakeApp, server: Redis
) -> None:
    app = make_app()
    parents, both = app.AsyncResult("parents"), app.AsyncResult("both")
    for result in (parents, both):
        with pytest.raises(ResultTimeout):
            result.get(timeout=0.05)
    pid = os.fork()
    if pid == 0:
        try:
            fine = app.AsyncResult("childs").get(timeout=20) == 1 and both.get(timeout=20) == 2
        except BaseException:  # the exit code tells the parent
            fine = False
        os._exit(0 if fine else 1)
    worker = make_app().backend
    wait_until(lambda: subscribed(server, "childs"), what="child")
    for result, task_id in enumerate(["childs", "both", "parents"], 1):
        worker.store_result(task_id, result, states.SUCCESS)
    assert os.waitpid(pid, 0)[1] == 0
    assert parents.get(timeout=20) == 3
    assert both.get(timeout=20) == 2


def test_a_wait_outlives_the_connection(make_app: MakeApp, server: Redis) -> None:
    waiting = make_app().AsyncResult(uuid4().hex)
    with ThreadPoolExecutor(1) as threads:
        got = threads.submit(waiting.get, timeout=30)
        wait_until(lambda: subscribed(server, waiting.id), what="subscription")
        server.client_kill_filter(_type="pubsub")
        wait_until(lambda: subscribed(server, waiting.id), what="subscription anew")
        make_app().backend.store_result(waiting.id, 5, states.SUCCESS)
        assert got.result() == 5


# -- A worker


def test_the_results_of_a_worker_arrive(redis_stage: Stage) -> None:
    signature = redis_stage.app.signature
    with redis_stage.worker("-c", "2"):
        results = [redis_stage.send("add", number, 1) for number in range(50)]
        adding = group(signature(f"{APP}.add", (number, number)) for number in range(20))
        chord = (adding | signature(f"{APP}.total")).apply_async()
        failing = redis_stage.send("fail", "on purpose")
        many = redis_stage.app.send_many(signature(f"{APP}.add", (number, 2)) for number in range(50))
        assert [result.get(timeout=20) for result in results] == list(range(1, 51))
        assert chord.get(timeout=20) == 380
        assert [result.get(timeout=20) for result in many] == list(range(2, 52))
        with pytest.raises(ValueError, match="on purpose"):
            failing.get(timeout=20)
