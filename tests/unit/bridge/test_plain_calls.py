"""Plain calls are filled in from a template, and nobody can tell their messages from Celery's."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from celery import Celery as StockCelery
from celery import chain, chord, group, signals
from celery._state import _task_stack
from kombu.exceptions import EncodeError

from celeriac.bridge import batches
from celeriac.bridge.batches import PATIENCE
from celeriac.bridge.template import fresh_id
from celeriac.bridge.wire import decode
from celeriac.core.message import Message
from tests.servers import RedisServer
from tests.unit.bridge.shop import Shop, add
from tests.unit.bridge.test_publish_as_celery import JSON, SAME, Twins, comparable

Call = Callable[[Any], object]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def told(message: Message) -> Any:
    return decode(message.payload, JSON)


def spy_on_celery(app: Any) -> list[str]:
    """Names of the tasks for which Celery's own message factory is called from now on."""
    made: list[str] = []
    factory = app.amqp.create_task_message

    def watch(task_id: str, name: str, *args: Any, **options: Any) -> Any:
        made.append(name)
        return factory(task_id, name, *args, **options)

    app.amqp.create_task_message = watch
    return made


def same_as_celerys(redis: RedisServer, call: Call, **configuration: Any) -> None:
    """The second message of a kind, which is filled in, is Celery's; the first has made the template."""
    twins = Twins(redis, **configuration)
    for app in twins.apps.values():
        call(app)
        app.connection_for_read().default_channel._purge("celery")
    twins.watching.seen.clear()
    made = spy_on_celery(twins.apps["ours"])
    ours, theirs = twins.envelopes(call)
    assert made == []
    assert list(ours["headers"]) == list(theirs["headers"])
    assert comparable(ours) == comparable(theirs)


# -- The same as Celery's


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"priority": 3},
        {"priority": 15},
        {"shadow": "other % name", "time_limit": 10, "soft_time_limit": 5, "ignore_result": True},
        {"delivery_mode": "transient", "serializer": "json", "mine": "property"},
        {"link": {"task": "shop.then"}, "link_error": [{"task": "shop.sorry"}]},
        {"chain": [{"task": "shop.next"}], "chord": {"task": "shop.body"}},
        {"group_id": "g", "group_index": 1, "root_id": "r", "parent_id": "p"},
        {"expiration": 3, "retry": False, "mandatory": True},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {"x": "it's", "y": [True, {"z": ()}]}),
        ([1.5, None], None),
        (("it's", 'a "text" \\ % ä \n \x00'), None),
        (({"deep": [[[1]]]}, b"bytes"), {}),
        ((float("nan"), float("inf")), {}),
        (("long " * 500, 2), {}),
    ],
    ids=["plain", "list", "text", "deep", "numbers", "long"],
)
def test_a_filled_in_message_is_celerys(
    redis: RedisServer, args: Any, kwargs: Any, options: dict[str, Any]
) -> None:
    same_as_celerys(redis, lambda app: app.tasks["shop.add"].apply_async(args, kwargs, **options, **SAME))


def test_what_no_utf8_can_hold_is_written_as_celery_does(redis: RedisServer) -> None:
    ours, theirs = Twins(redis).envelopes(
        lambda app: app.tasks["shop.add"].apply_async(("\ud800", 1), **SAME)
    )
    assert comparable(ours) == comparable(theirs)


def test_so_is_one_sent_by_the_name_of_a_task_of_others(redis: RedisServer) -> None:
    same_as_celerys(redis, lambda app: app.send_task("others.task", (1,), {"a": 2}, **SAME))


def test_so_is_one_that_is_routed(redis: RedisServer) -> None:
    routes = {"shop.*": {"queue": "celery", "priority": 6}}
    same_as_celerys(redis, lambda app: app.tasks["shop.add"].apply_async((1, 2), **SAME), task_routes=routes)


def test_so_is_one_that_a_running_task_sends(redis: RedisServer) -> None:
    def call(app: Any) -> None:
        task = app.tasks["shop.add"]
        task.push_request(id="parent", root_id="root", called_directly=False)
        _task_stack.push(task)
        try:
            result = task.apply_async((1, 2), **SAME)
            assert task.request.children == [result]
        finally:
            _task_stack.pop()
            task.pop_request()

    same_as_celerys(redis, call)


def test_ids_are_random_uuids() -> None:
    ids = {fresh_id() for _ in range(1000)}
    assert len(ids) == 1000
    for text in ids:
        assert (len(text), text[14]) == (36, "4")
        assert text[19] in "89ab"


def test_each_message_has_an_id_and_a_tag_of_its_own(shop: Shop) -> None:
    shop.add.delay(0, 0)
    together = threading.Barrier(3)  # so that no thread takes over the identity of one that has ended

    def call() -> None:
        together.wait()
        for _ in range(20):
            shop.add.delay(1, 2)
        together.wait()

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    envelopes = [json.loads(message.payload) for message in shop.watching.seen]
    assert len({envelope["headers"]["id"] for envelope in envelopes}) == 61
    assert len({envelope["properties"]["delivery_tag"] for envelope in envelopes}) == 61
    assert len({envelope["properties"]["reply_to"] for envelope in envelopes}) == 4


def test_a_forked_child_says_who_it_is(shop: Shop) -> None:
    shop.add.delay(1, 2)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        shop.add.delay(1, 2)
        os.write(writing, shop.watching.seen[-1].payload)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    childs, mine = json.loads(os.read(reading, 1 << 16)), json.loads(shop.watching.seen[0].payload)
    assert childs["headers"]["origin"].startswith(f"gen{pid}@")
    tags = [each["properties"]["delivery_tag"] for each in (childs, mine)]
    assert tags[0][:24] != tags[1][:24]


# -- What is not plain is left to Celery


@pytest.mark.parametrize(
    "configuration",
    [
        {"task_send_sent_event": True},
        {"task_protocol": 1},
        {"task_inherit_parent_priority": True},
        {"task_routes": [lambda name, *_, **__: {"queue": "routed"}]},
    ],
    ids=lambda configuration: next(iter(configuration)),
)
def test_settings_that_leave_something_to_decide(shop: Shop, configuration: dict[str, Any]) -> None:
    shop.add.delay(1, 2)
    shop.app.conf.update(**configuration)
    shop.app.amqp.__dict__.pop("create_task_message", None)
    made = spy_on_celery(shop.app)
    for _ in range(2):
        shop.add.delay(1, 2)
    assert len(made) >= 2


@pytest.mark.parametrize(
    "options", [{"countdown": 9}, {"expires": 9}, {"headers": {"a": 1}}, {"serializer": "pickle"}], ids=str
)
def test_options_that_leave_something_to_decide(shop: Shop, options: dict[str, Any]) -> None:
    made = spy_on_celery(shop.app)
    for _ in range(2):
        shop.add.apply_async((1, 2), **options)
    assert made.count("shop.add") >= 2


def test_receivers_of_signals_get_every_message(shop: Shop) -> None:
    shop.add.delay(1, 2)
    heard: list[str] = []

    def hear(headers: dict[str, Any], **_: Any) -> None:
        heard.append(headers["id"])

    signals.before_task_publish.connect(hear)
    try:
        results = [*(shop.add.delay(1, 2) for _ in range(2)), *shop.add.delay_many([(1, 2)] * 3)]
    finally:
        signals.before_task_publish.disconnect(hear)
    assert heard == [result.id for result in results]


def test_wrong_arguments_raise_as_in_celery(shop: Shop) -> None:
    shop.add.delay(1, 2)
    with pytest.raises(TypeError, match="missing 1 required"):
        shop.add.delay(1)
    with pytest.raises(EncodeError):
        shop.add.delay(1, object())
    with pytest.raises(TypeError, match="list or tuple"):
        shop.app.send_task("others.task", "text")


def test_settings_changed_later_count(shop: Shop) -> None:
    shop.add.delay(1, 2)
    shop.app.conf.task_always_eager = True
    assert shop.add.delay(1, 2).get() == 3
    assert len(shop.watching.seen) == 1
    shop.app.conf.task_always_eager = False
    shop.app.conf.update(task_routes={"shop.add": "routed"})
    shop.add.delay(1, 2)
    assert shop.watching.seen[-1].queue == "routed"


# -- Groups publish in batches by themselves


class Calls(list[int]):
    """How many messages each call of the broker brought."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        publisher = shop.app.amqp.publishers.get()
        publish = publisher.publish

        def count(messages: Any) -> None:
            self.append(len(messages))
            publish(messages)

        publisher.publish = count


@pytest.mark.shows("beyond", "groups are published in batches")
@pytest.mark.shows("canvas", "group")
def test_a_group_is_a_batch_but_for_its_first_and_its_messages_are_celerys(shop: Shop) -> None:
    calls = Calls(shop)
    result = group(shop.add.s(number, 1) for number in range(30)).apply_async()
    assert calls == [1, 29]
    found = [told(message) for message in shop.watching.seen]
    assert [each.id for each in found] == [each.id for each in result.results]
    assert [each.args for each in found] == [[number, 1] for number in range(30)]
    assert [each.headers["group_index"] for each in found] == list(range(30))
    assert {each.headers["group"] for each in found} == {result.id}


def test_a_group_in_which_some_are_not_plain_keeps_its_order(shop: Shop) -> None:
    tasks = [shop.add.s(number, 1) for number in range(6)]
    tasks[2].set(countdown=60)
    tasks[4].set(compression="zlib")  # by way of kombu
    calls = Calls(shop)
    result = group(tasks).apply_async()
    assert calls == [1, 3, 1]
    assert [told(message).args[0] for message in shop.watching.seen] == [0, 1, 2, 3, 5]
    assert len(result) == 6
    assert shop.app.connection_for_read().default_channel.queue_declare("celery").message_count == 5


def test_a_large_group_is_many_batches(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PATIENCE", 60)  # a busy machine may pause for longer than half a second
    calls = Calls(shop)
    group(shop.add.s(number, 1) for number in range(2500)).apply_async()
    assert calls == [1, 1000, 1000, 499]


def test_what_went_before_an_error_is_sent_as_in_celery(shop: Shop) -> None:
    tasks = [shop.add.s(1, 2), shop.add.s(1, 2), shop.add.s(1, object())]
    with pytest.raises(EncodeError):
        group(tasks).apply_async()
    assert shop.ready() == 2


def test_chunks_nested_groups_and_chords_are_batches_too(shop: Shop) -> None:
    shop.app.conf.result_backend = f"sqlite:///{shop.path}.results"
    calls = Calls(shop)
    shop.add.chunks(((number, 1) for number in range(100)), 10).apply_async()
    assert calls == [1, 9]
    group(
        shop.add.s(1, 1), group(shop.add.s(number, 1) for number in range(4)), chain(shop.add.s(1, 1))
    ).delay()
    assert calls == [1, 9, 1, 4, 1]  # Celery hands no producer to a chain
    chord([shop.add.s(number, 1) for number in range(5)], shop.add.si(1, 1)).apply_async()
    assert calls == [1, 9, 1, 4, 1, 1, 4]


def test_a_header_that_comes_slowly_is_not_held_back(shop: Shop, redis: RedisServer) -> None:
    shop.app.conf.result_backend = redis.url
    ready: list[int] = []

    def header() -> Iterator[Any]:
        for number in range(4):
            time.sleep(PATIENCE)
            ready.append(shop.ready())
            yield shop.add.s(number, 1)

    chord(header(), shop.add.si(1, 1), app=shop.app).apply_async()
    assert ready == [0, 0, 0, 1]  # as with Celery, which looks ahead
    assert shop.ready() == 4


def test_a_producer_of_the_callers_own_sends_at_once(shop: Shop) -> None:
    calls = Calls(shop)
    with shop.app.producer_or_acquire() as producer:
        shop.add.apply_async((1, 2), producer=producer)
        assert calls == [1]


# -- Bulk calls


@pytest.mark.shows("task option", "delay_many")
def test_delay_many_publishes_in_batches(shop: Shop) -> None:
    calls = Calls(shop)
    results = shop.add.delay_many((number, 1) for number in range(2500))
    assert calls == [1000, 1000, 500]
    assert len(results) == 2500
    assert [told(message).args[0] for message in shop.watching.seen] == list(range(2500))
    assert [told(message).id for message in shop.watching.seen] == list(results.ids)
    assert results[7] is results[7]
    assert results[7].id == results.ids[7]
    assert [result.id for result in results[-2:]] == results.ids[-2:]


@pytest.mark.shows("task option", "apply_many", "delay_many")
def test_delay_many_takes_keywords_and_apply_many_both_with_options(shop: Shop) -> None:
    shop.add.delay_many([(1, 2), [3, 4], {"x": 5, "y": 6}])
    shop.add.apply_many([((7,), {"y": 8}), (None, {"x": 9, "y": 10})], queue="other", priority=9)
    found = [told(message) for message in shop.watching.seen]
    assert [(each.args, each.kwargs) for each in found] == [
        ([1, 2], {}),
        ([3, 4], {}),
        ([], {"x": 5, "y": 6}),
        ([7], {"y": 8}),
        ([], {"x": 9, "y": 10}),
    ]
    assert [(message.queue, message.priority) for message in shop.watching.seen[3:]] == [("other", 9)] * 2


@pytest.mark.parametrize("options", [{}, {"countdown": 60}, {"link": {"task": "a"}}], ids=str)
def test_the_messages_of_a_bulk_call_are_those_of_single_calls(shop: Shop, options: dict[str, Any]) -> None:
    shop.add.apply_async((1, 2), **options)
    shop.add.apply_many([((1, 2), {})] * 3, **options)
    single, *bulk = [told(message) for message in shop.watching.seen]
    varying = {"id": ANY, "root_id": ANY, "eta": ANY}
    for each in bulk:
        assert each.headers == {**single.headers, **varying}
        assert (each.args, each.kwargs, each.embed) == (single.args, single.kwargs, single.embed)
        assert each.headers["id"] == each.headers["root_id"] == each.properties["correlation_id"]


def test_an_item_that_does_not_fit_sends_nothing_of_its_batch(shop: Shop) -> None:
    with pytest.raises(TypeError, match=r"write \(3,\)"):
        shop.add.delay_many([(1, 2), 3])
    with pytest.raises(TypeError, match="missing 1 required"):
        shop.add.delay_many([(1, 2), (1,)])
    assert shop.ready() == 0


def test_no_items_send_nothing(shop: Shop) -> None:
    assert list(shop.add.delay_many([])) == []
    assert shop.ready() == 0


def test_bulk_calls_are_eager_if_the_app_is(shop: Shop) -> None:
    shop.app.conf.task_always_eager = True
    assert [result.get() for result in shop.add.delay_many([(1, 2), (3, 4)])] == [3, 7]
    assert shop.watching.seen == []


@pytest.mark.shows("beyond", "app.send_many")
def test_send_many_publishes_signatures_of_all_kinds(shop: Shop) -> None:
    calls = Calls(shop)
    results = shop.app.send_many([shop.add.s(1, 2), shop.add.si(3, 4).set(queue="other"), shop.add.s(5, 6)])
    assert calls == [3]
    assert [told(message).id for message in shop.watching.seen] == [result.id for result in results]
    assert [message.queue for message in shop.watching.seen] == ["celery", "other", "celery"]


def test_a_task_with_an_apply_async_of_its_own_keeps_it(shop: Shop) -> None:
    class Doubling(shop.app.Task):  # type: ignore[name-defined,misc]
        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            return super().apply_async([2 * each for each in args], kwargs, **options)

    task = shop.app.task(add, name="shop.double", base=Doubling, shared=False)
    task.delay_many([(1, 2), (3, 4)])
    assert [told(message).args for message in shop.watching.seen] == [[2, 4], [6, 8]]


def test_the_task_class_of_django_has_bulk_calls_too(shop: Shop) -> None:
    pytest.importorskip("django")
    shop.app.task_cls = "celery.contrib.django.task:DjangoTask"
    task = shop.app.task(add, name="shop.django", shared=False)
    assert callable(task.delay_on_commit)
    task.delay_many([(1, 2), (3, 4)])
    assert [told(message).args for message in shop.watching.seen] == [[1, 2], [3, 4]]


def test_stock_celery_has_none_of_this() -> None:
    assert not hasattr(StockCelery("stock", set_as_current=False).Task, "delay_many")
