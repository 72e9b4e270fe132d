"""The reference application's own detectors: what the demo counts must be able to happen."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import wait_until
from tests.workers import worker

PROJECT = Path(__file__).resolve().parents[2] / "examples" / "logistics"
#: A call that leaves at once, whatever becomes of the transaction: as without an outbox.
CALL_AND_ROLL_BACK = """
import django; django.setup()
from django.db import transaction
from django.utils import timezone
from orders.models import Order
from orders.tasks import process_order
try:
    with transaction.atomic():
        order = Order(number="1", created=timezone.now(), service="economy",
            sender_city="Wien", recipient_city="Lyon", weight_grams=1,
            length_mm=1, width_mm=1, height_mm=1, declared_value_cents=1)
        Order.objects.bulk_create([order])
        process_order.apply_async((order,), outbox=False)
        raise InterruptedError
except InterruptedError:
    pass
"""


@pytest.fixture
def site(tmp_path: Path) -> dict[str, str]:
    """The variables of the project, its database made."""
    variables = {
        "PYTHONPATH": str(PROJECT),
        "DJANGO_SETTINGS_MODULE": "logistics.settings",
        "LOGISTICS_DATABASE": str(tmp_path / "logistics.db"),
        "CELERY_BROKER_URL": f"sqlite:///{tmp_path}/broker.db",
    }
    run([str(PROJECT / "manage.py"), "migrate"], variables)
    return variables


def run(arguments: list[str], variables: dict[str, str]) -> None:
    subprocess.run([sys.executable, *arguments], env={**os.environ, **variables}, check=True, timeout=60)


def test_a_task_of_an_order_that_was_rolled_back_is_noted_as_an_orphan(
    site: dict[str, str], tmp_path: Path
) -> None:
    run(["-c", CALL_AND_ROLL_BACK], site)
    with (
        closing(sqlite3.connect(site["LOGISTICS_DATABASE"], timeout=20)) as database,
        worker("logistics", "-c", "1", environment=site, log=tmp_path / "worker.log") as running,
    ):
        wait_until(
            lambda: database.execute("SELECT what FROM orders_ledgerentry").fetchall() == [("orphan",)]
        )
        assert running.stop() == 0
