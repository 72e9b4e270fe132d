"""Tasks that charge orders, each in another way."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Ignore, Reject
from django.db import IntegrityError, connection, transaction

from celeriac.bridge.django.inbox_step import InboxStep
from celeriac.django.inbox import idempotency_key, once
from tests.chaos.tripwires import Tripwires
from tests.django.bank import app
from tests.django.bank.models import Charge, Receipt

wires = Tripwires(Path(os.environ.get("TRIPWIRES", "/nowhere")))
if "TRIPWIRES" in os.environ:
    wires.around(InboxStep, "run", lambda *_, **__: "transaction")


def note(key: str, what: str) -> None:
    """Add a row to the ledger, which is no part of any transaction."""
    if "LEDGER" not in os.environ:
        return
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpid(), time.time()))
    ledger.close()


def charged(order: str) -> int:
    return Charge.objects.filter(order=order).count()


def _charge(order: str, cents: int) -> None:
    Charge.objects.create(order=order, cents=cents)


@shared_task(idempotent=True)
def charge(order: str, cents: int = 1, seconds: float = 0) -> dict[str, Any]:
    note(order, "started")
    _charge(order, cents)
    note(order, "charged")
    wires.reach("effect")
    time.sleep(seconds)
    return {"order": order, "cents": cents}


@shared_task(idempotent=True)
def charge_silently(order: str) -> None:
    _charge(order, 1)


@shared_task(idempotency_key="order")
def charge_order(order: str, cents: int = 1) -> int:
    _charge(order, cents)
    return cents


@shared_task(idempotency_key=("order", "cents"), on_duplicate="skip")
def charge_amount(order: str, cents: int) -> int:
    _charge(order, cents)
    return cents


@shared_task(idempotency_key=lambda order, **_: order.lower(), on_duplicate="raise")
def charge_strictly(order: str) -> None:
    _charge(order, 1)


@shared_task(bind=True, idempotent=True, max_retries=3)
def charge_later(self: Any, order: str, failures: int) -> int:
    _charge(order, 1)
    if self.request.retries < failures:
        raise self.retry(countdown=0)
    return int(self.request.retries)


@shared_task(idempotent=True, autoretry_for=(ValueError,), default_retry_delay=0, max_retries=3)
def charge_and_fail(order: str) -> None:
    _charge(order, 1)
    raise ValueError(order)


@shared_task(idempotent=True)
def charge_and_ignore(order: str) -> None:
    _charge(order, 1)
    raise Ignore


@shared_task(idempotent=True)
def charge_and_reject(order: str) -> None:
    _charge(order, 1)
    raise Reject("no good", requeue=False)


@shared_task(bind=True, idempotent=True)
def charge_by_halves(self: Any, order: str, cents: int) -> int:
    """Replaces itself until there is nothing left."""
    _charge(order, 1)
    if cents > 1:
        raise self.replace(self.s(order, cents // 2))
    return cents


@shared_task(idempotent=True)
def charge_and_call(order: str) -> None:
    _charge(order, 1)
    charge.delay(f"{order} next")


@shared_task(idempotent=True)
def charge_carelessly(order: str) -> None:
    """Catches an error after which the transaction can only be rolled back."""
    _charge(order, 1)
    try:
        with connection.cursor() as cursor:
            for _ in range(2):
                cursor.execute('INSERT INTO bank_receipt ("order") VALUES (%s)', [order])
    except IntegrityError:
        pass


@shared_task(idempotent=True)
def charge_carefully(order: str) -> None:
    _charge(order, 1)
    for _ in range(2):
        try:
            with transaction.atomic():
                Receipt.objects.create(order=order)
        except IntegrityError:
            pass


@shared_task(idempotent=True)
def charge_object(order: str) -> Any:
    _charge(order, 1)
    return object()


@shared_task(bind=True, idempotent=True)
def charge_twice_by_hand(self: Any, order: str, again: bool = True) -> str:
    """Calls itself, which is a plain call."""
    _charge(order, 1)
    return "inner" if not again else f"{self.request.id} {self(order, again=False)}"


class Audited(Task):
    """A class of the application's own, which calls the body in its own way."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return ["audited", super().__call__(*args, **kwargs)]


@shared_task(base=Audited, bind=True, idempotent=True, max_retries=1)
def charge_audited(self: Any, order: str) -> str:
    _charge(order, 1)
    if not self.request.retries:
        raise self.retry(countdown=0)
    return str(self.request.id)


class ChargeByClass(Task):
    name = "tests.django.bank.tasks.charge_by_class"
    idempotent = True

    def run(self, order: str) -> str:
        _charge(order, 1)
        return str(self.request.id)


charge_by_class = app.register_task(ChargeByClass())


@shared_task(idempotent=True)
def keys(order: str) -> list[str]:
    return [idempotency_key("pay"), idempotency_key("ship"), idempotency_key("pay")]


@shared_task(acks_late=True)
def charge_once(order: str, fails: bool = False) -> bool:
    with once("charge", order) as first:
        if first:
            _charge(order, 1)
        if fails:
            raise ValueError(order)
    return first
