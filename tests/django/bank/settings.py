from __future__ import annotations

import json
import os

SECRET_KEY = "only for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["celeriac.django", "tests.django.bank"]
MIGRATION_MODULES = {"bank": None}
DATABASES = {"default": json.loads(os.environ["DATABASE"])}
if "OTHER_DATABASE" in os.environ:
    DATABASES["other"] = json.loads(os.environ["OTHER_DATABASE"])

CELERY_BROKER_URL = os.environ["BROKER"]
CELERY_RESULT_BACKEND = os.environ["RESULTS"]
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": os.environ.get("KEY_PREFIX", "")}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_ENGINE_LEASE_SECONDS = 2
CELERY_ENGINE_MAX_DELIVERIES = 50
if "REUSE" in os.environ:
    CELERY_DB_REUSE_MAX = int(os.environ["REUSE"])
