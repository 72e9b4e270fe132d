"""Calls with model instances, run by real workers of both kinds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from django.db import connection
from django.db.models import F

from celeriac.core.errors import StaleObject
from celeriac.django.references import reference
from tests.django.rows.celery import app
from tests.django.rows.shop import tasks
from tests.django.rows.shop.models import Customer, Line, Note, Order, Product, Rush
from tests.servers import wait_until
from tests.workers import WorkerProcess, worker

SECONDS = 30
KINDS = {
    "sqlite": ("celeriac", "celery"),
    "postgresql": ("celeriac -P threads", "celeriac -P asyncio"),
}


@pytest.fixture(scope="module", params=KINDS[connection.vendor])
def running(request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    """A worker for all cases of this file."""
    log = Path(os.environ["SCRATCH"]) / f"{request.param.replace(' ', '')}.log"
    kind, *options = request.param.split()
    environment = {"STOCK": "1"} if kind == "celery" else {}
    with worker("tests.django.rows.celery", "-c", "2", *options, environment=environment, log=log) as process:
        yield process


pytestmark = pytest.mark.usefixtures("running")


@pytest.fixture
def order() -> Order:
    return Order.objects.create(customer=Customer.objects.create(name="Ada"))


def change(order: Order) -> None:
    """Somebody else changes the row."""
    Order.objects.filter(pk=order.pk).update(status="paid", version=F("version") + 1)


def test_an_instance_arrives_as_its_row_however_deep_and_by_whatever_path(order: Order) -> None:
    order_said = ["Order", order.pk]
    deep = {"one": order, "list": [order, [order]]}
    deep_said = {"one": order_said, "list": [order_said, [order_said]]}
    assert tasks.say.delay(order, [1, order], deep=deep).get(SECONDS) == [
        [order_said, [1, order_said]],
        {"deep": deep_said},
    ]
    by_name = app.send_task("tests.django.rows.shop.tasks.say", (order,), {"two": 2})
    assert by_name.get(SECONDS) == [[order_said], {"two": 2}]
    later = tasks.say.apply_async((order,), countdown=0.1)
    assert later.get(SECONDS) == [[order_said], {}]
    many = tasks.say.delay_many([(order, number) for number in range(3)])
    assert [one.get(SECONDS) for one in many] == [[[order_said, number], {}] for number in range(3)]


def test_an_instance_travels_through_a_canvas(order: Order) -> None:
    said = ["Order", order.pk]
    linked = tasks.latest.apply_async((order,), link=tasks.say.s(order=order))
    wait_until(lambda: linked.children, SECONDS)
    assert linked.children[0].get(SECONDS) == [[said], {"order": said}]
    assert chain(tasks.latest.s(order), tasks.latest.s(), tasks.say.s(again=order))().get(SECONDS) == [
        [said],
        {"again": said},
    ]
    assert group(tasks.say_one.s(order, number) for number in range(2))().get(SECONDS) == [
        [said, 0],
        [said, 1],
    ]
    header = [tasks.latest.s(order), tasks.latest.s(order)]
    assert chord(header)(tasks.say.s(body=order)).get(SECONDS) == [[[said, said]], {"body": said}]
    assert tasks.say_one.chunks([(order, 1), (order, 2)], 2).apply_async().get(SECONDS) == [
        [[said, 1], [said, 2]]
    ]


def test_a_returned_instance_comes_back_as_a_reference(order: Order) -> None:
    result = tasks.latest.delay(order).get(SECONDS)
    assert result == reference(order)
    assert result.get() == order


def test_every_kind_of_primary_key_travels(order: Order) -> None:
    product = Product.objects.create()
    line = Line.objects.create(order=order, number=7)
    rush = Rush.objects.create(courier="Bo")
    note = Note.objects.create(text="hidden", deleted=True)
    assert tasks.say.delay(product, line, rush, note).get(SECONDS)[0] == [
        ["Product", str(product.pk)],
        ["Line", str(line.pk)],
        ["Rush", rush.pk],
        ["Note", note.pk],
    ]


def test_a_row_of_another_database_is_read_there() -> None:
    other = Customer.objects.using("other").create(pk=991, name="there")
    Customer.objects.create(pk=991, name="here")
    assert tasks.latest.delay(other).get(SECONDS).db == "other"


def test_coroutines_are_given_rows(order: Order) -> None:
    assert tasks.say_async.delay(order, 1).get(SECONDS) == [["Order", order.pk], 1]
    assert tasks.fail_once_async.delay(order).get(SECONDS) == ["Order", order.pk]


def test_a_missing_row_is_waited_for_skipped_or_an_error(order: Order) -> None:
    copy = Order.objects.get(pk=order.pk)
    order.delete()
    assert tasks.status_or_skip.delay(copy).get(SECONDS) is None
    failed = tasks.status_or_raise.delay(copy)
    with pytest.raises(Exception, match=f"<Order pk={copy.pk}> is not in the database 'default'") as error:
        failed.get(SECONDS)
    assert type(error.value).__name__ == "DoesNotExist"
    waiting = tasks.status_or_wait.delay(copy)
    wait_until(lambda: waiting.state == "RETRY", SECONDS)
    Order.objects.create(pk=copy.pk, status="back")
    assert waiting.get(SECONDS) == "back"


def test_a_snapshot_stands_in_for_a_row_that_is_gone(order: Order) -> None:
    order.status = "in memory"
    referred = reference(order, snapshot=True)
    assert tasks.status.delay(referred).get(SECONDS) == ["new", "stored"]
    order.delete()
    assert tasks.status.delay(referred).get(SECONDS) == ["in memory", "adding"]
    assert not Order.objects.exists()


def test_what_happens_to_a_row_that_has_changed_is_up_to_the_task(order: Order) -> None:
    before = Order.objects.get(pk=order.pk)
    assert tasks.fresh_or_skip.delay(before).get(SECONDS) == "new"
    change(order)
    assert tasks.status.delay(before).get(SECONDS) == ["paid", "stored"]
    assert tasks.fresh_or_skip.delay(before).get(SECONDS) is None
    with pytest.raises(StaleObject) as error:
        tasks.fresh_or_raise.delay(before).get(SECONDS)
    assert error.value.args == ("shop.Order", order.pk, "i:1", "i:2")
    assert tasks.fresh_or_requeue.delay(before).get(SECONDS) == ["paid", 1]


def test_a_row_without_versions_cannot_be_stale(order: Order) -> None:
    customer = order.customer
    with pytest.raises(Exception, match="stale='skip' has nothing to compare"):
        tasks.fresh_or_skip.delay(customer).get(SECONDS)
    assert tasks.fresh_or_skip.delay(order, customer).get(SECONDS) == "new"


def test_a_row_of_a_table_without_a_version_is_told_by_its_digest() -> None:
    product = Product.objects.create(stock=1)
    product.stock = 5  # not saved, so that it does not count
    with pytest.raises(Exception, match="has no attribute 'status'"):
        tasks.fresh_or_skip.delay(product).get(SECONDS)  # it is called
    called = reference(product)
    Product.objects.update(stock=2)
    assert tasks.fresh_or_skip.delay(called).get(SECONDS) is None


def test_what_a_task_has_changed_itself_is_not_stale_when_it_is_retried(order: Order) -> None:
    assert tasks.change_and_retry.delay(order).get(SECONDS) == ["half", 2]


def test_a_locked_row_is_locked_in_the_transaction_of_the_body(order: Order) -> None:
    assert tasks.locked.delay(order).get(SECONDS) == ["new", True]
    # The retry is sent although the transaction is rolled back.
    assert tasks.locked.delay(order, then="retry").get(SECONDS) == ["new", True]


def test_locked_rows_lose_no_update(order: Order) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL locks single rows")
    for result in tasks.count.delay_many([(order,)] * 30):
        result.get(SECONDS)
    order.refresh()
    assert order.total == 30


def test_calls_with_the_same_row_are_the_same_call_at_any_version(order: Order) -> None:
    app.control.cancel_consumer("celery")
    first = tasks.once.apply_async((order,), queue="held")
    change(order)
    order.refresh()
    assert tasks.once.apply_async((order,), queue="held").id == first.id
    assert tasks.once.apply_async((order, 1), queue="held").id != first.id
    app.control.add_consumer("held", reply=True)
    app.control.add_consumer("celery", reply=True)
    assert first.get(SECONDS) == order.pk


def test_a_reference_that_names_no_row_of_this_project_runs_nothing(
    running: WorkerProcess, order: Order
) -> None:
    class Evil:
        def __json__(self) -> Any:
            return {"__type__": "dj.ref", "__value__": {"m": "os.system", "pk": 1, "db": "default"}}

    sent = tasks.say.delay(Evil())
    assert tasks.say.delay(order).get(SECONDS)
    running.wait_log("it refers to a row of 'os.system', which is no model here")
    assert not sent.ready() or sent.failed()
