"""Tasks of an app that names no Celery app."""

from __future__ import annotations

import os
from pathlib import Path

from celery import shared_task


@shared_task
def send(parcel: int) -> int:
    with (Path(os.environ["FOLDER"]) / "sent").open("a") as ledger:
        ledger.write(f"{parcel}\n")
    return parcel
