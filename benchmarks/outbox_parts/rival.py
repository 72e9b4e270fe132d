"""django-celery-outbox in a project of its own, with a Python of its own: prepare, fill ROWS, relay."""

from __future__ import annotations

import json
import logging
import os
import sys

import structlog
from django.conf import settings

DATABASE = {**json.loads(os.environ["DATABASES"])["default"]}

settings.configure(
    SECRET_KEY="only for measurements",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django_celery_outbox"],
    DATABASES={"default": DATABASE},
    CELERY_OUTBOX_APP="rival.app",
    MONITORING_METRICS_ENABLED=False,
)
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

import django

django.setup()

from django.core.management import call_command
from django.db import connection, transaction
from django_celery_outbox.app import OutboxCelery

app = OutboxCelery("rival", broker=os.environ["BROKER"])
app.conf.update(task_default_queue="rival", task_ignore_result=True)


@app.task(name="ship")
def ship(number, name):
    pass


def fill(rows):
    with transaction.atomic():
        for number in range(rows):
            ship.delay(number, "x")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def main():
    what, *arguments = sys.argv[1:]
    if what == "prepare":
        call_command("migrate", verbosity=0)
    elif what == "fill":
        fill(int(arguments[0]))
    else:
        call_command("celery_outbox_relay", *arguments)
