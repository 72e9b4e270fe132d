"""The project's Celery app and its task, as each kind of project writes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django.matrix.settings")

from django.db import Error

from tests.django.matrix.ledger import Ledger
from tests.django.matrix.traps import Traps

__all__ = ["KIND", "app", "call", "charge", "ledger", "traps"]

KIND = os.environ["KIND"]
ledger = Ledger(Path(os.environ["LEDGER"]))
traps = Traps(Path(os.environ["TRAPS"]), ledger)

if KIND == "celeriac":
    from celeriac import Celery
elif KIND == "django-celery-outbox":
    from django_celery_outbox.app import OutboxCelery as Celery
else:
    from celery import Celery

app = Celery("matrix")
app.config_from_object("django.conf:settings", namespace="CELERY")
_options: dict[str, Any] = {"acks_late": True, "reject_on_worker_lost": True}
if KIND == "celeriac":
    # Whatever the database says, and whenever: the effect is to be there in the end.
    _options = {
        "idempotent": True,
        "autoretry_for": (Error,),
        "default_retry_delay": 0.2,
        "max_retries": None,
    }


@app.task(name="charge", ignore_result=True, **_options)
def charge(key: str) -> None:
    from django.db import transaction

    from tests.django.matrix.models import Effect

    ledger.note("started", key)
    with transaction.atomic():
        traps.reach("before effect")
        Effect.objects.create(key=key)
        traps.reach("after effect")
        traps.commits = "effect"


def call(key: str, lane: str) -> None:
    """Call the task inside of a transaction, as this kind of project does."""
    calls: dict[str, Any] = {
        "celeriac": lambda: charge.apply_async((key,), ordering_key=lane),
        "delay_on_commit": lambda: charge.delay_on_commit(key),
    }
    calls.get(KIND, lambda: charge.delay(key))()
