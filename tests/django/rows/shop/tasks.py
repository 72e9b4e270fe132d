"""Tasks that say what they were given."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.db import connection, models

from tests.django.rows.shop.models import Order


def said(value: Any) -> Any:
    """What the value is, as plain data."""
    if isinstance(value, models.Model):
        pk = value.pk if isinstance(value.pk, int) else str(value.pk)
        return [type(value).__name__, pk]
    if isinstance(value, list | tuple):
        return [said(one) for one in value]
    if isinstance(value, dict):
        return {key: said(one) for key, one in value.items()}
    return value if isinstance(value, str | int | float | None) else repr(value)


@shared_task
def say(*args: Any, **kwargs: Any) -> Any:
    return said([list(args), kwargs])


@shared_task
def say_one(value: Any, *rest: Any) -> Any:
    return said([value, *rest])


@shared_task
async def say_async(*args: Any) -> Any:
    return said(args)


@shared_task(bind=True, autoretry_for=(ValueError,), retry_backoff=0.01, retry_jitter=False)
async def fail_once_async(self: Any, order: Order) -> Any:
    if self.request.retries == 0:
        raise ValueError("not yet")
    return said(order)


@shared_task
def latest(order: Order) -> Order:
    return order


@shared_task
def status(order: Order) -> list[str]:
    return [order.status, "adding" if order._state.adding else "stored"]


@shared_task(on_missing="skip")
def status_or_skip(order: Order) -> str:
    return order.status


@shared_task(on_missing="raise")
def status_or_raise(order: Order) -> str:
    return order.status


@shared_task(default_retry_delay=0.1, max_retries=100)
def status_or_wait(order: Order) -> str:
    return order.status


@shared_task(stale="skip")
def fresh_or_skip(order: Order, *_: Any) -> str:
    return order.status


@shared_task(stale="raise")
def fresh_or_raise(order: Order) -> str:
    return order.status


@shared_task(bind=True, stale="requeue")
def fresh_or_requeue(self: Any, order: Order) -> list[Any]:
    return [order.status, self.request.retries]


@shared_task(bind=True, stale="skip", default_retry_delay=0.01)
def change_and_retry(self: Any, order: Order) -> list[Any]:
    if self.request.retries == 0:
        order.status = "half"
        order.save()
        raise self.retry()
    return [order.status, order.version]


@shared_task(bind=True, lock="update", default_retry_delay=0.01)
def locked(self: Any, order: Order, then: str = "succeed") -> list[Any]:
    if then == "retry" and self.request.retries == 0:
        order.status = "undone"
        order.save()
        raise self.retry()
    return [order.status, connection.in_atomic_block]


@shared_task(lock="update")
def count(order: Order) -> None:
    """Loses updates unless the row is locked."""
    Order.objects.filter(pk=order.pk).update(total=order.total + 1)


@shared_task(unique=True)
def once(order: Order, *_: Any) -> int:
    return order.pk


def _add_to_total(order: Order) -> int:
    Order.objects.filter(pk=order.pk).update(total=models.F("total") + 1)
    return order.pk


@shared_task(idempotent=True)
def add_once_per_message(order: Order) -> int:
    return _add_to_total(order)


@shared_task(idempotency_key="order")
def add_once_per_order(order: Order, *_: Any) -> int:
    return _add_to_total(order)


@shared_task(idempotency_key=lambda order, *_: order)
def add_once_per_row(order: Order, *_: Any) -> int:
    return _add_to_total(order)


@shared_task(idempotency_key="note")
def add_once_per_note(orders: list[Order], note: str) -> int:
    return sum(map(_add_to_total, orders))
