"""``task.delay()`` takes a shorter way than ``task.apply_async()``, and nobody can tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Task
from celery._state import _task_stack

from celeriac import Celery
from celeriac.bridge.wire import decode
from tests.servers import RedisServer
from tests.unit.bridge.shop import Shop, add
from tests.unit.bridge.test_plain_calls import told
from tests.unit.bridge.test_publish_as_celery import JSON, Twins, comparable


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def spy_on_the_long_way(task: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with each call of the task that Celery's own ``send_task`` would get."""
    asked: list[str] = []
    amqp = task.app.amqp
    send = amqp.send_plain

    def watch(name: str, *rest: Any) -> Any:
        asked.append(name)
        return send(name, *rest)

    monkeypatch.setattr(amqp, "send_plain", watch)
    return asked


def unnamed(envelope: dict[str, Any]) -> Any:
    """The message without what tells two calls and two threads apart."""
    text = json.dumps(comparable(envelope))
    for own in (envelope["headers"]["id"], envelope["properties"]["reply_to"]):
        text = text.replace(own, "?")
    return json.loads(text)


@pytest.mark.parametrize("arguments", [(1, 2), (["ö", {"a": None}], 2.5), ("x" * 2000, True)])
@pytest.mark.parametrize("named", [False, True])
def test_its_message_is_celerys(redis: RedisServer, arguments: tuple[Any, Any], named: bool) -> None:
    twins = Twins(redis)

    def call(app: Any) -> Any:
        task = app.tasks["shop.add"]
        return task.delay(x=arguments[0], y=arguments[1]) if named else task.delay(*arguments)

    for app in twins.apps.values():  # the first call makes the template
        call(app)
        app.connection_for_read().default_channel._purge("celery")
    twins.watching.seen.clear()
    ours, theirs = twins.envelopes(call)
    assert list(ours["headers"]) == list(theirs["headers"])
    assert unnamed(ours) == unnamed(theirs)


def test_it_goes_the_short_way(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = spy_on_the_long_way(shop.add, monkeypatch)
    result = shop.add.delay(1, 2)
    assert asked == []
    assert told(shop.watching.seen[-1]).id == result.id
    assert type(result) is shop.app.AsyncResult


def test_a_running_task_is_its_parent(shop: Shop) -> None:
    parent = shop.add
    parent.push_request(id="parent", root_id="root", called_directly=False, children=[])
    _task_stack.push(parent)
    try:
        result = shop.add.delay(1, 2)
        assert parent.request.children == [result]
    finally:
        _task_stack.pop()
        parent.pop_request()
    headers = decode(shop.watching.seen[-1].payload, JSON).headers
    assert (headers["root_id"], headers["parent_id"]) == ("root", "parent")


def test_options_of_the_task_count_when_they_change(shop: Shop) -> None:
    shop.add.delay(1, 2)
    shop.add.ignore_result = True
    assert shop.add.delay(1, 2).ignored
    assert told(shop.watching.seen[-1]).headers["ignore_result"] is True
    shop.add.soft_time_limit, shop.add.time_limit = 10, 5
    with pytest.raises(ValueError, match="soft_time_limit"):
        shop.add.delay(1, 2)


def ask_on_class(task: Any, seen: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "apply_async", lambda *given, **_: seen.append(given[1]))


def ask_on_delay(task: Any, seen: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "delay", lambda *given, **_: seen.append(given[1:]))


def ask_on_task(task: Any, seen: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "apply_async", lambda *given, **_: seen.append(given[0]))


def ask_on_app(task: Any, seen: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task.app, "send_task", lambda *given, **_: seen.append(given[1]))


@pytest.mark.parametrize("replace", [ask_on_class, ask_on_delay, ask_on_task, ask_on_app])
def test_who_puts_something_in_its_way_gets_every_call(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, replace: Callable[[Any, list[Any], Any], None]
) -> None:
    task = shop.app.tasks["shop.add"]
    task.delay(1, 2)
    seen: list[Any] = []
    replace(task, seen, monkeypatch)
    sent = len(shop.watching.seen)
    task.delay(3, 4)
    assert seen == [(3, 4)]
    assert len(shop.watching.seen) == sent


def test_classes_with_ways_of_their_own_keep_them(tmp_path: Path) -> None:
    seen: list[str] = []

    class OwnDelay(Task):
        abstract = True

        def delay(self, *args: Any, **kwargs: Any) -> Any:
            seen.append("delay")
            return super().delay(*args, **kwargs)

    class OwnApply(Task):
        abstract = True

        def apply_async(self, *args: Any, **kwargs: Any) -> Any:
            seen.append("apply_async")
            return super().apply_async(*args, **kwargs)

    class OwnSender(Celery):
        def send_task(self, *args: Any, **kwargs: Any) -> Any:
            seen.append("send_task")
            return super().send_task(*args, **kwargs)

    url = f"sqlite:///{tmp_path / 'own.db'}"
    for made in (
        Celery("a", broker=url, set_as_current=False, task_cls=OwnDelay),
        Celery("b", broker=url, set_as_current=False, task_cls=OwnApply),
        OwnSender("c", broker=url, set_as_current=False),
    ):
        task = made.task(add, name="shop.add", shared=False)
        for _ in range(2):
            task.delay(1, 2)
    assert seen == ["delay"] * 2 + ["apply_async"] * 2 + ["send_task"] * 2
