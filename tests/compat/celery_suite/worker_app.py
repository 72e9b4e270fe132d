"""The suite's app for a worker process of its own: the same configuration and tasks as in the suite."""

from __future__ import annotations

import os

from celery.contrib.testing.app import TestApp
from t.integration.tasks import ClassBasedAutoRetryTask

from tests.compat.celery_suite.succeeded import Succeeded

app = TestApp(
    enable_logging=True,
    set_as_current=True,
    config={
        "broker_url": os.environ["TEST_BROKER"],
        "result_backend": os.environ["TEST_BACKEND"],
        "result_extended": True,
        "task_create_missing_queues": False,
    },
)
app.set_default()
app.register_task(ClassBasedAutoRetryTask)
Succeeded().note_all()
