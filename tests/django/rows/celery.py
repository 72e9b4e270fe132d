"""The project's app; where STOCK is set, Celery's own worker runs it."""

from __future__ import annotations

import os

from celeriac import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django.rows.settings")

app = Celery("rows")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
if "STOCK" in os.environ:
    # Celery's own consumer, under another name than the one that the engine stands in for.
    app.conf.worker_consumer = "celery.worker.consumer.consumer:Consumer"
