"""A pytest plugin: every app that a package's own tests make is Celeriac's."""

from __future__ import annotations

import celery
import celery.app
import celery.contrib.testing.app

import celeriac

celery.Celery = celery.app.Celery = celery.contrib.testing.app.Celery = celeriac.Celery
