"""Django's and Celery's settings in one place; whatever differs between machines comes from the environment.

| variable | default | what |
|---|---|---|
| LOGISTICS_DATABASE | logistics.db | the file of the orders' database |
| LOGISTICS_QUEUE | orders | the queue that tasks go to |
| LOGISTICS_KEY_PREFIX | | put before every key in Redis, so that several projects can share one |
| CELERY_BROKER_URL | sqlite:///broker.db | where the queue is: a file, or redis://host:port/0 |
"""

from os import environ

from django.core.management.utils import get_random_secret_key

SECRET_KEY = get_random_secret_key()  # signs nothing that outlives the process
INSTALLED_APPS = ["orders", "celeriac.django"]
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": environ.get("LOGISTICS_DATABASE", "logistics.db"),
        "OPTIONS": {
            "timeout": 20,
            # Take the write lock first: a transaction that reads and then writes cannot be refused half-way.
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}

CELERY_BROKER_URL = environ.get("CELERY_BROKER_URL", "sqlite:///broker.db")
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": environ.get("LOGISTICS_KEY_PREFIX", "")}
CELERY_TASK_DEFAULT_QUEUE = environ.get("LOGISTICS_QUEUE", "orders")
CELERY_TASK_IGNORE_RESULT = True
# Keep a shard's connection for so many tasks: opening one takes longer than a task does.
CELERY_DB_REUSE_MAX = 1_000
