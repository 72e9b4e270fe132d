"""Unique calls that are made together ask the store once for all of them, and mean the same as one by one."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Task
from kombu.exceptions import OperationalError

from celeriac import Celery, DuplicateTask, Unique
from celeriac.brokers.connect import open_broker
from tests.servers import RedisServer, free_port

pytestmark = pytest.mark.shows("beyond", "unique")


class OwnWay(Task):
    """Calls under an id of its own choice."""

    abstract = True

    def apply_async(self, *args: Any, task_id: Any = None, **options: Any) -> Any:
        return super().apply_async(*args, **options)


class Shop:
    """An app, and how often its store of locks was asked."""

    def __init__(self, broker: str, results: str, prefix: str) -> None:
        self.app = Celery("shop", broker=broker, backend=results, set_as_current=False)
        self.app.conf.broker_transport_options = self.options = {"global_keyprefix": prefix}
        tasks: dict[str, dict[str, Any]] = {
            "ship": {"unique": Unique(args=("order_id",))},
            "charge": {"unique": Unique(duplicate="raise")},
            "own_way": {"unique": True, "base": OwnWay},
            "plain": {},
        }
        for name, options in tasks.items():
            self.app.task(_task(name), name=name, shared=False, **options)
        self.app.finalize()
        self.asked: Counter[str] = Counter()
        self.count()

    def __getattr__(self, name: str) -> Any:
        return self.app.tasks[name]

    def count(self) -> None:
        """Count what is asked of the app's store from now on."""
        store: Any = self.app.limits.store
        for verb in ("lock", "extend", "unlock"):
            setattr(store, verb, self._counted(verb, getattr(store, verb)))

    def _counted(self, verb: str, ask: Any) -> Any:
        def counted(*args: Any) -> Any:
            self.asked[verb] += 1
            return ask(*args)

        return counted

    def ready(self) -> int:
        return open_broker(self.app.conf.broker_url, self.options).stats(["celery"])["celery"].ready


def _task(name: str) -> Any:
    def task(order_id: int, by: str = "van") -> None: ...

    task.__name__ = name
    return task


@pytest.fixture(params=["sqlite", "redis"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    results = f"sqlite:///{tmp_path}/r.db"
    if request.param == "sqlite":
        return Shop(f"sqlite:///{tmp_path}/q.db", results, "")
    server: RedisServer = request.getfixturevalue("redis")
    return Shop(server.url, results, f"{uuid.uuid4().hex}:")


def test_a_batch_is_one_question_before_and_one_after(shop: Shop) -> None:
    results = shop.ship.delay_many((number % 1500,) for number in range(2500))
    assert shop.asked == {"lock": 3, "extend": 2}
    assert shop.ready() == len({result.id for result in results}) == 1500
    shop.asked.clear()
    again = shop.app.send_many([shop.ship.si(1), shop.ship.s(order_id=2, by="bike"), shop.ship.si(9999)])
    assert [one.id for one in again[:2]] == [results[1].id, results[2].id]
    assert shop.asked == {"lock": 1, "extend": 1}
    assert shop.ready() == 1501


def test_whoever_is_not_unique_asks_nothing(shop: Shop) -> None:
    shop.plain.delay_many([(1,)] * 3)
    shop.app.send_many([shop.plain.s(1)] * 3)
    shop.ship.apply_many([((1,), {})] * 2, unique=False)
    assert shop.asked == {}
    assert shop.ready() == 8


def test_a_task_that_calls_in_its_own_way_is_asked_for_one_by_one(shop: Shop) -> None:
    first, second, other = shop.app.send_many([shop.own_way.s(number) for number in (1, 1, 2)])
    assert first.id == second.id != other.id
    assert shop.asked["lock"] == 3
    assert shop.ready() == 2


def test_one_that_runs_at_once_takes_no_lock(shop: Shop) -> None:
    shop.app.conf.task_always_eager = True
    shop.ship.delay_many([(1,), (1,)])
    shop.app.send_many([shop.ship.s(1)])
    assert shop.asked == {}


def test_the_same_id_is_the_same_call(shop: Shop) -> None:
    call = shop.ship.s(1).set(task_id="one")
    assert [result.id for result in shop.app.send_many([call, call])] == ["one", "one"]
    assert shop.ready() == 2


def test_what_was_reserved_and_not_called_keeps_nobody_away(shop: Shop) -> None:
    def orders() -> Iterator[tuple[int]]:
        yield (1,)
        yield (2,)
        yield (1,)
        yield (3,)

    with pytest.raises(DuplicateTask):
        shop.charge.delay_many(orders())
    assert shop.ready() == 0
    with pytest.raises(TypeError):
        shop.charge.delay_many([(1,), (2, 3, 4), (3,)])
    shop.charge.delay_many([(1,), (2,), (3,)])
    assert shop.ready() == 3


@pytest.mark.parametrize("unreachable", ["publish", "raise"])
def test_a_store_that_does_not_answer_is_asked_once(shop: Shop, unreachable: str) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    other = Shop(shop.app.conf.broker_url, shop.app.conf.result_backend, shop.options["global_keyprefix"])
    del other.app.limits.store
    other.app.conf.update(limits_url=nowhere, limits_unique_unreachable=unreachable)
    vars(other.app.limits).pop("settings", None)
    other.count()
    if unreachable == "raise":
        with pytest.raises(OperationalError, match=r"ship\[.*\] and 99 more is unique cannot be looked up"):
            other.ship.delay_many((number,) for number in range(100))
        assert other.ready() == 0
    else:
        other.ship.delay_many((number,) for number in range(100))
        assert other.ready() == 100
    assert other.asked["lock"] == 1
