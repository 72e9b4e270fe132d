"""The project's app, as its ``celery.py`` has it."""

from __future__ import annotations

import os
import sqlite3
import time

import pymysql

pymysql.install_as_MySQLdb()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django.settings")

from celeriac import Celery  # noqa: E402

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")


def note(key: str, what: str) -> None:
    with sqlite3.connect(os.environ["LEDGER"], timeout=30) as ledger:
        ledger.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, what, os.getpid(), time.time()))
    ledger.close()


@app.task(name="ship", acks_late=True, ignore_result=True)
def ship(key: str) -> None:
    note(key, "shipped")


@app.task(name="order", acks_late=True, ignore_result=True)
def order(key: str) -> None:
    """Calls the other task in a transaction of its own."""
    from django.db import transaction

    from tests.django.shop.models import Order

    with transaction.atomic():
        Order.objects.create(name=key)
        ship.delay(key)


@app.task(name="number", acks_late=True)
def number(value: int) -> int:
    return value


@app.task(name="total", acks_late=True)
def total(numbers: list[int], key: str) -> int:
    note(key, f"total {sum(numbers)}")
    return sum(numbers)
