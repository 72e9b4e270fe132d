"""A small project; databases and broker are named by the environment, as JSON and as a URL."""

from __future__ import annotations

import json
import os

SECRET_KEY = "only for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["celeriac.django", "tests.django.shop"]
ROOT_URLCONF = "tests.django.shop.urls"
ALLOWED_HOSTS = ["*"]
DATABASES = json.loads(os.environ.get("DATABASES", "{}")) or {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
}

CELERY_BROKER_URL = os.environ.get("BROKER", "memory://")
CELERY_RESULT_BACKEND = os.environ.get("RESULTS")
CELERY_BROKER_TRANSPORT_OPTIONS = json.loads(os.environ.get("TRANSPORT_OPTIONS", "{}"))
CELERY_TASK_DEFAULT_QUEUE = os.environ.get("QUEUE", "celery")
CELERY_TASK_PUBLISH_RETRY = False
CELERY_OUTBOX_ENABLED = os.environ.get("OUTBOX", "1") == "1"
CELERY_OUTBOX_RELAY_IN_WORKER = os.environ.get("RELAY_IN_WORKER", "1") == "1"
CELERY_OUTBOX_FAST_SECONDS = float(os.environ.get("FAST_SECONDS", "0.5"))
CELERY_OUTBOX_BATCH_MAX = int(os.environ.get("BATCH_MAX", "500"))
CELERY_OUTBOX_MAX_ATTEMPTS = int(os.environ.get("MAX_ATTEMPTS", "5"))
CELERY_METRICS_PORT = json.loads(os.environ.get("METRICS_PORT", "null"))
