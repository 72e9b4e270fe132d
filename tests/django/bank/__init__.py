"""A Django project whose tasks charge accounts; where STOCK is set, on Celery's own worker."""

from __future__ import annotations

import json
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django.bank.settings"

from celeriac import Celery

app = Celery("bank")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(json.loads(os.environ.get("CONF", "{}")))
app.autodiscover_tasks(["tests.django.bank"])
app.conf.include = ["tests.django.bank.queries"]
if "STOCK" in os.environ:
    # Celery's own consumer, under another name than the one that the engine stands in for.
    app.conf.worker_consumer = "celery.worker.consumer.consumer:Consumer"
