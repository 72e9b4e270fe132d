"""A unique task is published once, whichever way it is called, and nothing blocks it for ever."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from celery import chain, group, signals
from kombu.exceptions import OperationalError

from celeriac import Celery, Concurrency, DuplicateTask, Rate, Unique
from celeriac.brokers.connect import open_broker
from celeriac.core.errors import ConfigurationError
from tests.servers import free_port, wait_until
from tests.workers import ROOT

pytestmark = pytest.mark.shows("beyond", "unique")


@pytest.fixture
def app(tmp_path: Path) -> Celery:
    app = Celery(
        "shop",
        broker=f"sqlite:///{tmp_path}/q.db",
        backend=f"sqlite:///{tmp_path}/r.db",
        set_as_current=False,
    )

    @app.task(shared=False, name="ship", unique=Unique(args=("order_id",)))
    def ship(order_id: int, by: str = "van") -> None: ...

    @app.task(shared=False, name="charge", unique=Unique(duplicate="raise"))
    def charge(order_id: int) -> None: ...

    @app.task(shared=False, name="index", unique=Unique(until="expiry", within=60, duplicate="drop"))
    def index(product: int) -> None: ...

    @app.task(shared=False, name="plain")
    def plain(number: Any = None) -> None: ...

    app.finalize()
    return app


def ready(app: Celery) -> int:
    stats = open_broker(app.conf.broker_url).stats(["celery"])["celery"]
    return stats.ready + stats.delayed


# -- What a duplicate gets


def test_a_duplicate_gets_the_result_of_the_first(app: Celery) -> None:
    ship = app.tasks["ship"]
    first = ship.delay(1)
    assert ship.delay(order_id=1, by="bike").id == first.id
    assert ship.delay(2).id != first.id
    assert ready(app) == 2


def test_a_duplicate_may_be_an_error(app: Celery) -> None:
    charge = app.tasks["charge"]
    first = charge.delay(1)
    with pytest.raises(DuplicateTask, match=f"charge is unique, .* as {first.id}") as raised:
        charge.delay(1)
    assert (raised.value.task, raised.value.existing) == ("charge", first.id)
    assert ready(app) == 1


def test_a_duplicate_may_be_dropped_and_says_so(app: Celery) -> None:
    index = app.tasks["index"]
    first = index.delay(1)
    dropped = index.delay(1)
    assert (dropped.state, dropped.existing) == ("DUPLICATE", first.id)
    assert dropped.ready()
    assert not dropped.successful()
    assert dropped.get(timeout=1) is None
    assert ready(app) == 1


def test_a_call_may_say_it_differently(app: Celery) -> None:
    ship = app.tasks["ship"]
    first = ship.delay(1)
    assert ship.apply_async((1,), unique=False).id != first.id
    with pytest.raises(DuplicateTask):
        ship.apply_async((1,), unique={"args": ["order_id"], "duplicate": "raise"})
    once = Unique(until="expiry", within=60)
    second = app.tasks["plain"].apply_async((1,), unique=once)
    assert app.tasks["plain"].apply_async((1,), unique=once).id == second.id
    with pytest.raises(ConfigurationError, match="declare unique= on the task, or write until='expiry'"):
        app.tasks["plain"].apply_async((1,), unique=True)


# -- Every way to call


def test_every_way_to_call_it_is_checked(app: Celery) -> None:
    ship = app.tasks["ship"]
    first = ship.delay(1)
    assert app.send_task("ship", (1,)).id == first.id
    assert app.send_task("ship", kwargs={"order_id": 1}).id == first.id
    assert app.send_task("ship", (1,), {}, 10).id == first.id  # a countdown by position
    assert ship.s(1).apply_async().id == first.id
    assert [result.id for result in ship.delay_many([(1,), (1, "bike"), {"order_id": 1}])] == [first.id] * 3
    assert [result.id for result in app.send_many([ship.s(1), ship.s(1)])] == [first.id] * 2
    assert ready(app) == 1


def test_duplicates_within_one_batch_are_found(app: Celery) -> None:
    results = app.tasks["ship"].delay_many([(number % 3,) for number in range(9)])
    assert len({result.id for result in results}) == 3
    assert ready(app) == 3


def test_a_producer_that_knows_only_the_name_says_what_is_unique(app: Celery) -> None:
    rule = Unique(args=("order_id",))
    first = app.send_task("elsewhere", kwargs={"order_id": 1, "at": "now"}, unique=rule)
    assert app.send_task("elsewhere", kwargs={"order_id": 1}, unique=rule).id == first.id
    with pytest.raises(ConfigurationError, match="must be given by its name"):
        app.send_task("elsewhere", (1,), unique=rule)


def test_a_call_with_the_same_id_is_the_same_call(app: Celery) -> None:
    ship = app.tasks["ship"]
    for _ in range(2):
        assert ship.apply_async((1,), task_id="mine").id == "mine"
    assert ready(app) == 2


# -- What others wait for


def test_a_duplicate_in_a_group_fails_under_its_own_id(app: Celery) -> None:
    first = app.tasks["ship"].delay(1)
    result = group(app.tasks["ship"].s(1), app.tasks["ship"].s(2), app=app).apply_async()
    with pytest.raises(DuplicateTask, match=first.id):
        result.results[0].get(timeout=5)
    assert result.results[1].state == "PENDING"
    assert ready(app) == 2


def test_a_dropped_member_of_a_group_has_no_value(app: Celery) -> None:
    index = app.tasks["index"]
    index.delay(1)
    result = group(index.s(1), index.s(1), app=app).apply_async()
    assert result.get(timeout=5) == [None, None]


def test_a_chain_whose_first_step_is_a_duplicate_fails_as_a_whole(app: Celery) -> None:
    app.tasks["ship"].delay(1)
    result = chain(app.tasks["ship"].s(1), app.tasks["plain"].s()).apply_async()
    with pytest.raises(DuplicateTask):
        result.get(timeout=5)
    assert ready(app) == 1


# -- Locks that end


def test_until_expiry_it_counts_for_its_window_only(app: Celery) -> None:
    rule = Unique(until="expiry", within=0.3)
    plain = app.tasks["plain"]
    first = plain.apply_async((1,), unique=rule)
    assert plain.apply_async((1,), unique=rule).id == first.id
    wait_until(lambda: plain.apply_async((1,), unique=rule).id != first.id, what="the end of the window")
    assert ready(app) == 2


def test_a_delay_makes_the_window_longer(app: Celery) -> None:
    rule = Unique(args=("number",), until="expiry", within=0.1)
    plain = app.tasks["plain"]
    first = plain.apply_async((1,), countdown=60, unique=rule)
    other = plain.apply_async((2,), unique=rule)
    wait_until(lambda: plain.apply_async((2,), unique=rule).id != other.id, what="the end of the window")
    assert plain.apply_async((1,), unique=rule).id == first.id


def test_what_could_not_be_published_keeps_nobody_away(app: Celery, tmp_path: Path) -> None:
    away = Celery("away", broker=f"redis://127.0.0.1:{free_port()}/0", set_as_current=False)
    away.conf.update(limits_url=app.conf.broker_url, task_publish_retry=False)

    @away.task(shared=False, name="ship", unique=Unique(args=("order_id",)))
    def ship(order_id: int, by: str = "van") -> None: ...

    with pytest.raises(OperationalError):
        ship.delay(1)
    with pytest.raises(OperationalError):
        ship.delay_many([(1,), (2,)])
    app.tasks["ship"].delay(1)
    app.tasks["ship"].delay(2)
    assert ready(app) == 2


def test_a_bulk_call_that_fails_keeps_nobody_away(app: Celery) -> None:
    with pytest.raises(TypeError):
        app.tasks["ship"].delay_many([(1,), (1, 2, 3, 4)])
    app.tasks["ship"].delay(1)
    assert ready(app) == 1


KILLED = """
import os, signal, sys
from celery import signals
from celeriac import Celery
app = Celery("shop", broker=sys.argv[1])
app.conf.limits_publish_seconds = 1.0
@app.task(shared=False, name="ship", unique=True)
def ship(order_id): ...
@signals.{moment}.connect
def die(**_): os.kill(os.getpid(), signal.SIGKILL)
ship.delay(1)
"""


@pytest.mark.parametrize(("moment", "published"), [("before_task_publish", 0), ("after_task_publish", 1)])
def test_a_producer_killed_while_it_publishes_blocks_for_a_moment_only(
    app: Celery, tmp_path: Path, moment: str, published: int
) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(moment=moment))
    killed = subprocess.run([sys.executable, str(script), app.conf.broker_url], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert ready(app) == published
    rule = Unique(duplicate="raise")

    def accepted() -> bool:
        try:
            app.send_task("ship", kwargs={"order_id": 1}, unique=rule)
        except DuplicateTask:
            return False
        return True

    app.limits.signatures["ship"] = app.limits.signatures["charge"]  # the same arguments as there
    assert not accepted()
    wait_until(accepted, what="the end of the lock")
    assert ready(app) == published + 1


# -- Many at once


def test_of_many_producers_at_once_one_publishes(app: Celery) -> None:
    def publish(number: int) -> Any:
        return app.tasks["ship"].apply_async((number // 8,)).id

    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(publish, range(64)))
    assert len(set(ids)) == 8
    assert ready(app) == 8


# -- Without a store, and without any of this


@pytest.mark.parametrize("unreachable", ["publish", "raise"])
def test_while_the_store_does_not_answer_it_is_published_or_not_as_set(app: Celery, unreachable: str) -> None:
    app.conf.update(limits_url=f"redis://127.0.0.1:{free_port()}/0", limits_unique_unreachable=unreachable)
    if unreachable == "raise":
        with pytest.raises(OperationalError, match=r"whether ship\[.*\] is unique cannot be looked up"):
            app.tasks["ship"].delay(1)
        assert ready(app) == 0
        return
    first, second = app.tasks["ship"].delay(1), app.tasks["ship"].delay(1)
    assert first.id != second.id
    assert ready(app) == 2


def test_a_broker_without_a_store_needs_a_url_of_one(tmp_path: Path) -> None:
    app = Celery("shop", broker="amqp://broker", set_as_current=False)

    @app.task(shared=False, unique=True)
    def ship() -> None: ...

    with pytest.raises(ConfigurationError, match="set limits_url to a redis:// or sqlite:// URL"):
        ship.delay()
    with pytest.raises(ConfigurationError, match="set limits_url"):
        app.limits.check()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unique": "yes"}, "write True or Unique"),
        ({"global_rate_limit": "fast"}, "write a positive rate"),
        ({"max_concurrency": 0}, "whole number from 1 up"),
    ],
)
def test_a_mistake_is_told_where_the_task_is_written(app: Celery, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        app.task(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"unique": Unique(args=("odrer_id",))},
        {"max_concurrency": Concurrency(1, key=("odrer_id",))},
        {"global_rate_limit": Rate(1, key=("odrer_id",))},
    ],
)
def test_a_misspelt_argument_is_told(app: Celery, options: dict[str, Any]) -> None:
    def ship(order_id: int) -> None: ...

    with pytest.raises(
        ConfigurationError, match="ship: the task has no argument 'odrer_id'; did you mean 'order_id'"
    ):
        app.task(shared=False, **options)(ship)


def test_options_may_come_from_annotations(tmp_path: Path) -> None:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/q.db", set_as_current=False)
    app.conf.task_annotations = {"ship": {"unique": True, "max_concurrency": 2}}

    @app.task(shared=False, name="ship")
    def ship() -> None: ...

    assert ship.delay().id == ship.delay().id
    assert app.limits.gated["ship"].concurrency == Concurrency(2)


def test_whoever_uses_none_of_it_has_none_of_it(tmp_path: Path) -> None:
    app = Celery("shop", broker=f"sqlite:///{tmp_path}/q.db", set_as_current=False)

    @app.task(shared=False)
    def plain() -> None: ...

    before = [len(signal.receivers or ()) for signal in (signals.task_prerun, signals.task_postrun)]
    plain.delay()
    assert [len(signal.receivers or ()) for signal in (signals.task_prerun, signals.task_postrun)] == before
    assert not {"store", "settings"} & vars(app.limits).keys()
    assert "__trace__" not in vars(type(plain))
    assert not [file for file in tmp_path.iterdir() if ".limits" in file.name]


def test_a_signature_carries_it_into_a_message(app: Celery) -> None:
    linked = app.tasks["plain"].s(1).set(unique=Unique(until="expiry", within=60))
    app.tasks["plain"].apply_async((2,), link=linked)
    assert ready(app) == 1
