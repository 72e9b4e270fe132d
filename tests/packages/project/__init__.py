"""A Django project with the Django packages; the environment variable ENGINE says whose Celery it has."""

from __future__ import annotations

import os

import celery

import celeriac

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.packages.project.settings"

app = (celeriac.Celery if os.environ["ENGINE"] == "celeriac" else celery.Celery)("project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["tests.packages.project"])
