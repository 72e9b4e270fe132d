"""Tasks of an app that names no Celery app."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import shared_task
from django.db import transaction


@shared_task
def send(parcel: int) -> int:
    with (Path(os.environ["FOLDER"]) / "sent").open("a") as ledger:
        ledger.write(f"{parcel}\n")
    return parcel


@shared_task
def deliver(parcel: int) -> None:
    """Publish another task, in a transaction."""
    with transaction.atomic():
        send.delay(parcel)


@shared_task(bind=True, max_retries=2)
def stubborn(self: Any, wins: bool) -> int:
    """Win, if ever, at the third time."""
    if wins and self.request.retries == 2:
        return int(self.request.retries)
    raise self.retry(countdown=3600, exc=TimeoutError("the depot is closed"))


@shared_task
def repeat() -> None:
    """Call itself for ever."""
    repeat.delay()
