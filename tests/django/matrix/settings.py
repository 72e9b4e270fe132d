"""One project for everything that is under test; databases and broker are named by the environment."""

from __future__ import annotations

import json
import os
from importlib import import_module

_APPS = {"celeriac": ["celeriac.django"], "django-celery-outbox": ["django_celery_outbox"]}
KIND = os.environ["KIND"]

SECRET_KEY = "only for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [*_APPS.get(KIND, []), "tests.django.matrix"]
MIGRATION_MODULES = {"matrix": None}
DATABASES = {"default": json.loads(os.environ["DATABASE"])}

if DATABASES["default"]["ENGINE"].endswith("mysql"):
    import_module("pymysql").install_as_MySQLdb()

CELERY_BROKER_URL = os.environ["BROKER"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
if CELERY_BROKER_URL.startswith("amqp"):
    # What Celery's own worker sends on its own, such as a retry, is then as safe as what an outbox sends.
    CELERY_BROKER_TRANSPORT_OPTIONS = {"confirm_publish": True}
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
if KIND == "celeriac":
    CELERY_OUTBOX_FAST_SECONDS = 0.2
    CELERY_OUTBOX_BATCH_MAX = 4
    CELERY_OUTBOX_POLL_SECONDS = 0.03
    CELERY_OUTBOX_RELAY_IN_WORKER = os.environ.get("EMBEDDED") == "1"
    CELERY_ENGINE_LEASE_SECONDS = 1
    CELERY_ENGINE_MAX_DELIVERIES = 50
if KIND == "django-celery-outbox":
    CELERY_OUTBOX_APP = "tests.django.matrix.app.app"
    CELERY_OUTBOX_STALE_TIMEOUT_SECONDS = 2
