"""Idempotent tasks that are given rows: a call is the same call after its row has changed."""

from __future__ import annotations

import os
from typing import Any

import pytest

from celeriac.bridge.django.in_process import run
from celeriac.brokers.connect import open_broker
from celeriac.core.errors import KeyReused
from celeriac.core.outbox import Outgoing
from celeriac.django.inbox import once
from celeriac.django.models import InboxEntry
from celeriac.django.references import reference
from tests.django.rows.celery import app
from tests.django.rows.shop import tasks
from tests.django.rows.shop.models import Customer, Order


@pytest.fixture
def order() -> Order:
    InboxEntry.objects.all().delete()
    return Order.objects.create(customer=Customer.objects.create(name="Ada"))


def change(order: Order) -> None:
    """The row gets another version."""
    order.refresh_from_db()
    before = order.version
    order.status = "changed"
    order.save()
    assert order.version != before


def messages() -> list[Outgoing]:
    """What waits in the broker, which forgets it."""
    broker = open_broker(os.environ["BROKER"], {})
    leases = broker.claim(["celery"], 100, owner="test", lease_for=10).leases
    broker.ack(leases)
    broker.close()
    return [Outgoing(id="", task="", message=lease.message) for lease in leases]


def total(order: Order) -> int:
    return int(Order.objects.get(pk=order.pk).total)


def work() -> list[BaseException | None]:
    """Run what waits; return what it has failed with."""
    return [run(app, message) for message in messages()]


def test_a_message_that_comes_again_after_its_row_has_changed(order: Order) -> None:
    result = tasks.add_once_per_message.delay(order)
    [message] = messages()
    assert run(app, message) is None
    change(order)
    assert run(app, message) is None
    assert total(order) == 1
    assert result.get(timeout=5) == order.pk


@pytest.mark.parametrize("task", [tasks.add_once_per_order, tasks.add_once_per_row])
def test_a_second_call_after_the_row_has_changed_is_the_same(order: Order, task: Any) -> None:
    task.delay(order)
    assert work() == [None]
    change(order)
    again = task.delay(order)
    assert work() == [None]
    assert again.get(timeout=5) == order.pk
    assert total(order) == 1


def test_a_snapshot_is_no_other_call(order: Order) -> None:
    tasks.add_once_per_order.delay(reference(order, snapshot=True))
    tasks.add_once_per_order.delay(order)
    assert work() == [None, None]
    assert total(order) == 1


@pytest.mark.parametrize("task", [tasks.add_once_per_order, tasks.add_once_per_row])
def test_another_row_is_another_call(order: Order, task: Any) -> None:
    other = Order.objects.create(customer=order.customer)
    task.delay(order)
    task.delay(other)
    assert work() == [None, None]
    assert (total(order), total(other)) == (1, 1)


def test_other_rows_under_the_same_key_are_an_error(order: Order) -> None:
    other = Order.objects.create(customer=order.customer)
    tasks.add_once_per_note.delay([order], "monday")
    tasks.add_once_per_note.delay([order], "monday")
    tasks.add_once_per_note.delay([order, other], "monday")
    first, second, third = work()
    assert (first, second) == (None, None)
    assert isinstance(third, KeyReused)
    assert (total(order), total(other)) == (1, 0)


def test_a_row_is_a_key_by_its_model_and_not_by_what_it_is_called(order: Order) -> None:
    with once("charge", order) as first:
        assert first
    change(order)
    with once("charge", order) as first:
        assert not first
    with once("charge", reference(order)) as first:
        assert not first
    with once("charge", order.customer) as first:
        assert first
