"""The application on stock Celery."""

from __future__ import annotations

from celery import Celery
from workload import configure

app = configure(Celery("bench"))
